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
        write!(f, "{}%", self.percent())
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
