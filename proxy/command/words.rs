//! What a running Tidegate answers, as words: `-` where it said nothing, for a client may be older or newer than the
//! proxy that it asks. Texts are made harmless to a terminal, since names and reasons come from strangers too.

use serde_json::Value;

pub use crate::release::words::count as grouped;

/// What stands where nothing is known.
pub const NOTHING: &str = "-";

/// A text on one line, without what would move the cursor or change colours.
pub fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// A text, or a number as it is.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => NOTHING.to_owned(),
    }
}

/// A text that says something; `None` for an empty one.
pub fn sentence(value: &Value) -> Option<String> {
    let text = value.as_str().map(str::trim);
    text.filter(|text| !text.is_empty()).map(plain)
}

/// A count, with a space between thousands.
pub fn count(value: &Value) -> String {
    value.as_u64().map_or(NOTHING.to_owned(), grouped)
}

/// `1 request`, `2 requests`.
pub fn many(number: u64, one: &str, more: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { more }
    )
}

/// A number of percent: `5 %`, `0.5 %`.
pub fn percent(value: &Value) -> String {
    let number = value.as_f64().filter(|number| number.is_finite());
    number.map_or(NOTHING.to_owned(), |number| {
        // Shares are written to the thousandth of a percent; more digits are the float's, not the share's.
        let text = format!("{number:.3}");
        format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
    })
}

/// A moment to the second; the API tells milliseconds.
pub fn moment(value: &Value) -> String {
    let text = word(value);
    match text.split_once('.') {
        Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
        _ => text,
    }
}

/// An array's items; none where it is no array.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The colour of a phase, where somebody has to look or to be glad.
pub fn phase_colour(phase: &str) -> Option<&'static str> {
    match phase {
        "rolled_back" => Some("1;31"),
        "paused" => Some("1;33"),
        "waiting" => Some("33"),
        "succeeded" => Some("32"),
        _ => None,
    }
}

/// From a weight to a weight, in one word where it stayed.
pub fn movement(from: &Value, to: &Value) -> String {
    let (from, to) = (percent(from), percent(to));
    if from == to {
        to
    } else {
        format!("{from} → {to}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_proxy_did_not_say_is_a_dash_and_no_guess() {
        let nothing = json!({});
        let nothing = &nothing["gone"];
        let shown = [word, count, percent, moment].map(|show| show(nothing));
        assert!(shown.iter().all(|text| text == "-"), "{shown:?}");
        assert_eq!(sentence(nothing), None);
        assert_eq!(sentence(&json!(" ")), None);
        assert!(list(nothing).is_empty());
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            [many(1, "user", "users"), many(1000, "user", "users")],
            ["1 user", "1 000 users"]
        );
        let weights = [
            json!(0),
            json!(5),
            json!(0.5),
            json!(12.25),
            json!(0.001),
            json!(100.0),
        ];
        let shown = weights.each_ref().map(percent);
        assert_eq!(
            shown,
            ["0 %", "5 %", "0.5 %", "12.25 %", "0.001 %", "100 %"]
        );
        assert_eq!(movement(&json!(5), &json!(25)), "5 % → 25 %");
        assert_eq!(movement(&json!(5), &json!(5.0)), "5 %");
    }

    #[test]
    fn moments_are_told_to_the_second() {
        assert_eq!(
            moment(&json!("2026-01-02T03:04:05.678Z")),
            "2026-01-02T03:04:05Z"
        );
        assert_eq!(
            moment(&json!("2026-01-02T03:04:05Z")),
            "2026-01-02T03:04:05Z"
        );
    }

    #[test]
    fn a_strangers_text_cannot_move_the_cursor() {
        assert_eq!(word(&json!("back\nto \u{1b}[31mred")), "back to  [31mred");
    }
}
