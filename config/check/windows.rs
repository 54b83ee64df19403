//! Windows: when weights may grow, and that there is such a time.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, ToSpan};

use super::Check;
use super::names::Unique;
use crate::file::{self, ClockText, MomentText, ZoneText};
use crate::names::nearest;
use crate::plan::{Allow, Day, Deny, Windows};
use crate::problem::quoted;
use crate::source::At;

const MOST_ALLOWED: usize = 32;
const MOST_DENIED: usize = 100;
/// Windows that stay shut for longer than this are shut for ever.
const LONGEST_SHUT_DAYS: i64 = 400;
const DAY_SECONDS: i64 = 86_400;
const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

impl Check<'_> {
    pub(super) fn windows(&mut self, at: &At<'_>, written: Option<&file::Windows>) -> Windows {
        let Some(written) = written else {
            return Windows::default();
        };
        let before = self.problems.count();
        let (allow_at, deny_at) = (at.key("allow"), at.key("deny"));
        self.at_most(&allow_at, written.allow.len(), MOST_ALLOWED, "windows");
        self.at_most(&deny_at, written.deny.len(), MOST_DENIED, "windows");
        let mut names = Unique::new("window of this rollout");
        let mut windows = Windows::default();
        for (index, allow) in written.allow.iter().enumerate() {
            windows
                .allow
                .push(self.allow(&allow_at.index(index), allow));
        }
        for (index, deny) in written.deny.iter().enumerate() {
            let at = deny_at.index(index);
            names.name(&at.key("name"), &deny.name, self.problems);
            windows.deny.push(self.deny(&at, deny));
        }
        if self.problems.count() == before
            && let Some((index, until)) = shut_too_long(&windows)
        {
            let deny = &windows.deny[index];
            let message = format!(
                "with {} the windows stay closed for more than {LONGEST_SHUT_DAYS} days{until}: nothing would ever grow",
                quoted(&deny.name)
            );
            let hint = "end it earlier, or pause the rollout instead";
            self.problems
                .error(&deny_at.index(index).key("to"), "T320", message, hint);
        }
        windows
    }

    fn allow(&mut self, at: &At<'_>, written: &file::Allow) -> Allow {
        let from = self.clock(&at.key("from"), &written.from, false);
        let until = self.clock(&at.key("to"), &written.to, true);
        if let (Some(from), Some(until)) = (from, until)
            && from == until
            && written.to.0 != "24:00"
        {
            let message = format!(
                "this window opens and closes at {}: it is never open",
                written.to.0
            );
            let hint = "for whole days write from `00:00` to `24:00`";
            self.problems.error(&at.key("to"), "T320", message, hint);
        }
        Allow {
            days: self.days(&at.key("days"), written.days.as_deref()),
            from: from.unwrap_or_default(),
            until: until.unwrap_or_default(),
            zone: self.zone(&at.key("zone"), &written.zone),
        }
    }

    fn days(&mut self, at: &At<'_>, written: Option<&[file::Day]>) -> BTreeSet<Day> {
        let Some(written) = written else {
            return WEEK.into_iter().map(Day).collect();
        };
        if written.is_empty() {
            let hint = "name one (`[mon, tue]`), or leave the key out for all seven";
            self.problems
                .error(at, "T204", "a window without a day never opens", hint);
        }
        let mut days = BTreeSet::new();
        for (index, day) in written.iter().enumerate() {
            if !days.insert(Day(WEEK[*day as usize])) {
                self.problems.error(
                    &at.index(index),
                    "T202",
                    "this day is listed twice",
                    "remove one of the two",
                );
            }
        }
        days
    }

    fn deny(&mut self, at: &At<'_>, written: &file::Deny) -> Deny {
        let from = self.moment(&at.key("from"), &written.from);
        let until = self.moment(&at.key("to"), &written.to);
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            let message = format!("this window ends at {} and begins no earlier", written.to.0);
            let hint = "write the earlier moment at `from`";
            self.problems.error(&at.key("to"), "T314", message, hint);
        }
        Deny {
            name: written.name.clone(),
            from: from.unwrap_or_default(),
            until: until.unwrap_or_default(),
            zone: self.zone(&at.key("zone"), &written.zone),
        }
    }

    /// `24:00` is midnight: an end that is not after its begin is the next day's.
    fn clock(&mut self, at: &At<'_>, text: &ClockText, is_end: bool) -> Option<Time> {
        if is_end && text.0 == "24:00" {
            return Some(Time::midnight());
        }
        let time = clock(&text.0);
        if time.is_none() {
            let message = format!("{} is no time of the day", quoted(&text.0));
            self.problems
                .error(at, "T319", message, "write it like `09:30`, in 24 hours");
        }
        time
    }

    fn moment(&mut self, at: &At<'_>, text: &MomentText) -> Option<DateTime> {
        let moment = text.0.split_once('T').and_then(|(day, time)| {
            let is_plain = day.bytes().all(|b| b.is_ascii_digit() || b == b'-') && day.len() == 10;
            let day: Date = is_plain.then(|| day.parse().ok())??;
            Some(day.to_datetime(clock(time)?))
        });
        if moment.is_none() {
            let message = format!("{} is no day with a time", quoted(&text.0));
            let hint = "write it like `2026-09-30T00:00`, on the clocks of the `zone`";
            self.problems.error(at, "T319", message, hint);
        }
        moment
    }

    /// From the database that is built in: every machine reads the file in one way.
    fn zone(&mut self, at: &At<'_>, text: &ZoneText) -> TimeZone {
        let zones = TimeZoneDatabase::bundled();
        if let Ok(zone) = zones.get(&text.0) {
            return zone;
        }
        let message = format!("there is no time zone {}", quoted(&text.0));
        let known: Vec<String> = zones.available().map(|name| name.to_string()).collect();
        let hint = match nearest(&text.0, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {}?", quoted(near)),
            None => "write a name of the IANA database: `Europe/Berlin`, `UTC`".to_owned(),
        };
        self.problems.error(at, "T319", message, hint);
        TimeZone::UTC
    }
}

/// `09:30` and nothing else.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| -> Option<i8> {
        let is_two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        is_two.then(|| digits.parse().ok())?
    };
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

/// The window that must not open anything for too long, by its index, and a word about which allowed time it covers.
///
/// Nothing here asks what time it is: a file that is good stays good.
fn shut_too_long(windows: &Windows) -> Option<(usize, &'static str)> {
    let mut shut: Vec<(Timestamp, Timestamp, usize)> = Vec::new();
    for (index, deny) in windows.deny.iter().enumerate() {
        // Beyond the end of time is its end.
        let at = |moment: DateTime| deny.zone.to_timestamp(moment).unwrap_or(Timestamp::MAX);
        shut.push((at(deny.from), at(deny.until), index));
    }
    shut.sort_unstable();
    let mut next = 0;
    while let Some(&(start, ..)) = shut.get(next) {
        let (open, last) = next_open(windows, &shut, start);
        let is_forever = open.is_none_or(|open| {
            open.as_second() - start.as_second() > LONGEST_SHUT_DAYS * DAY_SECONDS
        });
        if is_forever {
            let why = if windows.allow.is_empty() {
                ""
            } else {
                ", whatever `allow` says"
            };
            return Some((shut[last].2, why));
        }
        // Those that begin before anything opens again are parts of the same closed time.
        let open = open?;
        while shut.get(next).is_some_and(|(from, ..)| *from <= open) {
            next += 1;
        }
    }
    None
}

/// The first open moment from `start` on, where there is one in time, and the last of the closed times on the way.
fn next_open(
    windows: &Windows,
    shut: &[(Timestamp, Timestamp, usize)],
    start: Timestamp,
) -> (Option<Timestamp>, usize) {
    let limit = start
        .as_second()
        .saturating_add((LONGEST_SHUT_DAYS + 1) * DAY_SECONDS);
    let mut now = start;
    let mut last = shut
        .iter()
        .position(|(from, ..)| *from == start)
        .unwrap_or(0);
    // Each closed time and each allowed one is met once.
    while now.as_second() <= limit {
        let over = shut
            .iter()
            .enumerate()
            .filter(|(_, (from, until, _))| *from <= now && now < *until)
            .max_by_key(|(_, (_, until, _))| *until);
        if let Some((index, (_, until, _))) = over {
            (now, last) = (*until, index);
            continue;
        }
        match next_allowed(&windows.allow, now) {
            Some(allowed) if allowed == now => return (Some(now), last),
            Some(allowed) => now = allowed,
            None => return (None, last),
        }
    }
    (None, last)
}

/// `now` where a window is open, else when the next one opens.
fn next_allowed(allow: &[Allow], now: Timestamp) -> Option<Timestamp> {
    if allow.is_empty() {
        return Some(now);
    }
    let step: Span = 1.day();
    let mut best: Option<Timestamp> = None;
    for window in allow {
        // A window of yesterday may still be open; one of today a week ahead is the last that can be the next. A day
        // without its begin (clocks were set forward over it) opens when they are.
        let mut day = now.to_zoned(window.zone.clone()).date().yesterday().ok()?;
        for _ in 0..10 {
            let opens = window.days.contains(&Day(day.weekday()));
            let next = day.checked_add(step).ok()?;
            let ends_on = if window.until > window.from {
                day
            } else {
                next
            };
            let at = |day: Date, time: Time| window.zone.to_timestamp(day.to_datetime(time)).ok();
            if let (true, Some(from), Some(until)) =
                (opens, at(day, window.from), at(ends_on, window.until))
                && now < until
                && from < until
            {
                let opening = from.max(now);
                best = Some(best.map_or(opening, |best| best.min(opening)));
                break;
            }
            day = next;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3600;

    fn zone() -> impl Strategy<Value = TimeZone> {
        // Of whole hours, so that a walk by hours meets every opening.
        let names = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"];
        prop::sample::select(names.to_vec())
            .prop_map(|name| TimeZoneDatabase::bundled().get(name).expect("it is known"))
    }

    fn allow() -> impl Strategy<Value = Allow> {
        (
            prop::sample::subsequence(WEEK.to_vec(), 1..=2),
            0..24_i8,
            0..24_i8,
            zone(),
        )
            .prop_filter("never open", |(_, from, until, _)| from != until)
            .prop_map(|(days, from, until, zone)| Allow {
                days: days.into_iter().map(Day).collect(),
                from: Time::constant(from, 0, 0, 0),
                until: Time::constant(until, 0, 0, 0),
                zone,
            })
    }

    fn deny() -> impl Strategy<Value = Deny> {
        (
            0..600_i64,
            prop_oneof![1..40_i64, 150..420_i64],
            0..24_i64,
            zone(),
        )
            .prop_map(|(from, days, hour, zone)| {
                let from = Date::constant(2026, 1, 1).at(0, 0, 0, 0) + from.days();
                let until = from + days.days() + hour.hours();
                Deny {
                    name: String::new(),
                    from,
                    until,
                    zone,
                }
            })
    }

    fn is_open(windows: &Windows, now: Timestamp) -> bool {
        let allows = |window: &Allow| {
            let today = now.to_zoned(window.zone.clone()).date();
            let at = |day: Date, time| window.zone.to_timestamp(day.to_datetime(time)).unwrap();
            [today.yesterday().unwrap(), today].into_iter().any(|day| {
                let last = if window.until > window.from {
                    day
                } else {
                    day.tomorrow().unwrap()
                };
                window.days.contains(&Day(day.weekday()))
                    && at(day, window.from) <= now
                    && now < at(last, window.until)
            })
        };
        let denies = |window: &Deny| {
            let at = |moment| window.zone.to_timestamp(moment).unwrap();
            at(window.from) <= now && now < at(window.until)
        };
        (windows.allow.is_empty() || windows.allow.iter().any(allows))
            && !windows.deny.iter().any(denies)
    }

    /// Hour by hour.
    fn shut_by_walking(windows: &Windows) -> bool {
        let opens_in_time = |deny: &Deny| {
            let start = deny.zone.to_timestamp(deny.from).unwrap();
            (0..=LONGEST_SHUT_DAYS * 24).any(|hours| {
                is_open(
                    windows,
                    start + jiff::SignedDuration::from_secs(hours * HOUR),
                )
            })
        };
        !windows.deny.iter().all(opens_in_time)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn windows_are_called_shut_exactly_where_a_walk_by_hours_finds_no_opening(
            allow in prop::collection::vec(allow(), 0..3),
            deny in prop::collection::vec(deny(), 0..5),
        ) {
            let windows = Windows { allow, deny };
            prop_assert_eq!(shut_too_long(&windows).is_some(), shut_by_walking(&windows));
        }
    }
}
