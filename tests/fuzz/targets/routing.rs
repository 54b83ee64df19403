use proptest::strategy::{BoxedStrategy, Strategy as _};
use tidegate_config::{Action, Config, RouteMatch};

use super::drawn;
use crate::route::tests::house::Request;
use crate::route::tests::reference::{agree, configuration, request};

/// Bytes of a seed.
const SEED: usize = 3;
/// More parts than this are left out.
const PARTS: usize = 24;

thread_local! {
    static REQUEST: BoxedStrategy<Request> = request().boxed();
    static ROUTE: BoxedStrategy<Config> = configuration(1..2, 0..4).boxed();
}

/// The compiled table decides as the rules of routing say, told by plain code.
///
/// The first byte: how many requests, and whether there are many routes or one of many rules. Then a seed for each request,
/// and one for each part of the configuration.
pub(super) fn run(input: &[u8]) {
    let Some((first, seeds)) = input.split_first() else {
        return;
    };
    let mut seeds = seeds.chunks_exact(SEED);
    let asked = seeds.by_ref().take(usize::from(first % 8) + 1);
    let requests: Vec<Request> = asked
        .map(|seed| REQUEST.with(|request| drawn(request, seed)))
        .collect();
    let mut parts = seeds
        .take(PARTS)
        .map(|seed| ROUTE.with(|route| drawn(route, seed)));
    let Some(mut config) = parts.next() else {
        return;
    };
    for part in parts {
        for route in part.routes {
            match (&mut config.routes[0].action, route.action) {
                (Action::Forward(one), Action::Forward(more)) if *first >= 128 => {
                    one.rules.extend(more.rules);
                }
                (_, action) => config
                    .routes
                    .push(tidegate_config::Route { action, ..route }),
            }
        }
    }
    if *first >= 128 {
        config.routes[0].matches = RouteMatch::default();
    }
    if let Err(broken) = agree(&config, &requests) {
        panic!("{broken}");
    }
}
