//! Which streams have something to do. Each has a waker of its own, so that of a hundred only the one is looked at whose
//! version has answered.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// One bit a stream, and who is to look at them.
#[derive(Debug)]
pub struct Ready {
    task: AtomicWaker,
    /// The task is looking: it need not be woken for what it will see.
    looking: AtomicBool,
    words: Box<[AtomicU64]>,
}

impl Ready {
    /// For so many streams.
    pub fn new(streams: usize) -> Arc<Self> {
        let words = (0..streams.div_ceil(64)).map(|_| AtomicU64::new(0));
        Arc::new(Self {
            task: AtomicWaker::new(),
            looking: AtomicBool::new(false),
            words: words.collect(),
        })
    }

    /// The task begins to look.
    pub fn begin(&self, waker: &Waker) {
        self.task.register(waker);
        self.looking.store(true, Ordering::SeqCst);
    }

    /// The task has looked; whether something has come since it did.
    pub fn end(&self) -> bool {
        self.looking.store(false, Ordering::SeqCst);
        self.any()
    }

    /// Wakes the task, unless it is looking.
    pub fn wake(&self) {
        if !self.looking.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }

    /// Something is to be done; the task is looking, or will.
    #[inline]
    pub fn set(&self, slot: usize) {
        if let Some(word) = self.words.get(slot / 64) {
            word.fetch_or(1 << (slot % 64), Ordering::Relaxed);
        }
    }

    /// Nothing is to be done.
    #[inline]
    pub fn clear(&self, slot: usize) {
        if let Some(word) = self.words.get(slot / 64) {
            word.fetch_and(!(1 << (slot % 64)), Ordering::Relaxed);
        }
    }

    /// Whether there is anything.
    #[inline]
    pub fn any(&self) -> bool {
        self.words
            .iter()
            .any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// The first one of `within`, which is noted as done.
    #[inline]
    pub fn next(&self, within: Range<usize>) -> Option<usize> {
        let mut mask = u64::MAX << (within.start % 64);
        let words = within.end.div_ceil(64).min(self.words.len());
        for at in within.start / 64..words {
            let found = self.words[at].load(Ordering::Acquire) & mask;
            if found != 0 {
                let slot = at * 64 + found.trailing_zeros() as usize;
                if slot >= within.end {
                    return None;
                }
                self.clear(slot);
                return Some(slot);
            }
            mask = u64::MAX;
        }
        None
    }

    /// The waker of one stream.
    pub fn waker(self: &Arc<Self>, slot: usize) -> Waker {
        Waker::from(Arc::new(One {
            ready: self.clone(),
            slot,
        }))
    }
}

/// Wakes one stream.
struct One {
    ready: Arc<Ready>,
    slot: usize,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (word, bit) = (self.slot / 64, 1 << (self.slot % 64));
        if let Some(word) = self.ready.words.get(word) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
        self.ready.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_woken_is_found_once_in_order() {
        let ready = Ready::new(130);
        for slot in [129, 3, 64] {
            ready.waker(slot).wake();
        }
        ready.set(5);
        ready.clear(5);
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(slot) = ready.next(from..usize::MAX) {
            found.push(slot);
            from = slot + 1;
        }
        assert_eq!(found, [3, 64, 129]);
        assert!(!ready.any());
        ready.set(3);
        assert_eq!(ready.next(4..usize::MAX), None);
        assert_eq!(ready.next(0..3), None);
        assert!(ready.any());
        assert_eq!(ready.next(0..4), Some(3));
    }
}
