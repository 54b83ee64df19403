use proptest::strategy::{BoxedStrategy, Strategy as _};

use super::drawn;
use crate::release::rollout::tests::model::Walk;
use crate::release::rollout::tests::random::{Step, keeps_its_promises, life, outlives_restarts};

thread_local! {
    static WALKS: Vec<Walk> = Walk::all();
    static LIVES: BoxedStrategy<Vec<(Step, bool)>> = life().boxed();
}

/// Looks, orders, edits, kills, in any order. The first byte says through which of a few small worlds the rest walks, two
/// bytes a step; or that the rest is the chance of a long life.
pub(super) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    WALKS.with(|walks| {
        if let Some(walk) = walks.get(usize::from(*first) % (walks.len() + 1)) {
            let numbers = rest
                .chunks_exact(2)
                .map(|n| u16::from_be_bytes([n[0], n[1]]));
            return walk.go(numbers.take(200));
        }
        let Some(life) = LIVES.with(|lives| drawn(lives, rest)) else {
            return;
        };
        if let Err(broken) = keeps_its_promises(&life).and_then(|()| outlives_restarts(&life)) {
            panic!("{broken}");
        }
    });
}
