//! An endpoint that is ill gets no requests, a version without a healthy endpoint says so, and both recover by
//! themselves.

use std::time::Duration;

use crate::harness::{Backend, Proxy, Site, eventually, until};

const ACTIVE: &str = "health: { active: { path: /healthz, interval: 100ms, timeout: 400ms, healthy_after: 2, unhealthy_after: 3 } }";

fn pair() -> (Backend, Backend, String) {
    let (a, b) = (Backend::start("v1"), Backend::start("v1"));
    let both = format!("{}, {}", a.endpoint(), b.endpoint());
    (a, b, both)
}

fn asks(proxy: &Proxy, times: usize) {
    let mut conn = proxy.connect();
    for _ in 0..times {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
}

#[track_caller]
fn shown(proxy: &Proxy, backend: &Backend, healthy: bool) {
    let endpoint = backend.endpoint();
    eventually(
        &format!("{endpoint} is shown healthy: {healthy}"),
        Duration::from_secs(5),
        || {
            let value = proxy.metrics().sum(
                "tidegate_endpoint_healthy",
                &[("endpoint", &endpoint), ("version", "v1")],
            );
            if value == f64::from(u8::from(healthy)) {
                Ok(())
            } else {
                Err(format!("{value}"))
            }
        },
    );
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let (a, b, both) = pair();
    let proxy = Proxy::start(&Site::of(&[("v1", both.clone())]).service(ACTIVE, &[("v1", both)]));
    until("both are asked", || {
        a.state.probes.load(std::sync::atomic::Ordering::SeqCst) > 2
    });
    asks(&proxy, 40);
    assert!(
        a.requests() > 5 && b.requests() > 5,
        "{} and {}",
        a.requests(),
        b.requests()
    );
    a.set_healthy(false);
    shown(&proxy, &a, false);
    let before = a.requests();
    asks(&proxy, 40);
    assert_eq!(a.requests(), before, "nothing for the one that is ill");
    a.set_healthy(true);
    shown(&proxy, &a, true);
    asks(&proxy, 40);
    assert!(a.requests() > before + 5, "it is back");
}

#[test]
fn a_version_without_a_healthy_endpoint_is_503_and_never_another_version() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .service(ACTIVE, &[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    let proxy = Proxy::start(&site);
    v1.set_healthy(false);
    shown(&proxy, &v1, false);
    let answer = proxy.get("/", &[]);
    assert_eq!(answer.status, 503);
    assert_ne!(answer.header("x-tidegate-refusal"), "");
    assert_eq!((v1.requests(), v2.requests()), (0, 0));
    assert!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")])
            >= 1.0,
        "it is the version's failure"
    );
    v1.set_healthy(true);
    until("it is back", || proxy.get("/", &[]).status == 200);
}

#[test]
fn an_endpoint_that_hangs_or_dies_fails_its_checks() {
    let hanging = crate::harness::Scripted::start(|scene, _| scene.wait_for_end());
    let b = Backend::start("v1");
    let both = format!("{}, {}", hanging.endpoint(), b.endpoint());
    let site = Site::of(&[("v1", both.clone())]).service(ACTIVE, &[("v1", both)]);
    let proxy = Proxy::start(&site.route("timeouts: { request: 1s }", "[]"));
    let endpoint = hanging.endpoint();
    eventually("the one that hangs is ill", Duration::from_secs(5), || {
        let value = proxy
            .metrics()
            .sum("tidegate_endpoint_healthy", &[("endpoint", &endpoint)]);
        if value == 0.0 {
            Ok(())
        } else {
            Err(format!("{value}"))
        }
    });
    asks(&proxy, 30);
    assert_eq!(b.requests(), 30);
}

#[test]
fn checks_over_http_2_work_the_same() {
    let g1 = Backend::h2c("v1");
    let more = format!("protocol: h2c\n{ACTIVE}");
    let proxy =
        Proxy::start(&Site::of(&[("v1", g1.endpoint())]).service(&more, &[("v1", g1.endpoint())]));
    shown(&proxy, &g1, true);
    assert_eq!(proxy.get("/", &[]).status, 200);
    g1.set_healthy(false);
    shown(&proxy, &g1, false);
    assert_eq!(proxy.get("/", &[]).status, 503);
}

#[test]
fn an_endpoint_that_fails_requests_in_a_row_is_ejected_for_a_while() {
    let (a, b, both) = pair();
    let passive =
        "health: { passive: { consecutive_failures: 3, eject_for: 700ms, max_ejected: 50% } }";
    let proxy = Proxy::start(&Site::of(&[("v1", both.clone())]).service(passive, &[("v1", both)]));
    a.force(500);
    let mut conn = proxy.connect();
    let mut failed = 0;
    for _ in 0..60 {
        failed += usize::from(conn.get("/", &[]).status == 500);
    }
    // Each worker may have met it before it was ejected.
    assert!(
        (3..=12).contains(&failed),
        "{failed} failures before it was ejected"
    );
    let before = a.requests();
    a.force(0);
    until("it is tried again", || {
        conn.get("/", &[]);
        a.requests() > before
    });
    b.force(500);
    a.force(500);
    for _ in 0..60 {
        conn.get("/", &[]);
    }
    let (was_a, was_b) = (a.requests(), b.requests());
    for _ in 0..20 {
        assert_eq!(conn.get("/", &[]).status, 500);
    }
    assert_eq!(
        a.requests() + b.requests(),
        was_a + was_b + 20,
        "never more than half of them is ejected"
    );
}

#[test]
fn a_single_endpoint_is_never_ejected_into_nothing() {
    let v1 = Backend::start("v1");
    let passive =
        "health: { passive: { consecutive_failures: 2, eject_for: 10s, max_ejected: 50% } }";
    let proxy = Proxy::start(
        &Site::of(&[("v1", v1.endpoint())]).service(passive, &[("v1", v1.endpoint())]),
    );
    v1.force(500);
    let mut conn = proxy.connect();
    for _ in 0..10 {
        assert_eq!(conn.get("/", &[]).status, 500);
    }
    v1.force(0);
    assert_eq!(
        conn.get("/", &[]).status,
        200,
        "half of one endpoint is none"
    );
}

#[test]
fn health_survives_an_edit_of_something_else() {
    let (a, _b, both) = pair();
    let site = Site::of(&[("v1", both.clone())]).service(ACTIVE, &[("v1", both)]);
    let proxy = Proxy::start(&site);
    a.set_healthy(false);
    shown(&proxy, &a, false);
    let before = a.requests();
    proxy.edit(&site.route("timeouts: { request: 3s }", "[]"));
    asks(&proxy, 20);
    assert_eq!(a.requests(), before, "an edit does not forget who is ill");
}

#[test]
fn an_endpoint_that_joins_waits_for_its_first_good_check() {
    let (a, b, both) = pair();
    b.set_healthy(false);
    let site = |endpoints: String| {
        Site::of(&[("v1", endpoints.clone())]).service(ACTIVE, &[("v1", endpoints)])
    };
    let proxy = Proxy::start(&site(a.endpoint()));
    asks(&proxy, 3);
    proxy.edit(&site(both));
    asks(&proxy, 40);
    assert_eq!(b.requests(), 0, "nothing before it has passed a check");
    b.set_healthy(true);
    shown(&proxy, &b, true);
    asks(&proxy, 40);
    assert!(b.requests() > 5, "it has joined: {}", b.requests());
}
