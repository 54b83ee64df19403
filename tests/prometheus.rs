//! A real Prometheus is asked, and believed only where it gives one number: what is good, what is bad for how long, and
//! what says nothing. `tests/run` gets the program.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidegate::control::prometheus::{Queries, Standing, Watched};
use tidegate_config::plan::{Bad, PrometheusQuery};
use tokio::sync::oneshot;

use crate::harness::{Gauges, Store, eventually, soon};

/// How long a bad value must last.
const LASTING: Duration = Duration::from_secs(1);
const WHILE: Duration = Duration::from_secs(10);

/// Control's runtime on its thread, and the judge's view of the queries.
struct Asking {
    queries: Queries,
    leave: Option<oneshot::Sender<()>>,
    control: Option<JoinHandle<()>>,
}

impl Asking {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let queries = Queries::new(runtime.handle().clone());
        let (leave, left) = oneshot::channel::<()>();
        let control = std::thread::spawn(move || {
            let _ = runtime.block_on(left);
        });
        Self {
            queries,
            leave: Some(leave),
            control: Some(control),
        }
    }

    fn standing(&self, metric: &str) -> Standing {
        let standing = self.queries.standing("shop-v2", metric, Instant::now());
        standing.expect("it is followed")
    }

    #[track_caller]
    fn comes_to(&self, metric: &str, what: &str, is: impl Fn(&Standing) -> bool) {
        eventually(&format!("{metric}: {what}"), soon(WHILE), || {
            let standing = self.standing(metric);
            is(&standing)
                .then_some(())
                .ok_or_else(|| format!("{standing:?}"))
        });
    }

    #[track_caller]
    fn has_no_value_because(&self, metric: &str, reason: &str) {
        self.comes_to(
            metric,
            reason,
            |standing| matches!(standing, Standing::NoData { why, .. } if why.contains(reason)),
        );
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.leave.take();
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

fn watched(store: &Store, metric: &str, query: &str) -> Watched {
    Watched {
        rollout: "shop-v2".to_owned(),
        attempt: 1,
        metric: metric.to_owned(),
        query: PrometheusQuery {
            url: store.url(),
            authorities: None,
            query: query.to_owned(),
            every: Duration::from_millis(200),
            bad: Bad::Below(0.98),
            lasting: LASTING,
        },
    }
}

fn is_good(standing: &Standing) -> bool {
    matches!(standing, Standing::Good { value } if *value == 0.99)
}

fn is_bad(standing: &Standing) -> bool {
    matches!(standing, Standing::Bad { value, .. } if *value == 0.5)
}

fn fires(standing: &Standing) -> bool {
    matches!(standing, Standing::Bad { fires: true, .. })
}

#[test]
fn a_metric_is_bad_only_for_as_long_as_prometheus_says_so() {
    let gauges = Gauges::start();
    gauges.set("pay_success", 0.99);
    let mut store = Store::start(&[&gauges]);
    let asking = Asking::start();
    asking
        .queries
        .follow([watched(&store, "pay", "sum(pay_success)")]);
    asking.comes_to("pay", "good", is_good);

    gauges.set("pay_success", 0.5);
    let broke = Instant::now();
    asking.comes_to("pay", "bad", is_bad);
    asking.comes_to("pay", "bad for long enough", fires);
    assert!(
        broke.elapsed() >= LASTING,
        "it fired after {:?}",
        broke.elapsed()
    );
    gauges.set("pay_success", 0.99);
    asking.comes_to("pay", "good again", is_good);

    // What was seen before a silence is neither lost nor lengthened by it.
    gauges.set("pay_success", 0.5);
    asking.comes_to(
        "pay",
        "bad anew",
        |standing| matches!(standing, Standing::Bad { lasting, .. } if *lasting > Duration::ZERO),
    );
    gauges.remove("pay_success");
    asking.has_no_value_because("pay", "the query gives nothing");
    store.kill();
    asking.has_no_value_because("pay", "cannot be reached at 127.0.0.1:");
    std::thread::sleep(LASTING);
    gauges.set("pay_success", 0.99);
    store.run_again();
    asking.comes_to("pay", "good after the silence", is_good);
}

#[test]
fn what_is_not_one_number_is_no_value_and_says_why() {
    let gauges = Gauges::start();
    gauges.set("pay{shop=\"a\"}", 1.0);
    gauges.set("pay{shop=\"b\"}", 1.0);
    gauges.set("orders", 0.0);
    let store = Store::start(&[&gauges]);
    let asking = Asking::start();
    let queries = [
        ("several", "pay", "the query gives 2 series, not one"),
        ("nothing", "no_such_metric", "the query gives nothing"),
        (
            "nan",
            "sum(orders) / sum(orders)",
            "the query gives NaN, as 0/0 does",
        ),
        ("matrix", "pay[1m]", "the query gives a matrix"),
        ("words", "\"words\"", "the query gives a string"),
        (
            "wrong",
            "sum(pay",
            "prometheus says bad_data: invalid parameter \"query\"",
        ),
    ];
    let numbers = [
        ("scalar", "scalar(sum(pay))"),
        ("encoded", "sum(pay{shop=~\"a|b\"}) / 2 + 1"),
    ];
    let mut all: Vec<_> = queries.map(|(m, q, _)| watched(&store, m, q)).into();
    all.extend(numbers.map(|(m, q)| watched(&store, m, q)));
    let mut elsewhere = watched(&store, "elsewhere", "sum(pay)");
    elsewhere.query.url += "/no-such-path";
    all.push(elsewhere);
    asking.queries.follow(all);
    for (metric, _, reason) in queries {
        asking.has_no_value_because(metric, reason);
    }
    for (metric, _) in numbers {
        asking.comes_to(
            metric,
            "2",
            |standing| matches!(standing, Standing::Good { value } if *value == 2.0),
        );
    }
    asking.has_no_value_because("elsewhere", "is this the server's URL?");
    asking.queries.follow([]);
    assert_eq!(
        asking.queries.standing("shop-v2", "scalar", Instant::now()),
        None,
        "what nobody follows is forgotten"
    );
}
