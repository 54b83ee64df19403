//! Promises of a rollout's walk.

mod edits; // the file changes
mod model; // every state of small plans, and every step from each
mod orders; // what an operator may ask
mod random; // long random lives, restarts, idle weeks
mod stages; // stage by stage
mod world; // plans and looks to try them with
