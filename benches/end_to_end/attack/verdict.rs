//! Whether a contender stood: the bounds, and what is told of each attack.

use std::fmt;

use serde::Serialize;

use super::kinds::Attack;
use super::siege::Outcome;
use super::turns::Turns;
use super::{PROCESS, stated_bytes};

/// Honest callers keep so much.
const KEPT: f64 = 0.9;
/// Two shares that differ by less are the same.
const NOISE: f64 = 0.03;
/// The throughput is back after so many seconds.
const BACK_S: f64 = 5.0;

/// One attack, and what it came to.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    attack: &'static str,
    what: &'static str,
    tidegate: Option<Outcome>,
    nginx: Option<Outcome>,
    /// Why it is not as it should be: a sentence each.
    pub(crate) against: Vec<String>,
}

impl Verdict {
    /// Judges what came of it; `Err`: why it could not be tried.
    pub(super) fn of(
        attack: Attack,
        tidegate: Result<Outcome, String>,
        nginx: Option<Outcome>,
    ) -> Result<Self, String> {
        let stated = (stated_bytes(PROCESS)?, stated_bytes(attack.state)?);
        let against = match &tidegate {
            Ok(ours) => ours.judged(&attack, nginx.as_ref(), stated),
            Err(why) => vec![format!("not shown: {why}")],
        };
        Ok(Self {
            attack: attack.name,
            what: attack.what,
            tidegate: tidegate.ok(),
            nginx,
            against,
        })
    }
}

impl Outcome {
    /// What speaks against it, beside another's. `stated` is what the process may hold, and a connection.
    fn judged(&self, attack: &Attack, theirs: Option<&Self>, stated: (u64, u64)) -> Vec<String> {
        let ours = self;
        let mut against = Vec::new();
        let mut share = |what: &str, of: fn(&Self) -> f64| {
            let theirs = theirs.map(of);
            let least = theirs.map_or(KEPT, |theirs| KEPT.min(theirs - NOISE));
            if of(ours) < least {
                let theirs = theirs.map(|theirs| format!(" (nginx {:.0} %)", theirs * 100.0));
                against.push(format!(
                    "{what}: {:.0} %{}",
                    of(ours) * 100.0,
                    theirs.unwrap_or_default()
                ));
            }
        };
        share("throughput kept with each connection busy", |o| {
            o.turns.kept
        });
        share(
            "answered, or refused with a counted reason, by the clock",
            Self::accounted,
        );
        share("newcomers served", Self::welcomed);
        let bound = stated.0 + ours.attack.most_open * stated.1;
        if ours.memory_peak > bound {
            against.push(format!(
                "memory: {} MiB where {} are stated",
                ours.memory_peak >> 20,
                bound >> 20
            ));
        }
        match ours.recovered_s {
            None => against.push("the throughput did not come back".into()),
            Some(seconds) if seconds > BACK_S => {
                against.push(format!("the throughput came back after {seconds:.1} s"));
            }
            Some(_) => {}
        }
        let wanted = attack.connections as u64;
        let turned_away = ours.attack.failed > 0 || !ours.refusals.is_empty();
        if attack.holds() && ours.attack.most_open < wanted * 9 / 10 && !turned_away {
            against.push(format!(
                "the attacker had {} connections of {wanted}: nothing is shown",
                ours.attack.most_open
            ));
        } else if ours.attack.opened == 0 {
            against.push("the attacker made no connection: nothing is shown".into());
        }
        against
    }

    fn welcomed(&self) -> f64 {
        self.newcomers.served as f64 / (self.newcomers.came as f64).max(1.0)
    }

    /// Share of what was asked by the clock that was answered, or turned away for a reason that is counted.
    fn accounted(&self) -> f64 {
        let is_counted = !self.refusals.is_empty();
        self.answered + if is_counted { self.turned_away } else { 0.0 }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {}", self.attack, self.what)?;
        for outcome in self.tidegate.iter().chain(&self.nginx) {
            write!(f, "{outcome}")?;
        }
        if self.against.is_empty() {
            return write!(f, "  stands");
        }
        write!(f, "  FAILS: {}", self.against.join("; "))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recovered = self
            .recovered_s
            .map_or("never".to_owned(), |s| format!("{s:.2} s"));
        let Turns {
            count,
            during,
            beside,
            kept,
            error,
        } = self.turns;
        writeln!(
            f,
            "  {:9} busy {:.0}/s, unattacked {:.0} ({:.1} ± {:.1} %, {count} turns); by the clock {:.1} % answered, p99 {:.1} ms, core {:.2}; newcomers {}/{}, slowest {:.0} ms; memory {} → {} MiB; back after {recovered}",
            self.contender,
            during.rate,
            beside.rate,
            kept * 100.0,
            error * 100.0,
            self.answered * 100.0,
            self.p99_ms,
            self.core,
            self.newcomers.served,
            self.newcomers.came,
            self.newcomers.slowest_ms,
            self.memory_before >> 20,
            self.memory_peak >> 20,
        )?;
        let attack = &self.attack;
        writeln!(
            f,
            "            attacker: {} connections, at most {} at a time, {} closed, {} refused, {} KiB sent, {:.2} s of a core",
            attack.opened,
            attack.most_open,
            attack.closed,
            attack.failed,
            attack.bytes >> 10,
            attack.cpu_s,
        )?;
        writeln!(
            f,
            "            while busy: the proxy has {:.0} % of its core, unattacked {:.0} %; of the load's the attacker has {:.0} %, beside it a ballast {:.0} %",
            during.proxy * 100.0,
            beside.proxy * 100.0,
            during.taken * 100.0,
            beside.taken * 100.0,
        )?;
        for (what, counts) in [
            ("honest requests that failed", &self.failures),
            ("newcomers that failed", &self.newcomers.failures),
            ("counted refusals", &self.refusals),
        ] {
            if !counts.is_empty() {
                writeln!(f, "            {what}: {counts:?}")?;
            }
        }
        Ok(())
    }
}
