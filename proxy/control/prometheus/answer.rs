//! Prometheus' HTTP API, as far as one number needs it: how a query is asked, and what in the answer is a number.
//!
//! Everything that is not exactly one number is a sentence about why there is none, for whoever must mend the query.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tidegate_config::plan::PrometheusQuery;

/// Characters of what a store says about a query that are repeated.
const SAID_CHARS: usize = 200;

/// Where this query is asked, with the time that its answer is waited for.
pub(super) fn url(query: &PrometheusQuery, patience: Duration) -> String {
    format!(
        "{}/api/v1/query?timeout={}ms&query={}",
        query.url.trim_end_matches('/'),
        patience.as_millis(),
        encoded(&query.query)
    )
}

/// Percent-encoded but for what RFC 3986 calls unreserved: no byte of a query may end it or mean a space.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The one number of an answer. An infinite one counts: a quantile above the last bucket is `+Inf`, and bad news.
pub(super) fn number(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match answer["status"].as_str() {
        // What stands beside a 503 is no value, whatever it says of itself.
        Some("success") if status.is_success() => in_result(&answer["data"]),
        Some("error") => Err(format!(
            "prometheus says {}: {}",
            shown(&answer["errorType"]),
            shown(&answer["error"])
        )),
        _ => Err(format!(
            "prometheus said {} and no answer to a query; is this the server's URL?",
            status.as_u16()
        )),
    }
}

fn in_result(data: &Value) -> Result<f64, String> {
    let result = &data["result"];
    let sample = match (data["resultType"].as_str(), result.as_array()) {
        (Some("scalar"), _) => result,
        (Some("vector"), Some(series)) => match series.as_slice() {
            [] => return Err("the query gives nothing".to_owned()),
            [one] if one["histogram"].is_object() => {
                return Err(
                    "the query gives a histogram, not a number; ask for a quantile or a sum of it"
                        .to_owned(),
                );
            }
            [one] => &one["value"],
            several => {
                return Err(format!(
                    "the query gives {} series, not one; put a sum(…) or avg(…) around it",
                    several.len()
                ));
            }
        },
        (kind, _) => {
            return Err(format!(
                "the query gives a {}, not one number",
                kind.unwrap_or("result without a type")
            ));
        }
    };
    let text = sample[1].as_str();
    match text.and_then(|text| text.parse::<f64>().ok()) {
        Some(number) if number.is_nan() => {
            Err("the query gives NaN, as 0/0 does: nothing was counted".to_owned())
        }
        Some(number) => Ok(number),
        None => Err("the query's answer holds no number".to_owned()),
    }
}

/// What a stranger says, short and on one line.
fn shown(text: &Value) -> String {
    let text = text.as_str().unwrap_or("nothing");
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(SAID_CHARS).map(plain).collect();
    if text.chars().nth(SAID_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use tidegate_config::plan::Bad;

    use super::*;

    #[test]
    fn a_query_is_asked_as_it_was_written() {
        let query = |url: &str| PrometheusQuery {
            url: url.to_owned(),
            authorities: None,
            query: "sum(rate(a{b=\"ä&c+d\"}[1m])) / 2 > 0.5 #%".to_owned(),
            every: Duration::from_secs(15),
            bad: Bad::Above(1.0),
            lasting: Duration::ZERO,
        };
        for base in ["http://store:9090/prom", "http://store:9090/prom/"] {
            assert_eq!(
                url(&query(base), Duration::from_secs(10)),
                "http://store:9090/prom/api/v1/query?timeout=10000ms&query=sum%28rate%28a%7Bb%3D%22%C3%A4%26c%2Bd%22%7D\
                 %5B1m%5D%29%29%20%2F%202%20%3E%200.5%20%23%25"
            );
        }
    }

    fn read(body: &str) -> Result<f64, String> {
        number(StatusCode::OK, body.as_bytes())
    }

    fn vector(result: &str) -> Result<f64, String> {
        read(&format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#
        ))
    }

    #[test]
    fn a_scalar_and_a_vector_of_one_are_a_number() {
        let scalar =
            r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.1,"-2.5"]}}"#;
        assert_eq!(read(scalar), Ok(-2.5));
        let one = |value: &str| vector(&format!(r#"[{{"metric":{{}},"value":[1,"{value}"]}}]"#));
        assert_eq!(one("0.98"), Ok(0.98));
        assert_eq!(one("1e3"), Ok(1000.0));
        assert_eq!(one("+Inf"), Ok(f64::INFINITY), "above the last bucket");
        assert_eq!(one("-Inf"), Ok(f64::NEG_INFINITY));
    }

    #[test]
    fn whatever_is_not_one_number_is_a_sentence() {
        let one = r#"{"metric":{},"value":[1,"1"]}"#;
        for (answer, wanted) in [
            (vector("[]"), "the query gives nothing"),
            (
                vector(&format!("[{one},{one},{one}]")),
                "the query gives 3 series, not one; put a sum(…) or avg(…) around it",
            ),
            (
                vector(r#"[{"value":[1,"NaN"]}]"#),
                "the query gives NaN, as 0/0 does: nothing was counted",
            ),
            (
                vector(r#"[{"histogram":{}}]"#),
                "the query gives a histogram, not a number; ask for a quantile or a sum of it",
            ),
            (
                vector(r#"[{"value":[1,2]}]"#),
                "the query's answer holds no number",
            ),
            (
                read(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
                "the query gives a matrix, not one number",
            ),
            (
                read(r#"{"status":"success"}"#),
                "the query gives a result without a type, not one number",
            ),
        ] {
            assert_eq!(answer, Err(wanted.to_owned()));
        }
    }

    #[test]
    fn what_the_store_says_about_a_query_is_repeated_in_short_and_plainly() {
        let long = "x".repeat(SAID_CHARS + 1);
        let body = format!(
            r#"{{"status":"error","errorType":"bad_data","error":"1:5: parse\n\u001berror {long}"}}"#
        );
        let said = number(StatusCode::BAD_REQUEST, body.as_bytes()).unwrap_err();
        assert!(
            said.starts_with("prometheus says bad_data: 1:5: parse  error xxx"),
            "{said}"
        );
        assert!(said.ends_with("x…") && said.len() < 300, "{said}");
        let said = number(StatusCode::NOT_FOUND, b"<html>").unwrap_err();
        assert_eq!(
            said,
            "prometheus said 404 and no answer to a query; is this the server's URL?"
        );
    }

    #[test]
    fn what_stands_beside_a_failure_is_no_value() {
        let body =
            br#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"0.5"]}}"#;
        assert_eq!(number(StatusCode::OK, body), Ok(0.5));
        assert!(number(StatusCode::SERVICE_UNAVAILABLE, body).is_err());
    }
}
