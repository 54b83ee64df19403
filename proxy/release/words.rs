//! Numbers as reasons write them: `1 312`, `7.4 %`, `30 s`, `3m 17s`.

use std::time::Duration;

use tidegate_config::Share;

/// A count with a space between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A share with a space before its unit.
pub fn percent(share: Share) -> String {
    share.to_string().replace('%', " %")
}

/// So many of so many, in percent: one digit after the point, more where that would hide what is there.
pub fn part(of: u64, all: u64) -> String {
    let percent = 100.0 * of as f64 / all.max(1) as f64;
    let digits = match percent {
        p if p >= 1.0 || of == 0 => 1,
        p if p >= 0.01 => 2,
        _ => 4,
    };
    let text = format!("{percent:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// A short time with a space before its unit.
pub fn time(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 10_000 && !millis.is_multiple_of(1000) {
        format!("{} ms", count(millis as u64))
    } else {
        format!("{} s", count(time.as_secs()))
    }
}

/// A long time, in its two largest units. What is left of a second is a second: nobody waits for `0s`.
pub fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return match span.as_millis() {
            0 => "0s".to_owned(),
            millis => format!("{millis}ms"),
        };
    }
    let secs = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(length, _)| secs >= *length);
    let largest = &units[first.unwrap_or(units.len() - 1)..];
    let (length, unit) = largest[0];
    let mut text = format!("{}{unit}", secs / length);
    if let Some((smaller, unit)) = largest.get(1) {
        let rest = secs % length / smaller;
        if rest > 0 {
            text.push_str(&format!(" {rest}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            [count(0), count(312), count(1312), count(12_345_678)],
            ["0", "312", "1 312", "12 345 678"]
        );
        assert_eq!(percent(Share::from_parts(500).unwrap()), "0.5 %");
        assert_eq!(percent(Share::FULL), "100 %");
        let parts = [
            part(97, 1312),
            part(1, 1),
            part(0, 0),
            part(1, 2000),
            part(1, 1_000_000),
            part(5, 100),
        ];
        assert_eq!(
            parts,
            ["7.4 %", "100 %", "0 %", "0.05 %", "0.0001 %", "5 %"]
        );
    }

    #[test]
    fn times_are_told_in_their_units() {
        let millis = Duration::from_millis;
        assert_eq!(
            [time(millis(800)), time(millis(1240)), time(millis(30_000))],
            ["800 ms", "1 240 ms", "30 s"]
        );
        let spans = [
            0, 250, 900, 1000, 3000, 59_001, 197_000, 180_000, 7_260_000, 90_000_000,
        ]
        .map(|n| span(millis(n)));
        assert_eq!(
            spans,
            [
                "0s", "250ms", "900ms", "1s", "3s", "1m", "3m 17s", "3m", "2h 1m", "1d 1h"
            ]
        );
    }
}
