//! Promises of the book: what was announced is never taken back by a crash, and nothing waits for what it need not.

mod beside;
mod faults;
mod killed;
mod late;
mod lent;
mod world;
