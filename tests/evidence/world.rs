//! Users, failures and rollouts that are only numbers: what the evidence is tried on. Everything comes from the seed of a
//! generator, so a run can be repeated. Tests run a few of each, the bench as many as its tables need.

use std::time::Duration;

use tidegate::release::evidence::{
    Arm, Budget, Comparison, Counts, Event, Evidence, Finding, Metric, Served,
};
use tidegate_config::Share;

/// A generator of chance.
pub type Chance = fastrand::Rng;

/// A share by percent.
pub fn percent(percent: f64) -> Share {
    Share::from_parts((percent * 1000.0).round() as u32).expect("at most 100 %")
}

/// Errors as a rollout compares them by default, but any difference is material: the evidence speaks alone.
pub fn errors() -> Comparison {
    Comparison::new(
        Budget::default().of(Metric::Errors),
        Share::ZERO,
        Duration::ZERO,
    )
}

fn event(unit: u64, weight: Share, arm: Arm, at: Duration) -> Event {
    Event {
        unit: Some(unit),
        arm,
        candidate: weight,
        stable: Share::from_parts(Share::FULL.parts() - weight.parts()).expect("a share"),
        at,
    }
}

fn arm(is_candidate: bool) -> Arm {
    if is_candidate {
        Arm::Candidate
    } else {
        Arm::Stable
    }
}

fn is_worse(finding: Finding) -> bool {
    matches!(finding, Finding::Worse(_))
}

/// Poisson, by counting below 30 and by the bell curve above.
fn poisson(mean: f64, chance: &mut Chance) -> u64 {
    if mean < 30.0 {
        let (limit, mut product, mut n) = ((-mean).exp(), chance.f64(), 0);
        while product > limit {
            product *= chance.f64();
            n += 1;
        }
        return n;
    }
    (mean + mean.sqrt() * bell(chance)).round().max(0.0) as u64
}

fn bell(chance: &mut Chance) -> f64 {
    let (a, b) = (1.0 - chance.f64(), chance.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

// ── A break after events that fell on both versions alike ────────────────────────────────────────────────────────────

/// Distinct users with a failure on the candidate from the break on, until it is rolled back. Before it, `earlier` users
/// failed on both alike; from it on, a user of the candidate is `risk` times as likely to fail as one of stable
/// (infinite: stable is clean).
pub fn users_hit(weight: Share, earlier: u64, risk: f64, chance: &mut Chance) -> Option<u64> {
    let mut comparison = errors();
    let share = weight.percent() / 100.0;
    let before = |chance: &mut Chance| arm(chance.f64() < share);
    for unit in 0..earlier {
        let (arm, at) = (before(chance), Duration::from_secs(unit));
        if is_worse(comparison.event(&event(unit, weight, arm, at))) {
            return None;
        }
    }
    let (mut hit, mut unit) = (0, earlier);
    let falls_on_candidate = if risk.is_finite() {
        risk * share / (risk * share + 1.0 - share)
    } else {
        1.0
    };
    loop {
        let arm = arm(chance.f64() < falls_on_candidate);
        hit += u64::from(arm == Arm::Candidate);
        // Half a second apart: the windows go on as they would.
        let at = Duration::from_secs(earlier) + Duration::from_millis(500 * (unit - earlier));
        if is_worse(comparison.event(&event(unit, weight, arm, at))) {
            return Some(hit);
        }
        unit += 1;
    }
}

/// The same total break judged by a plain product, with all capital at the start: what the fresh capital is for.
pub fn users_hit_by_plain_product(weight: Share, earlier: u64, chance: &mut Chance) -> u64 {
    let share = weight.percent() / 100.0;
    let risks = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0_f64];
    let mut logs = [0.0; 8];
    let mut step = |is_candidate: bool| {
        for (log, risk) in logs.iter_mut().zip(risks) {
            let seen = if is_candidate { risk } else { 1.0 };
            *log += (seen / (1.0 + share * (risk - 1.0))).ln();
        }
        logs.iter().map(|log| log.exp()).sum::<f64>() / 8.0
    };
    for _ in 0..earlier {
        step(chance.f64() < share);
    }
    (1..).find(|_| step(true) >= 4000.0).unwrap_or(u64::MAX)
}

// ── A day in which everybody fails now and then, and then a total break ──────────────────────────────────────────────

/// What came of a break.
pub struct Found {
    /// Users of the candidate who were hit by then.
    pub hits: u64,
    /// The epoch in which it was found.
    pub epoch: u32,
}

/// `users` fail with probability `rate` in every minute of a day; then every request of a user of the candidate fails, once
/// a minute, for twenty minutes.
pub fn break_after_exhaustion(
    users: u64,
    weight: Share,
    rate: f64,
    chance: &mut Chance,
) -> Option<Found> {
    const DAY: u64 = 24 * 60;
    let mut comparison = errors();
    let slots: Vec<f64> = (0..users).map(|_| chance.f64() * 100.0).collect();
    let on_candidate = |user: u64| slots[user as usize] < weight.percent();
    for minute in 0..DAY {
        for n in 0..poisson(rate * users as f64, chance) {
            let user = chance.u64(..users);
            let at = Duration::from_secs(minute * 60 + n % 60);
            if is_worse(comparison.event(&event(user, weight, arm(on_candidate(user)), at))) {
                return None;
            }
        }
    }
    // Everybody comes once a minute; those on stable fail as before.
    let mut order: Vec<u64> = (0..users).collect();
    let mut hit = vec![false; users as usize];
    for minute in DAY..DAY + 20 {
        chance.shuffle(&mut order);
        for (n, &user) in order.iter().enumerate() {
            if !on_candidate(user) && chance.f64() >= rate {
                continue;
            }
            hit[user as usize] |= on_candidate(user);
            let at = Duration::from_secs(minute * 60 + n as u64 * 60 / users);
            let epoch = comparison.reading().epoch;
            if is_worse(comparison.event(&event(user, weight, arm(on_candidate(user)), at))) {
                let hits = hit.iter().filter(|hit| **hit).count() as u64;
                return Some(Found { hits, epoch });
            }
        }
    }
    None
}

// ── A candidate that was better, and then shares an outage, or breaks ────────────────────────────────────────────────

/// What comes after the time in which the candidate was better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// An outage meets those whom stable had hurt, on both versions alike.
    OutageOfTheSame,
    /// An outage meets all users, on both versions alike.
    OutageOfAll,
    /// The candidate fails every user, and stable goes on hurting those whom it hurt.
    Break,
}

/// Of 8 000 users stable hurts a share for up to an hour, the candidate none. Whether the candidate is rolled back in the
/// ten minutes that follow, and how many of its users were hit by then. For how long stable hurts, and how often the hurt
/// users come, is drawn for each run.
pub fn after_better(weight: Share, hurt: f64, then: Then, chance: &mut Chance) -> Option<Found> {
    const USERS: u64 = 8_000;
    let mut comparison = errors();
    let hurt = (hurt * USERS as f64) as u64; // users below this number
    let slots: Vec<f64> = (0..USERS).map(|_| chance.f64() * 100.0).collect();
    let on_candidate = |user: u64| slots[user as usize] < weight.percent();
    let calm = 0.02 + 0.3 * chance.f64(); // failures of a hurt user in a minute
    let storm = 0.1 + chance.f64(); // failures of a user in a minute of the outage
    let mut hit = vec![false; USERS as usize];
    let better = chance.u64(5..=60); // minutes
    for minute in 0..better + 10 {
        let is_after = minute >= better;
        let (users, rate) = match then {
            Then::OutageOfAll if is_after => (USERS, storm),
            Then::OutageOfTheSame if is_after => (hurt, storm),
            Then::Break if is_after => (USERS, 1.0),
            _ => (hurt, calm),
        };
        for n in 0..poisson(rate * users as f64, chance) {
            let user = chance.u64(..users);
            let fails = match (on_candidate(user), then, is_after) {
                (false, Then::Break, true) => user < hurt && chance.f64() < calm,
                (true, _, false) => false,
                _ => true,
            };
            if !fails {
                continue;
            }
            hit[user as usize] |= is_after && on_candidate(user);
            let epoch = comparison.reading().epoch;
            let at = Duration::from_millis(minute * 60_000 + n * 60_000 / 40_000);
            if is_worse(comparison.event(&event(user, weight, arm(on_candidate(user)), at))) {
                let hits = hit.iter().filter(|hit| **hit).count() as u64;
                return Some(Found { hits, epoch });
            }
        }
    }
    None
}

// ── A whole rollout of a harmless candidate ──────────────────────────────────────────────────────────────────────────

/// What a harmless rollout came to.
pub struct Harmless {
    /// Whether it was rolled back all the same.
    pub rolled_back: bool,
    /// The highest E/(d(d+1)) that it ever saw: above c with probability at most 1/c.
    pub highest: f64,
    /// Events that were fed.
    pub events: u64,
}

/// One person, or one client that calls as often as a thousand.
struct User {
    key: u64,
    slot: f64,
    /// Requests a minute at noon.
    activity: f64,
    /// How much likelier than others its requests fail.
    frailty: f64,
}

impl User {
    /// `unevenness` is how much the frailties of users differ: the standard deviation of their logarithm.
    fn new(key: u64, unevenness: f64, chance: &mut Chance) -> Self {
        Self {
            key,
            slot: chance.f64() * 100.0,
            activity: 0.2 * (1.0 - chance.f64()).powf(-1.0 / 1.2).min(500.0),
            frailty: (unevenness * bell(chance)).exp(),
        }
    }
}

/// A time in which the service fails, on both versions alike.
struct Outage {
    minutes: std::ops::Range<u64>,
    /// Failures of a request.
    rate: f64,
    /// Only users of one part, a region say, are met.
    part: u64,
}

/// A rollout of so many users over half a day or a day in a world with waves, outages, heavy users, frail users, retry
/// storms, churn, stages that grow with enough requests on the candidate, and restarts; failing never depends on the arm.
pub fn harmless_rollout(users: usize, chance: &mut Chance) -> Harmless {
    const STAGES: [f64; 5] = [1.0, 5.0, 25.0, 50.0, 100.0];
    let minutes = 60 * chance.u64(12..=24);
    let base = 0.0003 * 100_f64.powf(chance.f64()); // 0.03 % to 3 %
    let unevenness = 3.0 * chance.f64();
    let mut people: Vec<User> = (0..users)
        .map(|n| User::new(n as u64, unevenness, chance))
        .collect();
    let mut next_key = users as u64;
    let outages: Vec<Outage> = (0..chance.u64(0..6))
        .map(|_| {
            let start = chance.u64(..minutes);
            Outage {
                minutes: start..start + chance.u64(2..40),
                rate: chance.f64(),
                part: chance.u64(1..4),
            }
        })
        .collect();
    let mut comparison = errors();
    let (mut stage, mut stage_since, mut on_candidate) = (0, 0, 0.0);
    let (mut highest, mut events) = (0.0_f64, 0);
    for minute in 0..minutes {
        let wave = 0.6 + 0.4 * (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        if minute % 20 == 19 {
            // Churn: some leave for good, others come.
            for user in &mut people {
                if chance.f64() < 0.02 {
                    *user = User::new(next_key, unevenness, chance);
                    next_key += 1;
                }
            }
        }
        if chance.u64(..1000) == 0 {
            // A restart; one in four loses the memory of users.
            let journal = serde_json::to_vec(&comparison).expect("it can be written");
            comparison = serde_json::from_slice(&journal).expect("it can be read");
            if chance.u64(..4) == 0 {
                comparison.units_lost(Duration::from_secs(minute * 60));
            }
        }
        let weight = percent(STAGES[stage]);
        for user in &people {
            let requests = user.activity * wave;
            let outage = outages
                .iter()
                .find(|o| o.minutes.contains(&minute) && user.key % o.part == 0);
            let rate = outage.map_or(base * user.frailty, |o| o.rate);
            let is_candidate = user.slot < STAGES[stage];
            if is_candidate {
                on_candidate += requests;
            }
            let failures = requests * rate;
            if chance.f64() >= -(-failures).exp_m1() {
                continue;
            }
            // A user who fails tries again, and again; each try may fail.
            let tries = 1 + if chance.u64(..4) == 0 {
                chance.u64(..20)
            } else {
                0
            };
            let second = minute * 60 + chance.u64(..60);
            for n in 0..tries {
                let at = Duration::from_secs(second + n);
                let found = comparison.event(&event(user.key, weight, arm(is_candidate), at));
                events += 1;
                let reading = comparison.reading();
                let epoch = f64::from(reading.epoch);
                highest = highest.max(reading.evidence / (epoch * (epoch + 1.0)));
                if is_worse(found) {
                    return Harmless {
                        rolled_back: true,
                        highest,
                        events,
                    };
                }
            }
        }
        let (has_held, has_seen) = (minute - stage_since >= 30, on_candidate >= 300.0);
        if has_held && has_seen && stage + 1 < STAGES.len() {
            (stage, stage_since, on_candidate) = (stage + 1, minute, 0.0);
        }
    }
    Harmless {
        rolled_back: false,
        highest,
        events,
    }
}

// ── The whole evidence at a thousand requests a second ───────────────────────────────────────────────────────────────

/// A thousand requests a second of 20 000 users, `base` of them failing on both versions; after `quiet` the candidate
/// fails every request. Counts come every 100 ms and with every failure, as a controller feeds them. How many users of
/// the candidate were hit.
pub fn hits_at_a_thousand_a_second(
    weight: Share,
    base: f64,
    quiet: Duration,
    chance: &mut Chance,
) -> u64 {
    const USERS: u64 = 20_000;
    let mut evidence = Evidence::new(Budget::default(), percent(0.1), Duration::ZERO);
    let slots: Vec<f64> = (0..USERS).map(|_| chance.f64() * 100.0).collect();
    let mut hit = vec![false; USERS as usize];
    let mut counts = Counts::default();
    for n in 0.. {
        let at = Duration::from_millis(n);
        let user = chance.u64(..USERS);
        let is_candidate = slots[user as usize] < weight.percent();
        let is_broken = is_candidate && at >= quiet;
        let fails = is_broken || chance.f64() < base;
        let served = Served {
            requests: 1,
            bad: u64::from(fails),
        };
        if is_candidate {
            counts.candidate += served;
        } else {
            counts.stable += served;
        }
        if fails || n % 100 == 0 {
            evidence.count(Metric::Errors, &std::mem::take(&mut counts));
        }
        if fails {
            hit[user as usize] |= is_broken;
            let event = event(user, weight, arm(is_candidate), at);
            if is_worse(evidence.event(Metric::Errors, &event)) {
                break;
            }
        }
    }
    hit.iter().filter(|hit| **hit).count() as u64
}

// ── Times ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// 2 000 users with times of their own; from minute 10 on the candidate takes `factor` times as long. Whether it is found
/// to be slower within 20 minutes, after how long, and how many users were hit. With a factor of 1 nothing is to be found.
pub fn slower(weight: Share, factor: f64, chance: &mut Chance) -> Option<(Duration, u64)> {
    const USERS: u64 = 2_000;
    const BREAK: u64 = 10 * 60_000;
    let mut evidence = Evidence::new(Budget::default(), Share::ZERO, Duration::ZERO);
    let users: Vec<(f64, f64)> = (0..USERS)
        .map(|_| (chance.f64() * 100.0, 0.05 * bell(chance).exp()))
        .collect();
    let mut hit = vec![false; USERS as usize];
    // 100 requests a second, heavy users more often.
    for n in (0..30 * 60_000).step_by(10) {
        let at = Duration::from_millis(n);
        let user = (chance.f64().powi(2) * USERS as f64) as u64;
        let (slot, pace) = users[user as usize];
        let is_candidate = slot < weight.percent();
        let drift = 1.0 + 0.3 * (n as f64 / 600_000.0).sin();
        let slowed = if is_candidate && n >= BREAK {
            factor
        } else {
            1.0
        };
        let time = Duration::from_secs_f64(pace * (bell(chance) / 2.0).exp() * drift * slowed);
        if evidence.pace().is_slow(time) {
            hit[user as usize] |= is_candidate && n >= BREAK;
            let event = event(user, weight, arm(is_candidate), at);
            if is_worse(evidence.event(Metric::Slow, &event)) {
                let hits = hit.iter().filter(|hit| **hit).count() as u64;
                return Some((at.saturating_sub(Duration::from_millis(BREAK)), hits));
            }
        }
        evidence.pace_mut().count(at, [(time, 1)]);
    }
    None
}
