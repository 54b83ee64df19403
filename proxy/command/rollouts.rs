//! Rollouts on a screen: a line each, and below it what they wait for, what was seen, and what is out of the ordinary.

use serde_json::Value;

use super::table::{Cell, Column, Table};
use super::words::{
    NOTHING, count, grouped, list, moment, percent, phase_colour, plain, sentence, word,
};
use crate::release::words::part;

/// All of them; empty where there are none.
pub fn screen(rollouts: &[Value], room: Option<usize>, colour: bool) -> String {
    let mut table = Table::new([
        Column::name("rollout"),
        Column::name("candidate"),
        Column::name("phase"),
        Column::number("stage"),
        Column::number("weight"),
        Column::number("attempt"),
        Column::name("since"),
    ]);
    for rollout in rollouts {
        table.row([
            word(&rollout["name"]).into(),
            word(&rollout["candidate"]).into(),
            phase(&rollout["phase"]),
            stage(rollout).into(),
            weight(rollout).into(),
            word(&rollout["attempt"]).into(),
            moment(&rollout["since"]).into(),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    let rendered = table.render(room, colour);
    let mut lines = rendered.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, rollout) in lines.zip(rollouts) {
        text.push_str(line);
        text.push('\n');
        for told in notes(rollout) {
            text.push_str("  ");
            text.push_str(&told);
            text.push('\n');
        }
    }
    text
}

/// What is true of a rollout now, in one sentence.
pub fn sentence_of(rollout: &Value) -> String {
    let name = word(&rollout["name"]);
    let stands = match rollout["phase"].as_str() {
        Some("waiting") => "waits".to_owned(),
        Some("holding") => "holds".to_owned(),
        Some("baking") => "bakes".to_owned(),
        Some("succeeded") => "has succeeded".to_owned(),
        Some("rolled_back") => "is rolled back".to_owned(),
        Some(other) => format!("is {}", plain(other)),
        None => "stands".to_owned(),
    };
    let mut text = format!("{name} {stands} at {}", weight(rollout));
    let mut where_it_is = Vec::new();
    let (stage, stages) = (rollout["stage"].as_u64(), rollout["stages"].as_u64());
    if let (Some(stage @ 1..), Some(stages)) = (stage, stages) {
        where_it_is.push(format!("stage {stage} of {stages}"));
    }
    if let Some(attempt @ 2..) = rollout["attempt"].as_u64() {
        where_it_is.push(format!("attempt {attempt}"));
    }
    if !where_it_is.is_empty() {
        text.push_str(&format!(" ({})", where_it_is.join(", ")));
    }
    if let Some(reason) = sentence(&rollout["reason"]) {
        text.push_str(&format!(": {reason}"));
    }
    if let Some(growth) = growth(rollout) {
        text.push_str(&format!("; {growth}"));
    }
    text
}

/// A phase as a cell, in the colour that it has.
pub fn phase(phase: &Value) -> Cell {
    let cell = Cell::new(word(phase));
    match phase.as_str().and_then(phase_colour) {
        Some(colour) => cell.painted(colour),
        None => cell,
    }
}

fn stage(rollout: &Value) -> String {
    match (rollout["stage"].as_u64(), rollout["stages"].as_u64()) {
        (Some(stage), Some(stages)) => format!("{stage}/{stages}"),
        (Some(stage), None) => stage.to_string(),
        (None, _) => NOTHING.to_owned(),
    }
}

/// The candidate's weight; in a mirror stage what is copied to it.
fn weight(rollout: &Value) -> String {
    let mirrors = rollout["mirror"]
        .as_f64()
        .is_some_and(|mirror| mirror > 0.0);
    if mirrors {
        return format!("mirror {}", percent(&rollout["mirror"]));
    }
    percent(&rollout["weight"])
}

fn growth(rollout: &Value) -> Option<String> {
    let pending = &rollout["pending"];
    let is_mirror = pending["mirror"]
        .as_f64()
        .is_some_and(|mirror| mirror > 0.0);
    (pending["weight"].is_number() || is_mirror)
        .then(|| format!("{} as soon as that is written down", weight(pending)))
}

/// The lines below a rollout.
fn notes(rollout: &Value) -> Vec<String> {
    let guards = &rollout["guards"];
    let said = [
        sentence(&rollout["reason"]),
        growth(rollout),
        requests(&rollout["requests"]),
        thresholds(guards),
        comparison(guards),
    ];
    let mut notes: Vec<String> = said.into_iter().flatten().collect();
    notes.extend(list(&guards["metrics"]).iter().map(metric));
    let back: Vec<String> = list(&rollout["cohorts"])
        .iter()
        .filter(|cohort| cohort["back"] == true)
        .map(|cohort| word(&cohort["name"]))
        .collect();
    if !back.is_empty() {
        notes.push(format!("back on stable: cohort {}", back.join(", ")));
    }
    let forced: Vec<String> = list(&rollout["forced"]).iter().map(word).collect();
    if !forced.is_empty() {
        notes.push(format!(
            "sent there by a rule of their own, also after a rollback: {}",
            forced.join(", ")
        ));
    }
    notes
}

fn requests(requests: &Value) -> Option<String> {
    let side = |name: &str| {
        let side = &requests[name];
        side.is_object().then(|| {
            format!(
                "{name} {} requests, {} failures",
                count(&side["requests"]),
                count(&side["failures"])
            )
        })
    };
    let is_mirrored = requests["mirrored"]["requests"].as_u64() > Some(0);
    let names = ["candidate", "stable"]
        .into_iter()
        .chain(is_mirrored.then_some("mirrored"));
    let sides: Vec<String> = names.filter_map(side).collect();
    (!sides.is_empty()).then(|| sides.join("; "))
}

/// What the thresholds see, beside what they allow.
fn thresholds(guards: &Value) -> Option<String> {
    let mut seen = Vec::new();
    let errors = &guards["error_rate"];
    if errors.is_object() {
        let seen_now = match errors["requests"].as_u64() {
            Some(0) => "of no requests".to_owned(),
            _ => format!(
                "{} of {} requests",
                seen_share(errors),
                count(&errors["requests"])
            ),
        };
        seen.push(format!(
            "errors {seen_now} in {} (allowed {})",
            word(&errors["window"]),
            percent(&errors["above"]),
        ));
    }
    let latency = &guards["latency"];
    if latency.is_object() {
        seen.push(format!(
            "{} of {} requests in {} above {} (allowed {})",
            count(&latency["slower"]),
            count(&latency["requests"]),
            word(&latency["window"]),
            word(&latency["above"]),
            allowed_above(&latency["quantile"]),
        ));
    }
    let run = &guards["consecutive_failures"];
    if run.is_object() {
        seen.push(format!(
            "{} failures in a row (allowed {})",
            count(&run["seen"]),
            count(&run["above"])
        ));
    }
    (!seen.is_empty()).then(|| format!("guards: {}", seen.join("; ")))
}

/// The share that fails, as reasons write it.
fn seen_share(errors: &Value) -> String {
    match (errors["failures"].as_u64(), errors["requests"].as_u64()) {
        (Some(failures), Some(requests @ 1..)) => part(failures, requests),
        _ => percent(&errors["seen"]),
    }
}

/// What may be slower where a quantile must not be: 1 % for p99.
fn allowed_above(quantile: &Value) -> String {
    let quantile = quantile.as_f64();
    quantile.map_or(NOTHING.to_owned(), |quantile| {
        percent(&(100.0 - quantile).into())
    })
}

/// How much of the evidence for a rollback there is.
fn comparison(guards: &Value) -> Option<String> {
    if let Some(why) = sentence(&guards["compare_off"]) {
        return Some(format!("no comparison with stable: {why}"));
    }
    let compare = &guards["compare"];
    let of = |name: &str| Some(format!("{name} {}", progress(&compare[name])?));
    let mut parts: Vec<String> = ["errors", "slow", "connect"]
        .into_iter()
        .filter_map(of)
        .collect();
    let absolute = &compare["absolute"];
    if let (Some(evidence), Some(threshold)) = (
        absolute["evidence"].as_f64(),
        absolute["threshold"].as_f64(),
    ) {
        let allowed = percent(&absolute["allowed"]);
        let (evidence, threshold) = (grouped(evidence.max(0.0) as u64), grouped(threshold as u64));
        parts.push(format!(
            "failing users {evidence} of {threshold} (allowed {allowed} of the users)"
        ));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "evidence against the candidate, of what rolls back: {}",
            parts.join(", ")
        )
    })
}

/// How far a comparison is on the way to a rollback; `None` where there is none.
fn progress(comparison: &Value) -> Option<String> {
    if !comparison.is_object() {
        return None;
    }
    let part = comparison["progress"].as_f64();
    let part = part.map_or(NOTHING.to_owned(), |part| {
        format!("{} %", grouped((part.max(0.0) * 100.0) as u64))
    });
    Some(match comparison["finding"].as_str() {
        Some(finding @ ("suspect" | "worse")) => format!("{part} ({finding})"),
        _ => part,
    })
}

fn metric(metric: &Value) -> String {
    let name = word(&metric["name"]);
    if let Some(progress) = progress(&metric["compare"]) {
        return format!("metric {name}: {progress} of the evidence that rolls back");
    }
    let state = match metric["state"].as_str() {
        Some("no_data") => "no data".to_owned(),
        Some("not_asked") => "not asked yet".to_owned(),
        _ => word(&metric["state"]),
    };
    let mut text = format!("metric {name}: {state}");
    if metric["value"].is_number() {
        text.push_str(&format!(", {}", word(&metric["value"])));
    }
    if let Some(why) = sentence(&metric["why"]) {
        text.push_str(&format!(" ({why})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holding() -> Value {
        json!({
            "name": "shop-v2", "service": "shop", "stable": "v1", "candidate": "v2", "phase": "holding",
            "stage": 2, "stages": 5, "weight": 5, "mirror": 0, "attempt": 1,
            "reason": "holds at 5 % for 3m more of 20m; 312 of 500 requests", "since": "2026-01-02T03:04:05.678Z",
            "cause": null, "pending": null,
            "requests": { "candidate": { "requests": 312, "failures": 2 }, "stable": { "requests": 5928, "failures": 31 } },
            "cohorts": [{ "name": "eu", "back": true }, { "name": "us", "back": false }],
            "guards": {
                "error_rate": { "above": 5, "window": "30s", "min_requests": 50, "seen": 0.641025, "requests": 312, "failures": 2 },
                "latency": { "quantile": 99, "above": "800ms", "window": "30s", "min_requests": 100, "requests": 312, "slower": 1 },
                "consecutive_failures": { "above": 20, "seen": 3 },
                "compare": {
                    "errors": { "evidence": 12.3, "threshold": 4000, "progress": 0.31, "finding": "suspect" },
                    "slow": { "progress": 0.0, "finding": "nothing" }, "connect": null, "absolute": null,
                },
                "compare_off": null,
                "metrics": [{ "name": "pay_success", "kind": "prometheus", "state": "no_data", "value": null, "why": "connection refused" },
                            { "name": "orders", "kind": "pushed", "compare": { "progress": 0.5, "finding": "nothing" } }],
            },
            "forced": ["testers → v2"],
        })
    }

    #[test]
    fn the_table_tells_where_each_rollout_is_and_below_it_why() {
        let shown = screen(
            &[
                holding(),
                json!({ "name": "app.everyone", "phase": "rolled_back", "weight": 0 }),
            ],
            None,
            false,
        );
        assert_eq!(
            shown,
            "rollout       candidate  phase        stage  weight  attempt  since\n\
             shop-v2       v2         holding        2/5     5 %        1  2026-01-02T03:04:05Z\n  \
               holds at 5 % for 3m more of 20m; 312 of 500 requests\n  \
               candidate 312 requests, 2 failures; stable 5 928 requests, 31 failures\n  \
               guards: errors 0.64 % of 312 requests in 30s (allowed 5 %); 1 of 312 requests in 30s above 800ms (allowed 1 %); 3 failures in a row (allowed 20)\n  \
               evidence against the candidate, of what rolls back: errors 31 % (suspect), slow 0 %\n  \
               metric pay_success: no data (connection refused)\n  \
               metric orders: 50 % of the evidence that rolls back\n  \
               back on stable: cohort eu\n  \
               sent there by a rule of their own, also after a rollback: testers → v2\n\
             app.everyone  -          rolled_back      -     0 %        -  -\n"
        );
    }

    #[test]
    fn without_rollouts_there_is_no_table() {
        assert_eq!(screen(&[], None, false), "");
    }

    #[test]
    fn before_the_first_request_no_share_of_errors_is_told() {
        let mut rollout = holding();
        rollout["guards"]["error_rate"]["requests"] = json!(0);
        rollout["guards"]["error_rate"]["seen"] = json!(null);
        let shown = screen(&[rollout], None, false);
        assert!(
            shown.contains("guards: errors of no requests in 30s (allowed 5 %);"),
            "{shown}"
        );
    }

    #[test]
    fn a_mirror_stage_shows_what_is_copied_and_a_growth_what_it_waits_for() {
        let mut rollout = holding();
        rollout["weight"] = json!(0);
        rollout["mirror"] = json!(10);
        rollout["pending"] = json!({ "weight": 1, "mirror": 0 });
        let shown = screen(&[rollout], None, false);
        assert!(shown.contains("  2/5  mirror 10 %  "), "{shown}");
        assert!(
            shown.contains("\n  1 % as soon as that is written down\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_comparison_that_cannot_speak_says_why() {
        let mut rollout = holding();
        rollout["guards"]["compare_off"] = json!("another split has the same salt");
        let shown = screen(&[rollout], None, false);
        assert!(
            shown.contains("no comparison with stable: another split has the same salt"),
            "{shown}"
        );
    }

    #[test]
    fn one_sentence_tells_what_is_now_true() {
        assert_eq!(
            sentence_of(&holding()),
            "shop-v2 holds at 5 % (stage 2 of 5): holds at 5 % for 3m more of 20m; 312 of 500 requests"
        );
        let back = json!({ "name": "shop-v2", "phase": "rolled_back", "weight": 0, "stage": 0, "stages": 5, "attempt": 2, "reason": "by mia: too slow" });
        assert_eq!(
            sentence_of(&back),
            "shop-v2 is rolled back at 0 % (attempt 2): by mia: too slow"
        );
        let grows = json!({ "name": "shop-v2", "phase": "ramping", "weight": 5, "pending": { "weight": 25 } });
        assert_eq!(
            sentence_of(&grows),
            "shop-v2 is ramping at 5 %; 25 % as soon as that is written down"
        );
        assert_eq!(sentence_of(&json!({})), "- stands at -");
    }

    #[test]
    fn who_must_look_sees_a_colour() {
        let back = json!({ "name": "a", "phase": "rolled_back" });
        assert!(
            screen(std::slice::from_ref(&back), None, true)
                .contains("\x1b[1;31mrolled_back\x1b[0m")
        );
        assert!(!screen(&[back], None, false).contains('\x1b'));
    }
}
