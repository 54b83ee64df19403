//! Promises of the whole room. What a fuzzer needs is built for it too.

#[cfg(test)]
mod allocation; // nothing is allocated
#[cfg(test)]
mod explained; // the same decision in words
pub(crate) mod house; // configurations and requests, built by hand
#[cfg(test)]
mod identities; // who the user is
pub(crate) mod reference; // the rules of routing as plain code, against which the index is held
#[cfg(test)]
mod regions; // where the client is
#[cfg(test)]
mod rollouts; // the table stays, the lots move
#[cfg(test)]
mod routing; // hosts, paths, rules, splits
