//! Promises of the whole room.

mod allocation; // nothing is allocated
mod explained; // the same decision in words
mod house; // configurations and requests, built by hand
mod identities; // who the user is
mod reference; // the rules of routing as plain code, against which the index is held
mod regions; // where the client is
mod rollouts;
mod routing; // hosts, paths, rules, splits // the table stays, the lots move
