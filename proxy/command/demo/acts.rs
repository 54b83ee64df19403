//! What happens on the stage, one act after the other: an edit under load, a candidate that fails, and the same again
//! with a fallback.

use std::cell::RefCell;
use std::io;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;
use tidegate_config::Share;
use tokio::time::sleep;

use super::stage::{self, Plan, Stage};
use super::teller::Teller;
use super::trial::{Terms, Trial};
use super::versions::Health;
use super::witness::{IN_FORCE_WITHIN, Witness, percent};
use super::{LOOK_AGAIN, Proxy, Script, load};

/// Why the play was cut short.
#[derive(Debug)]
pub(super) enum Cut {
    /// The proxy ended by itself; its last words.
    Died(String),
    /// This machine does not let us.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Cut {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// All that is on the stage.
pub(super) struct Acts<'a, W> {
    pub(super) script: &'a Script,
    pub(super) stage: &'a Stage,
    pub(super) proxy: &'a mut dyn Proxy,
    pub(super) candidate: &'a Health,
    pub(super) witness: &'a RefCell<Witness>,
    pub(super) teller: &'a mut Teller<W>,
    pub(super) began: Instant,
    /// The rollout's, as it was told last.
    pub(super) weight: Share,
}

/// The rollout as the proxy tells of it. It gives the cues; what is judged is what users saw.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    phase: String,
    weight: Share,
    reason: String,
}

impl<W: io::Write> Acts<'_, W> {
    /// All acts, as far as they make sense: who is not rolled back cannot be tried again.
    pub(super) async fn play(&mut self) -> Result<(), Cut> {
        self.edit().await?;
        for fallback in [false, true] {
            if !self.fail(fallback).await? {
                break;
            }
        }
        Ok(())
    }

    /// Goes on without judging, since file and rollout now belong to whoever watches. Ends where the proxy does.
    pub(super) async fn stay(&mut self) {
        self.candidate.set_failing(false);
        self.teller.trial_columns();
        while self
            .watch_trial(Instant::now() + self.script.tell_every, |_| false)
            .await
            .is_ok()
        {}
    }

    /// A weight is edited while everybody asks.
    async fn edit(&mut self) -> Result<(), Cut> {
        let ((from, first), (to, second)) = (self.script.first, self.script.second);
        self.teller.act("1  A weight is edited under load");
        self.teller.columns();
        let edit_at = Instant::now() + first;
        self.watch(edit_at).await?;
        // Before the write, not after it: the edit may be in force before we hear that it is written.
        self.witness.borrow_mut().edited(to, Instant::now());
        self.write(&Plan::Split(to))?;
        self.teller.edited(self.began.elapsed(), from, to);
        self.watch(edit_at + second).await
    }

    /// The candidate fails at its second stage. Whether it was rolled back, so that the next act can follow.
    async fn fail(&mut self, fallback: bool) -> Result<bool, Cut> {
        let hold = self.script.hold;
        if fallback {
            self.teller
                .act("3  The same once more, with `fallback: stable`: v1 answers where v2 fails");
            self.teller.trial_columns();
            self.candidate.set_failing(false);
            self.write(&Plan::Rollout { hold, fallback })?;
            self.say(
                "v2 is mended, and the file is edited: the rollout has `fallback: stable` now",
            );
            self.watch_trial(Instant::now() + self.script.settle, |_| false)
                .await?;
            self.say("an edit does not bring back what was rolled back; an operator does:");
            self.try_on(fallback);
            self.retry().await?;
        } else {
            self.teller
                .act("2  A rollout grows by itself, 5 % → 25 %, and v2 starts to fail");
            self.try_on(fallback);
            self.write(&Plan::Rollout { hold, fallback })?;
            self.say("the file is edited: instead of a weight, the rule names the rollout shop-v2");
            self.teller.trial_columns();
        }

        let largest = stage::STAGES[1];
        let climb = Instant::now() + hold + self.script.climb_within;
        if !self
            .watch_trial(climb, |told| told.weight == largest)
            .await?
        {
            self.say("the rollout did not come to its second stage");
            return Ok(false);
        }
        self.watch_trial(Instant::now() + self.script.settle, |_| false)
            .await?;
        self.candidate.set_failing(true);
        self.teller
            .alarm(self.began.elapsed(), "v2 fails: every request gets a 500");
        let deadline = Instant::now() + self.script.told_within;
        let back = self
            .watch_trial(deadline, |told| told.phase == "rolled_back")
            .await?;
        self.watch_trial(Instant::now() + self.script.settle, |_| false)
            .await?;
        Ok(back)
    }

    /// From now on, users are the witnesses of a trial.
    fn try_on(&self, fallback: bool) {
        self.witness.borrow_mut().tries(Trial::new(Terms {
            users: self.script.users,
            salt: if fallback {
                stage::RETRY_SALT
            } else {
                stage::ROLLOUT
            },
            share: stage::STAGES[1],
            fallback,
            from: Instant::now() + IN_FORCE_WITHIN,
        }));
    }

    async fn retry(&mut self) -> Result<(), Cut> {
        let (admin, rollout) = (self.stage.admin, stage::ROLLOUT);
        self.teller.command(&format!(
            "tidegate rollout retry {rollout} --admin http://{admin}"
        ));
        let path = format!("/api/v1/rollouts/{rollout}/retry");
        let order = "{\"reason\":\"v2 is mended\",\"by\":\"demo\"}";
        match load::ask_admin(admin, "POST", &path, order).await {
            Some((200, _)) => {}
            // The trial then shows that nothing came of it.
            answer => {
                let told = answer
                    .map(|(status, body)| format!("{status} {}", String::from_utf8_lossy(&body)));
                let told = told.unwrap_or_else(|| "no answer".to_owned());
                self.say(&format!("the proxy refused: {told}"));
            }
        }
        Ok(())
    }

    fn write(&self, plan: &Plan) -> Result<(), Cut> {
        Ok(self.stage.edit(plan).context("cannot edit the file")?)
    }

    fn say(&mut self, words: &str) {
        self.teller.note(self.began.elapsed(), words);
    }

    /// A line each while until the end.
    async fn watch(&mut self, end: Instant) -> Result<(), Cut> {
        let mut told_edit = self.witness.borrow().in_force_after().is_some();
        while Instant::now() < end {
            let rest = end.saturating_duration_since(Instant::now());
            sleep(self.script.tell_every.min(rest)).await;
            self.is_alive()?;
            let mut witness = self.witness.borrow_mut();
            if let Some(after) = witness.in_force_after().filter(|_| !told_edit) {
                told_edit = true;
                self.teller.in_force(self.began.elapsed(), after);
            }
            self.teller.moment(self.began.elapsed(), &witness.moment());
        }
        Ok(())
    }

    /// A line each while until the proxy tells what is awaited: `true`; or until the end. What it decides is told when
    /// it decides it.
    async fn watch_trial(
        &mut self,
        end: Instant,
        awaited: impl Fn(&Told) -> bool,
    ) -> Result<bool, Cut> {
        let mut line_at = Instant::now() + self.script.tell_every;
        loop {
            self.is_alive()?;
            let told = self.asked().await;
            let now = Instant::now();
            if let Some(told) = &told {
                self.tell_change(told);
            }
            let came = told.as_ref().is_some_and(&awaited);
            if now >= line_at || came || now >= end {
                line_at = now + self.script.tell_every;
                if let Some(moment) = self.witness.borrow_mut().trial_moment() {
                    let weight = told.map(|told| told.weight);
                    self.teller
                        .trial_moment(self.began.elapsed(), weight, moment);
                }
            }
            if came || now >= end {
                return Ok(came);
            }
            let next = line_at.min(end).saturating_duration_since(now);
            sleep(next.min(self.script.ask_every).max(LOOK_AGAIN)).await;
        }
    }

    fn tell_change(&mut self, told: &Told) {
        let at = self.began.elapsed();
        let rollout = stage::ROLLOUT;
        let before = std::mem::replace(&mut self.weight, told.weight);
        let words = format!("{rollout}: {} → {}", percent(before), percent(told.weight));
        if told.weight > before {
            self.teller.note(at, &words);
        } else if told.weight < before {
            self.teller.alarm(at, &format!("{words}, rolled back"));
            self.teller.quote(&told.reason);
        }
    }

    /// `None` while there is no such rollout, or nobody answers.
    async fn asked(&self) -> Option<Told> {
        let path = format!("/api/v1/rollouts/{}", stage::ROLLOUT);
        let (status, body) = load::ask_admin(self.stage.admin, "GET", &path, "").await?;
        let view: Value = (status == 200).then(|| serde_json::from_slice(&body).ok())??;
        let weight = view["weight"].as_f64()?;
        Some(Told {
            phase: view["phase"].as_str()?.to_owned(),
            weight: Share::from_parts((weight * 1000.0).round() as u32)?,
            reason: view["reason"].as_str()?.to_owned(),
        })
    }

    fn is_alive(&mut self) -> Result<(), Cut> {
        match self.proxy.ended() {
            Some(words) => Err(Cut::Died(words)),
            None => Ok(()),
        }
    }
}
