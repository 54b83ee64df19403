//! Where a request goes: a pure function of the table and the caller. No socket, no clock, no lock, no allocation.
//!
//! The walk is [`Table::decide`]; [`Table::explain`] tells the same walk in words. How many are on the candidate of a
//! rollout comes in as an argument ([`Lots`]), so a shift leaves the table as it is.

mod asking; // a request, asked for the values that rules are filed under
mod caller; // who is asking: what a request says, borrowed
mod chance; // random slots and IDs, drawn from numbers that the caller brings
mod condition; // a `when` as it is checked
mod continent; // which continent a country is on
mod cookie; // the pairs in a request's Cookie lines
mod explain; // a decision told step by step
mod fast_map; // a hash map for keys that the operator wrote
mod host; // routes by host, the most specific first
mod identity; // who the user is: the first source that answers
mod index; // the rules that can match, found without trying all
mod lot; // how many are on a rollout's candidate
mod matcher; // what a text must be
mod need; // what a condition needs to find in a request
mod path; // routes by path, the most specific first
mod pattern; // a regular expression that workers share without a lock
mod query; // the pairs in a request's query
pub mod region; // where the client is
pub mod slot; // a user's place among 100 000
pub mod split; // which version has which slots
mod table; // the compiled routes, and the walk

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "tests, which fuzzers share")]
pub(crate) mod tests;

pub use caller::Caller;
pub use chance::AssignedId;
pub use explain::Explanation;
pub use identity::KeySource;
pub use lot::{Drawn, Lot, Lots};
pub use region::Regions;
pub use table::{Choice, Decision, Table};
