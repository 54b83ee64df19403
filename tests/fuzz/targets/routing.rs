use proptest::strategy::{BoxedStrategy, Strategy as _};
use tidegate_config::Config;

use super::drawn;
use crate::route::tests::house::Request;
use crate::route::tests::reference;

thread_local! {
    static HOUSES: BoxedStrategy<(Config, Vec<Request>)> = reference::houses().boxed();
}

/// The compiled table decides as the rules of routing say, told by plain code.
pub(super) fn run(input: &[u8]) {
    let Some((config, requests)) = HOUSES.with(|houses| drawn(houses, input)) else {
        return;
    };
    if let Err(broken) = reference::agree(&config, &requests) {
        panic!("{broken}");
    }
}
