//! What a contender keeps under attack, from turns: one of the attacked, one of the one beside it, and so on.

use serde::Serialize;

/// A turn of one of the two.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Side {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Cores that the contender was busy on,
    pub(crate) proxy: f64,
    /// and of the load's core, what the attacker took, or a ballast for it.
    pub(crate) taken: f64,
}

impl Side {
    fn add(&mut self, other: Self, weight: f64) {
        self.rate += other.rate * weight;
        self.proxy += other.proxy * weight;
        self.taken += other.taken * weight;
    }
}

/// A turn of the one that is attacked, and the next one of the one beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) during: Side,
    pub(super) beside: Side,
}

/// What the turns came to.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Turns {
    pub(crate) count: usize,
    /// In the mean, under attack,
    pub(crate) during: Side,
    /// and without.
    pub(crate) beside: Side,
    /// What is left of the answers of the one by those of the other,
    pub(crate) kept: f64,
    /// and the standard error of that.
    pub(crate) error: f64,
}

impl Turns {
    /// Each turn of the attacked is held against the two beside it: a machine's pace changes from one second to the next, by
    /// as much as a half. The first turn has but one, and does not count.
    pub(super) fn of(turns: &[Turn]) -> Self {
        let mut sum = Self {
            count: turns.len(),
            ..Self::default()
        };
        let pairs: Vec<(f64, f64)> = turns
            .array_windows()
            .map(|[before, turn]| {
                let beside = f64::midpoint(before.beside.rate, turn.beside.rate);
                (turn.during.rate, beside)
            })
            .collect();
        if pairs.len() < 2 {
            return sum;
        }
        let count = pairs.len() as f64;
        for [before, turn] in turns.array_windows() {
            sum.during.add(turn.during, 1.0 / count);
            sum.beside.add(before.beside, 0.5 / count);
            sum.beside.add(turn.beside, 0.5 / count);
        }
        let beside = sum.beside.rate.max(1.0);
        sum.kept = sum.during.rate / beside;
        // Of a ratio of means (Cochran, Sampling Techniques, chapter 6); each turn beside is in two pairs, which are not
        // independent of each other therefore.
        let off = |pair: &(f64, f64)| pair.0 - sum.kept * pair.1;
        let alone: f64 = pairs.iter().map(|pair| off(pair).powi(2)).sum();
        let next: f64 = pairs.array_windows().map(|[a, b]| off(a) * off(b)).sum();
        let variance = (alone + 2.0 * next.max(0.0)) / (count - 1.0) / count;
        sum.error = variance.sqrt() / beside;
        sum
    }
}
