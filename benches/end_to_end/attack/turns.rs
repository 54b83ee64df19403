//! What a contender keeps under attack, from turns: one of the attacked, one of the one beside it, and so on.

/// Answers a second in a turn of the one that is attacked, and in the next one of the one beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) during: f64,
    pub(super) beside: f64,
    /// Cores that the attacker was busy on meanwhile.
    pub(super) taken: f64,
}

/// What the turns came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sum {
    /// Answers a second, in the mean.
    pub(super) during: f64,
    pub(super) beside: f64,
    /// Cores that the attacker was busy on, in the mean.
    pub(super) taken: f64,
    /// What is left of the one by the other,
    pub(super) kept: f64,
    /// and the standard error of that.
    pub(super) error: f64,
}

impl Sum {
    /// Each turn of the attacked is held against the two beside it: a machine's pace changes from one second to the next, by
    /// as much as a half. The first turn has but one, and does not count.
    pub(super) fn of(turns: &[Turn]) -> Self {
        let pairs = turns.array_windows().map(|[before, turn]| {
            let beside = f64::midpoint(before.beside, turn.beside);
            (turn.during, beside, turn.taken)
        });
        let count = pairs.clone().count().max(2) as f64;
        let mut sum = Self::default();
        for (during, beside, taken) in pairs.clone() {
            sum.during += during / count;
            sum.beside += beside / count;
            sum.taken += taken / count;
        }
        sum.kept = sum.during / sum.beside.max(1.0);
        // Of a ratio of means (Cochran, Sampling Techniques, chapter 6).
        let squares = pairs.map(|(during, beside, _)| (during - sum.kept * beside).powi(2));
        sum.error = (squares.sum::<f64>() / (count - 1.0) / count).sqrt() / sum.beside.max(1.0);
        sum
    }
}
