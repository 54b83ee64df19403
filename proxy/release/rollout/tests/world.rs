//! Plans and looks to try them with.

use std::time::Duration;

use tidegate_config::plan::{
    self, Carries, Cohort, Compare, ErrorRate, Failures, Gate, Guard, OnRegression, Plan, Stage,
    Stages, Windows,
};
use tidegate_config::{Share, SplitBy, When};

use super::super::{Look, Rollout};
use crate::release::{Answer, Cause, Key, Opening, Order, Phase, Verdict};

pub(super) const NOW: Duration = Duration::from_secs(1_700_000_000);

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn percent(percent: u32) -> Share {
    Share::from_parts(percent * 1000).unwrap()
}

pub(super) fn closed() -> Opening {
    Opening::Closed {
        why: "outside of the allowed times".into(),
        opens: None,
    }
}

/// A stage of so many percent that holds for so many seconds and so many requests.
pub(super) fn stage(weight: u32, hold: u64, min_requests: u64) -> Stage {
    Stage {
        carries: Carries::Weight(percent(weight)),
        hold: secs(hold),
        min_requests,
        max_hold: None,
        approve: false,
    }
}

pub(super) fn mirror(share: u32, hold: u64, min_requests: u64) -> Stage {
    Stage {
        carries: Carries::Mirror(percent(share)),
        ..stage(0, hold, min_requests)
    }
}

pub(super) fn by_endpoints(hold: u64, min_requests: u64) -> Stage {
    Stage {
        carries: Carries::ByEndpoints,
        ..stage(0, hold, min_requests)
    }
}

pub(super) fn gate(before_stage: usize) -> Gate {
    Gate {
        name: "e2e".into(),
        before_stage,
        url: "http://127.0.0.1:7000/gate".into(),
        authorities: None,
        timeout: secs(5),
    }
}

pub(super) fn stages(stages: Vec<Stage>) -> Stages {
    Stages {
        stages,
        bake: Duration::ZERO,
        deadline: None,
        windows: Windows::default(),
        gates: Vec::new(),
    }
}

pub(super) fn rollout(plan: Plan) -> plan::Rollout {
    plan::Rollout {
        name: "shop-v2".into(),
        service: 0,
        candidate: 1,
        by: SplitBy::User,
        salt: "shop-v2".into(),
        shares_salt: false,
        fallback: false,
        cohorts: vec![Cohort {
            name: "eu".into(),
            when: When::All(Vec::new()),
        }],
        plan,
        guard: Guard {
            failures: Failures::default(),
            error_rate: Some(ErrorRate {
                above: percent(5),
                window: secs(30),
                min_requests: 50,
            }),
            latency: None,
            consecutive_failures: None,
            compare: Some(Compare::default()),
            metrics: Vec::new(),
        },
        on_regression: OnRegression::Rollback,
    }
}

pub(super) fn staged(of: Stages) -> plan::Rollout {
    rollout(Plan::Stages(Box::new(of)))
}

pub(super) fn split(weight: u32) -> plan::Rollout {
    rollout(Plan::Split(percent(weight)))
}

pub(super) fn key(plan: &plan::Rollout) -> Key {
    Key::new(plan, "v2", [])
}

pub(super) fn begun(plan: &plan::Rollout) -> Rollout {
    Rollout::new(key(plan), NOW)
}

pub(super) fn errors() -> Verdict {
    Verdict::new(
        Cause::ErrorRate,
        "candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)",
    )
}

pub(super) fn calm() -> Look<'static> {
    Look {
        now: NOW,
        elapsed: Duration::ZERO,
        requests: 0,
        alarm: None,
        concern: None,
        opening: &Opening::ALWAYS,
        gate: &Answer::Unasked,
        endpoints: None,
    }
}

/// A rollout that is driven by hand: every growth is durable at once.
pub(super) struct Driven {
    pub(super) plan: plan::Rollout,
    pub(super) at: Rollout,
    pub(super) now: Duration,
    /// Phase, stage and weight, each time one of them changed.
    pub(super) story: Vec<(Phase, usize, u32)>,
}

impl Driven {
    pub(super) fn new(plan: plan::Rollout) -> Self {
        let at = begun(&plan);
        Self {
            plan,
            at,
            now: NOW,
            story: Vec::new(),
        }
    }

    /// So many seconds and requests pass, and nothing speaks against anything.
    pub(super) fn pass(&mut self, seconds: u64, requests: u64) -> &Rollout {
        self.look(Look {
            elapsed: secs(seconds),
            requests,
            ..calm()
        })
    }

    pub(super) fn look(&mut self, look: Look<'_>) -> &Rollout {
        self.now += look.elapsed;
        let look = Look {
            now: self.now,
            ..look
        };
        self.at = self.at.look(&self.plan, &look);
        self.tell();
        if self.at.phase() == Phase::Ramping {
            self.at = self.at.ramped(&self.plan, self.now);
            self.tell();
        }
        &self.at
    }

    pub(super) fn order(&mut self, order: Order) -> Result<&Rollout, String> {
        self.order_in(order, calm())
    }

    pub(super) fn order_in(&mut self, order: Order, look: Look<'_>) -> Result<&Rollout, String> {
        let look = Look {
            now: self.now,
            ..look
        };
        self.at = self
            .at
            .obey(&self.plan, order, &look)
            .map_err(|why| why.to_string())?;
        self.tell();
        if self.at.phase() == Phase::Ramping {
            self.at = self.at.ramped(&self.plan, self.now);
            self.tell();
        }
        Ok(&self.at)
    }

    /// The file has another plan now.
    pub(super) fn edit(&mut self, plan: plan::Rollout) -> &Rollout {
        self.edit_candidate(plan, "v2")
    }

    pub(super) fn edit_candidate(&mut self, plan: plan::Rollout, candidate: &str) -> &Rollout {
        let key = Key::new(&plan, candidate, []);
        self.plan = plan;
        self.at = self.at.edited(&self.plan, key, self.now);
        self.tell();
        &self.at
    }

    pub(super) fn stands(&self) -> (Phase, usize, u32) {
        (
            self.at.phase(),
            self.at.stage(),
            self.at.weight().parts() / 1000,
        )
    }

    pub(super) fn reason(&self) -> String {
        self.at.reason().to_string()
    }

    fn tell(&mut self) {
        let stands = self.stands();
        if self.story.last() != Some(&stands) {
            self.story.push(stands);
        }
    }
}
