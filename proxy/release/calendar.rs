//! When weights may grow: windows on the clocks of their zones, through the hours that clocks skip and repeat.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use tidegate_config::plan::{Allow, Day, Deny, Windows};

/// So far ahead an opening is looked for.
const DAYS_AHEAD: i64 = 400;

/// Whether weights may grow now, and until when that stays so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// They may.
    Open {
        /// Until then; `None` where nothing closes within 400 days.
        closes: Option<Timestamp>,
    },
    /// They may not.
    Closed {
        /// Which window keeps them.
        why: String,
        /// Until then; `None` where nothing opens within 400 days.
        opens: Option<Timestamp>,
    },
}

impl Opening {
    /// Open for ever.
    pub const ALWAYS: Self = Self::Open { closes: None };

    /// Whether weights may grow.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// What the windows say at this moment. It stays so until the moment that the answer names, so there is no need to ask
/// again before it; a search through a year of windows is work for a millisecond.
#[must_use]
pub fn opening(windows: &Windows, now: Timestamp) -> Opening {
    if windows.allow.is_empty() && windows.deny.is_empty() {
        return Opening::ALWAYS;
    }
    let why = closed(windows, now);
    let changes = next_change(windows, now, why.is_none());
    match why {
        None => Opening::Open { closes: changes },
        Some(why) => Opening::Closed {
            why,
            opens: changes,
        },
    }
}

/// What keeps weights from growing at this moment. Deny wins.
fn closed(windows: &Windows, now: Timestamp) -> Option<String> {
    let denied = windows.deny.iter().find(|deny| {
        let (begin, end) = span_of(deny);
        begin <= now && now < end
    });
    if let Some(deny) = denied {
        return Some(format!("{:?} is closed for changes", deny.name));
    }
    let allowed = windows.allow.is_empty()
        || windows.allow.iter().any(|allow| {
            let today = allow.zone.to_datetime(now).date();
            // One that began yesterday may go on today, and with a zone that skipped a day a little longer.
            (-2..=0).any(|days| {
                occurrence(allow, today, days).is_some_and(|(begin, end)| begin <= now && now < end)
            })
        });
    (!allowed).then(|| "outside of the allowed times".to_owned())
}

/// The first moment after this one at which it is no longer as it is.
fn next_change(windows: &Windows, now: Timestamp, is_open: bool) -> Option<Timestamp> {
    let last = now.checked_add((DAYS_AHEAD * 24).hours()).ok()?;
    let mut from = now;
    while from < last {
        // A day at a time, for most changes are near.
        let to = from.checked_add(24.hours()).ok()?.min(last);
        let mut moments = boundaries(windows, from);
        moments.retain(|moment| *moment > from && *moment <= to);
        moments.sort_unstable();
        let change = moments.into_iter();
        let change = change
            .into_iter()
            .find(|at| closed(windows, *at).is_none() != is_open);
        if change.is_some() {
            return change;
        }
        from = to;
    }
    None
}

/// Begins and ends of windows around a day.
fn boundaries(windows: &Windows, around: Timestamp) -> Vec<Timestamp> {
    let allowed = windows.allow.iter().flat_map(|allow| {
        let today = allow.zone.to_datetime(around).date();
        (-2..=2).filter_map(move |days| occurrence(allow, today, days))
    });
    let denied = windows.deny.iter().map(span_of);
    allowed
        .chain(denied)
        .flat_map(|(begin, end)| [begin, end])
        .collect()
}

/// The occurrence that begins so many days after a date, if one does.
fn occurrence(allow: &Allow, date: Date, days: i64) -> Option<(Timestamp, Timestamp)> {
    let date = date.checked_add(days.days()).ok()?;
    if !allow.days.contains(&Day(date.weekday())) {
        return None;
    }
    let end = if allow.until > allow.from {
        date
    } else {
        date.tomorrow().ok()?
    };
    let begin = moment(&allow.zone, date.to_datetime(allow.from), Occurrence::First);
    let end = moment(&allow.zone, end.to_datetime(allow.until), Occurrence::Last);
    Some((begin, end))
}

fn span_of(deny: &Deny) -> (Timestamp, Timestamp) {
    let begin = moment(&deny.zone, deny.from, Occurrence::First);
    let end = moment(&deny.zone, deny.until, Occurrence::Last);
    (begin, end)
}

/// Which of the two moments at which a clock that is set back shows the same time.
#[derive(Clone, Copy)]
enum Occurrence {
    First,
    Last,
}

/// When the clocks of the zone show this time. One that they skip is the moment at which they skip it.
fn moment(zone: &TimeZone, time: DateTime, which: Occurrence) -> Timestamp {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let offset = ambiguous.offset();
    let found = match (offset, which) {
        (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.compatible(),
        (AmbiguousOffset::Fold { .. }, Occurrence::First) => ambiguous.earlier(),
        (AmbiguousOffset::Fold { .. }, Occurrence::Last) => ambiguous.later(),
        (AmbiguousOffset::Gap { .. }, _) => {
            // By the offset after the gap the time lies before it, by the one before it after it.
            ambiguous.earlier().map(|before| {
                zone.following(before)
                    .next()
                    .map_or(before, |transition| transition.timestamp())
            })
        }
    };
    // Only the years at which time itself ends have no timestamp.
    found.unwrap_or(match which {
        Occurrence::First => Timestamp::MIN,
        Occurrence::Last => Timestamp::MAX,
    })
}
