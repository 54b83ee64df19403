use proptest::strategy::{BoxedStrategy, Strategy as _};

use super::drawn;
use crate::release::rollout::tests::model::Walk;
use crate::release::rollout::tests::random::{Step, event, keeps_its_promises, outlives_restarts};

/// Later steps are left out.
const STEPS: usize = 200;

thread_local! {
    static WALKS: Vec<Walk> = Walk::all();
    static EVENT: BoxedStrategy<(Step, bool)> = event().boxed();
}

/// Looks, orders, edits, kills, in any order. The first byte says through which of a few small worlds the rest walks, or
/// that it is a long life with larger plans; each step takes two bytes.
pub(super) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let steps = rest.chunks_exact(2).take(STEPS);
    WALKS.with(|walks| {
        if let Some(walk) = walks.get(usize::from(*first) % (walks.len() + 1)) {
            return walk.go(steps.map(|step| u16::from_be_bytes([step[0], step[1]])));
        }
        let life: Vec<_> = steps
            .map(|seed| EVENT.with(|event| drawn(event, seed)))
            .collect();
        if let Err(broken) = keeps_its_promises(&life).and_then(|()| outlives_restarts(&life)) {
            panic!("{broken}");
        }
    });
}
