//! The rollout `shop-v2` of the service `app`, from `v1` to `v2`, as most tests about rollouts want it.

use std::time::Duration;

use serde_json::Value;

use super::wait::{eventually, soon};
use super::{Answer, Backend, Launch, Proxy, Site};

/// Its file, its versions, and the proxy once it is started.
pub struct Planned {
    pub v1: Backend,
    pub v2: Backend,
    pub site: Site,
}

impl Planned {
    /// A rollout with this plan: keys in flow style.
    pub fn by(plan: &str) -> Self {
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
            .rules("[{ name: everyone, rollout: shop-v2 }]");
        let site = Self::plan(&site, plan);
        Self { v1, v2, site }
    }

    /// The same file with another plan.
    pub fn plan(site: &Site, plan: &str) -> Site {
        let text = format!("[{{ name: shop-v2, service: app, candidate: v2, by: user, {plan} }}]");
        site.clone().with("rollouts", &text)
    }

    pub fn start(&self) -> Proxy {
        Launch::new(&self.site).start()
    }
}

impl Proxy {
    /// How the rollout stands.
    #[track_caller]
    pub fn rollout(&self) -> Value {
        self.ask("GET", "/api/v1/rollouts/shop-v2", "").json()
    }

    /// Waits until it is in this phase at this weight.
    #[track_caller]
    pub fn reaches(&self, phase: &str, weight: f64) -> Value {
        let what = format!("shop-v2 is {phase} at {weight} %");
        eventually(&what, soon(Duration::from_secs(15)), || {
            let seen = self.rollout();
            if seen["phase"] == phase && seen["weight"] == weight {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        })
    }

    /// Sees that it stays so for a while.
    #[track_caller]
    pub fn stays(&self, phase: &str, weight: f64) -> Value {
        std::thread::sleep(Duration::from_millis(400));
        let seen = self.rollout();
        assert!(
            seen["phase"] == phase && seen["weight"] == weight,
            "stays {phase} at {weight} %: {seen}"
        );
        seen
    }

    /// An order, with a name and a reason.
    #[track_caller]
    pub fn order(&self, order: &str) -> Answer {
        let target = format!("/api/v1/rollouts/shop-v2/{order}");
        self.ask("POST", &target, r#"{"reason":"as planned","by":"ada"}"#)
    }

    /// An order that is carried out.
    #[track_caller]
    pub fn obeys(&self, order: &str) -> Value {
        let answer = self.order(order);
        assert_eq!(answer.status, 200, "{order}: {}", answer.text());
        answer.json()
    }

    /// What happened to it.
    #[track_caller]
    pub fn told(&self) -> Vec<Value> {
        let entries = self
            .ask("GET", "/api/v1/history?rollout=shop-v2", "")
            .json();
        entries.as_array().cloned().unwrap_or_default()
    }
}
