//! Promises of a rollout's walk. What a fuzzer needs is built for it too.

#[cfg(test)]
mod edits; // the file changes
pub(crate) mod model; // every state of small plans, and every step from each
#[cfg(test)]
mod orders; // what an operator may ask
pub(crate) mod random; // long random lives, restarts, idle weeks
#[cfg(test)]
mod stages; // stage by stage
mod world; // plans and looks to try them with
