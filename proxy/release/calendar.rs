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

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;
    use proptest::prelude::*;

    use super::*;

    const WEEK: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn allow(days: &[Weekday], from: &str, until: &str, of: &str) -> Allow {
        Allow {
            days: days.iter().copied().map(Day).collect(),
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
            zone: zone(of),
        }
    }

    fn deny(name: &str, from: &str, until: &str, of: &str) -> Deny {
        Deny {
            name: name.into(),
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
            zone: zone(of),
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn only(allow: Allow) -> Windows {
        Windows {
            allow: vec![allow],
            deny: Vec::new(),
        }
    }

    #[track_caller]
    fn open_until(windows: &Windows, now: &str, closes: Option<&str>) {
        let wanted = Opening::Open {
            closes: closes.map(at),
        };
        assert_eq!(opening(windows, at(now)), wanted, "at {now}");
    }

    #[track_caller]
    fn closed_until(windows: &Windows, now: &str, because: &str, wanted: Option<&str>) {
        let Opening::Closed { why, opens } = opening(windows, at(now)) else {
            panic!("open at {now}");
        };
        assert!(why.contains(because), "at {now}: {why}");
        assert_eq!(opens, wanted.map(at), "at {now}");
    }

    #[test]
    fn no_windows_are_always_open() {
        assert_eq!(
            opening(&Windows::default(), at("2026-01-01T00:00:00Z")),
            Opening::ALWAYS
        );
    }

    #[test]
    fn office_hours_of_a_zone_open_and_close_on_its_clocks() {
        let office = only(allow(&WEEK[..4], "09:30", "16:00", "Asia/Shanghai"));
        let outside = "outside of the allowed times";
        // Monday.
        closed_until(
            &office,
            "2026-06-01T01:29:59Z",
            outside,
            Some("2026-06-01T01:30:00Z"),
        );
        open_until(
            &office,
            "2026-06-01T01:30:00Z",
            Some("2026-06-01T08:00:00Z"),
        );
        open_until(
            &office,
            "2026-06-01T07:59:59Z",
            Some("2026-06-01T08:00:00Z"),
        );
        closed_until(
            &office,
            "2026-06-01T08:00:00Z",
            outside,
            Some("2026-06-02T01:30:00Z"),
        );
        // Thursday evening.
        closed_until(
            &office,
            "2026-06-04T09:00:00Z",
            outside,
            Some("2026-06-08T01:30:00Z"),
        );
    }

    #[test]
    fn a_denied_time_wins_and_is_named() {
        let mut windows = only(allow(&WEEK[..4], "09:30", "16:00", "Asia/Shanghai"));
        windows.deny.push(deny(
            "national-day",
            "2026-09-30T00:00",
            "2026-10-08T09:00",
            "Asia/Shanghai",
        ));
        open_until(
            &windows,
            "2026-09-29T02:00:00Z",
            Some("2026-09-29T08:00:00Z"),
        );
        closed_until(
            &windows,
            "2026-09-30T02:00:00Z",
            "\"national-day\"",
            Some("2026-10-08T01:30:00Z"),
        );
        // A Thursday: denied until nine, open from half past nine.
        closed_until(
            &windows,
            "2026-10-08T01:15:00Z",
            "outside",
            Some("2026-10-08T01:30:00Z"),
        );
        let denied_alone = Windows {
            allow: Vec::new(),
            ..windows
        };
        open_until(
            &denied_alone,
            "2026-09-01T00:00:00Z",
            Some("2026-09-29T16:00:00Z"),
        );
        closed_until(
            &denied_alone,
            "2026-10-01T00:00:00Z",
            "national-day",
            Some("2026-10-08T01:00:00Z"),
        );
        open_until(&denied_alone, "2026-10-09T00:00:00Z", None);
    }

    #[test]
    fn a_night_ends_on_the_next_day() {
        let nights = only(allow(&[Weekday::Friday], "22:00", "06:00", "Europe/Berlin"));
        open_until(
            &nights,
            "2026-06-05T20:00:00Z",
            Some("2026-06-06T04:00:00Z"),
        );
        open_until(
            &nights,
            "2026-06-06T03:00:00Z",
            Some("2026-06-06T04:00:00Z"),
        );
        closed_until(
            &nights,
            "2026-06-05T03:00:00Z",
            "outside",
            Some("2026-06-05T20:00:00Z"),
        );
        let whole_days = only(allow(&WEEK, "00:00", "00:00", "Europe/Berlin"));
        open_until(&whole_days, "2026-06-05T03:00:00Z", None);
    }

    #[test]
    fn a_time_that_the_clocks_skip_is_the_moment_after_it() {
        // Berlin, 29 March 2026: at two it is three.
        let begins = only(allow(&[Weekday::Sunday], "02:30", "05:00", "Europe/Berlin"));
        closed_until(
            &begins,
            "2026-03-29T00:59:59Z",
            "outside",
            Some("2026-03-29T01:00:00Z"),
        );
        open_until(
            &begins,
            "2026-03-29T01:00:00Z",
            Some("2026-03-29T03:00:00Z"),
        );
        let ends = only(allow(&[Weekday::Sunday], "01:00", "02:30", "Europe/Berlin"));
        open_until(&ends, "2026-03-29T00:59:59Z", Some("2026-03-29T01:00:00Z"));
        let within = only(allow(&[Weekday::Sunday], "02:10", "02:50", "Europe/Berlin"));
        closed_until(
            &within,
            "2026-03-29T00:30:00Z",
            "outside",
            Some("2026-04-05T00:10:00Z"),
        );
    }

    #[test]
    fn a_time_that_the_clocks_show_twice_begins_at_the_first_and_ends_at_the_last() {
        // Berlin, 25 October 2026: at three it is two again.
        let night = only(allow(&[Weekday::Sunday], "02:30", "02:45", "Europe/Berlin"));
        closed_until(
            &night,
            "2026-10-25T00:29:59Z",
            "outside",
            Some("2026-10-25T00:30:00Z"),
        );
        open_until(&night, "2026-10-25T00:30:00Z", Some("2026-10-25T01:45:00Z"));
        open_until(&night, "2026-10-25T01:10:00Z", Some("2026-10-25T01:45:00Z"));
        let denied = Windows {
            allow: Vec::new(),
            deny: vec![deny(
                "change",
                "2026-10-25T02:30",
                "2026-10-25T02:45",
                "Europe/Berlin",
            )],
        };
        closed_until(
            &denied,
            "2026-10-25T01:44:59Z",
            "change",
            Some("2026-10-25T01:45:00Z"),
        );
    }

    #[test]
    fn windows_that_are_closed_for_ever_say_so() {
        let windows = Windows {
            allow: vec![allow(&[Weekday::Monday], "09:00", "17:00", "UTC")],
            deny: vec![deny(
                "sunset",
                "2020-01-01T00:00",
                "9000-01-01T00:00",
                "UTC",
            )],
        };
        closed_until(&windows, "2026-06-01T10:00:00Z", "sunset", None);
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        let windows = Windows {
            allow: vec![allow(&WEEK, "23:00", "01:00", "Pacific/Apia")],
            deny: vec![deny(
                "all",
                "-009999-01-01T00:00",
                "9999-12-31T23:59",
                "Pacific/Apia",
            )],
        };
        for now in [Timestamp::MIN, Timestamp::MAX, at("2011-12-30T12:00:00Z")] {
            assert!(!opening(&windows, now).is_open());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a walk in steps of ten minutes, over a year with skipped and repeated hours.
        #[test]
        fn what_an_answer_says_stays_so_until_the_moment_it_names_and_not_longer(
            start in 0_i64..365 * 24 * 6,
            from in 0_i8..24, until in 0_i8..24, days in 1_u8..128,
            deny_from in 0_i64..30, deny_days in 1_i64..20,
            name in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe"]),
        ) {
            let now = at("2026-01-01T00:00:00Z").checked_add((start * 10).minutes()).unwrap();
            let days: Vec<_> = WEEK.into_iter().enumerate().filter(|(n, _)| days & (1 << n) != 0).map(|(_, day)| day).collect();
            let begin = zone(name).to_datetime(now).checked_add(deny_from.days()).unwrap();
            let windows = Windows {
                allow: vec![allow(&days, &format!("{from:02}:30"), &format!("{until:02}:00"), name)],
                deny: vec![Deny {
                    name: "freeze".into(),
                    from: begin,
                    until: begin.checked_add(deny_days.days()).unwrap(),
                    zone: zone(name),
                }],
            };
            let answer = opening(&windows, now);
            let (Opening::Open { closes: change } | Opening::Closed { opens: change, .. }) = &answer;
            let change = change.expect("every such window opens and closes");
            prop_assert!(change > now);
            prop_assert_ne!(opening(&windows, change).is_open(), answer.is_open());
            let mut moment = now;
            let mut steps = 0;
            while moment < change && steps < 500 {
                prop_assert_eq!(closed(&windows, moment).is_none(), answer.is_open(), "at {}", moment);
                moment = moment.checked_add(10.minutes()).unwrap();
                steps += 1;
            }
        }
    }
}
