//! How many bodies a worker passes on at a time, of callers who are held to a rate. Each may hold a connection to its version
//! for as long as the rate lets it, and versions that answer a request a thread have few: where there are many, a caller is
//! to show first that it sends.

use std::cell::Cell;
use std::rc::Rc;

/// So many of them on a worker are nothing special. More of them, all sent fast, are not either, and lose nothing by
/// being looked at first.
pub const MANY: usize = 100;

/// Those bodies, on one worker.
#[derive(Debug, Clone, Default)]
pub struct Crowd(Rc<Cell<usize>>);

impl Crowd {
    /// One more.
    pub fn join(&self) -> Member {
        self.0.set(self.0.get() + 1);
        Member(self.clone())
    }

    /// Whether they are more than [`MANY`].
    pub fn is_large(&self) -> bool {
        self.0.get() > MANY
    }
}

/// One of the bodies; gone when this is dropped.
#[derive(Debug)]
pub struct Member(Crowd);

impl Drop for Member {
    fn drop(&mut self) {
        let Crowd(count) = &self.0;
        count.set(count.get() - 1);
    }
}
