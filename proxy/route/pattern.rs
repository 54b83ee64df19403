//! A regular expression that workers share without a lock.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex::Regex;

/// An expression, with a copy for each core.
///
/// A search needs scratch memory. `regex` keeps it in a pool whose first user has a way in without a lock; all others
/// take turns at a mutex. With a copy for each thread everybody is the first. Copies share the compiled program.
#[derive(Clone)]
pub(super) struct Pattern {
    copies: Box<[Regex]>,
}

impl Pattern {
    pub(super) fn new(regex: &Regex) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // One more than cores: the control thread explains with the same table.
        Self {
            copies: (0..=cores).map(|_| regex.clone()).collect(),
        }
    }

    /// Does it occur anywhere in the text? Allocates only at the first search of a thread.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.copies[thread_number() % self.copies.len()].is_match(text)
    }

    pub(super) fn as_str(&self) -> &str {
        self.copies[0].as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Threads that search are counted as they come.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)); }
    MINE.get()
}
