//! Quantities as the file writes them, parsed once into integers: a share is never a float past this
//! file, so it compares exactly and hashes.

use std::fmt;
use std::time::Duration;

/// The number of slots that users are spread over, and of parts in a whole: one part is 0.001 %.
pub const PARTS: u32 = 100_000;

/// A share in hundred-thousandths, from 0 to 100 % in steps of 0.001 %. Written `5%`, `0.001%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const FULL: Self = Self(PARTS);

    /// Half of it.
    pub const HALF: Self = Self(PARTS / 2);
    /// A fifth of it.
    pub const FIFTH: Self = Self(PARTS / 5);

    /// A share of so many hundred-thousandths; `None` above 100 %.
    pub const fn from_parts(parts: u32) -> Option<Self> {
        if parts <= PARTS {
            Some(Self(parts))
        } else {
            None
        }
    }

    /// Hundred-thousandths, 0 to 100 000.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// Percent, for display and JSON only.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / 1000)?;
        match self.0 % 1000 {
            0 => {}
            rest => write!(f, ".{}", format!("{rest:03}").trim_end_matches('0'))?,
        }
        f.write_str("%")
    }
}

impl std::str::FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(UnitError::new("a share with its unit", "5% or 0.001%"));
        };
        let number = number.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
            return Err(UnitError::new("a share in percent", "5% or 0.001%"));
        }
        if fraction.trim_end_matches('0').len() > 3 {
            return Err(UnitError::new("a share in steps of 0.001 %", "0.001%"));
        }
        let fraction: u32 = format!("{fraction:0<3}")[..3].parse().unwrap_or(0);
        whole
            .parse::<u32>()
            .ok()
            .filter(|w| *w <= 100)
            .map(|w| w * 1000 + fraction)
            .and_then(Self::from_parts)
            .ok_or_else(|| UnitError::new("a share from 0% to 100%", "100%"))
    }
}

/// Parses a duration such as `500ms`, `10s`, `5m`, `1h`, `1d`; one number and one unit.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::new("a duration with its unit (ms, s, m, h or d)", "10s");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(millis).ok_or_else(wrong)?;
    // A century is longer than any timeout that was meant, and far from where clock arithmetic overflows.
    if total > 100 * 365 * 86_400_000 {
        return Err(UnitError::new("a duration under 100 years", "24h"));
    }
    Ok(Duration::from_millis(total))
}

/// Parses a size in bytes such as `512B`, `64KiB`, `10MiB`, `1GiB`, `64kB`, `10MB`.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let wrong = || {
        UnitError::new(
            "a size with its unit (B, KiB, MiB, GiB, kB, MB or GB)",
            "64KiB",
        )
    };
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A size as [`size`] reads it, in the largest unit that is exact.
pub fn show_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// A duration as [`duration`] reads it, in the largest unit that is exact.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, factor) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ] {
        if millis != 0 && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    if millis == 0 {
        "0s".to_owned()
    } else {
        format!("{millis}ms")
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..at].parse().ok()?;
    Some((number, text[at..].trim_start()))
}

/// What a quantity should have looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// What was expected, as a noun phrase: `a duration with its unit`.
    pub expected: &'static str,
    /// A value that would do.
    pub example: &'static str,
}

impl UnitError {
    const fn new(expected: &'static str, example: &'static str) -> Self {
        Self { expected, example }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, like `{}`", self.expected, self.example)
    }
}

impl std::error::Error for UnitError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_share_reads_back_as_itself(parts in 0..=PARTS) {
            let share = Share::from_parts(parts).unwrap();
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }

        #[test]
        fn every_duration_reads_back_as_itself(millis in 0_u64..100 * 365 * 86_400_000) {
            let written = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(written)), Ok(written));
        }

        #[test]
        fn every_size_reads_back_as_itself(bytes: u64) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_the_units_panic(text in "\\PC*", digits in "[0-9.%smhdKMGiB -]{0,30}") {
            for text in [text, digits] {
                let _ = (text.parse::<Share>(), duration(&text), size(&text));
            }
        }
    }

    #[test]
    fn what_has_no_unit_is_refused() {
        for text in [
            "5", "", "%", ".5%", "5.%", "0.0001%", "101%", "100.001%", "-1%", "1e1%", "+5%",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in [
            "5",
            "",
            "s",
            "5 parsecs",
            "-1s",
            "1.5s",
            "1h30m",
            "99999999999999999999s",
            "40000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["5", "", "KiB", "5k", "-1B", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_white_space_before_the_unit_is_fine() {
        assert_eq!("5 %".parse(), Ok(Share::from_parts(5000).unwrap()));
        assert_eq!(duration("10 s"), Ok(Duration::from_secs(10)));
        assert_eq!(size("64 KiB"), Ok(65536));
    }
}
