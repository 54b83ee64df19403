//! The API described for tools: OpenAPI 3.1, made from the same table that guards it.

use serde_json::{Map, Value, json};

use super::api::{PATHS, Path};
use super::auth::Need;

/// Everything about one rollout begins so.
const ONE_ROLLOUT: &str = "/api/v1/rollouts/{name}";

/// The whole description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for path in PATHS {
        let entry = paths.entry(path.path).or_insert_with(|| json!({}));
        entry[path.method.to_lowercase()] = operation(path);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Without tokens it answers only this machine, by a loopback host name. With tokens, send \
                            one as a bearer; /healthz and /readyz stay open.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn operation(path: &Path) -> Value {
    let (kind, schema) = match path.path {
        "/metrics" => ("text/plain", json!({ "type": "string" })),
        "/api/v1/status" => ("application/json", reference("Status")),
        "/api/v1/config" | "/api/v1/config/reload" => ("application/json", reference("File")),
        "/api/v1/explain" => ("application/json", reference("Explanation")),
        "/healthz" | "/readyz" => ("application/json", reference("Health")),
        "/api/v1/rollouts" => ("application/json", list(reference("Rollout"))),
        "/api/v1/history" => ("application/json", list(reference("Entry"))),
        "/api/v1/events" => ("text/event-stream", json!({ "type": "string" })),
        path if path.starts_with(ONE_ROLLOUT) => ("application/json", reference("Rollout")),
        _ => ("application/json", json!({ "type": "object" })),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": path.summary, "content": { kind: { "schema": schema } } }),
    );
    if path.path == "/api/v1/observations" {
        let taken = json!({ "description": "Taken, all of them" });
        responses = Map::from_iter([("204".to_owned(), taken)]);
    }
    responses.insert("default".to_owned(), trouble("It says no, and why"));
    for (status, why) in refusals(path) {
        responses.insert((*status).to_owned(), trouble(why));
    }
    match path.path {
        "/readyz" => responses.insert(
            "503".to_owned(),
            json!({ "description": "Starting or draining", "content": { kind: { "schema": reference("Health") } } }),
        ),
        "/api/v1/config/reload" => responses.insert(
            "422".to_owned(),
            trouble("The file was refused; the document has the members of File beside its own"),
        ),
        _ => None,
    };
    let mut operation = json!({ "summary": path.summary, "responses": responses });
    if let Need::Role(role) = path.needs {
        operation["security"] = json!([{}, { "token": [] }]);
        operation["description"] = json!(
            format!("With tokens it needs the role {role:?} or a higher one.").to_lowercase()
        );
    }
    if let Some((required, schema)) = body(path) {
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": required, "content": content });
    }
    if let Some(parameter) = parameter(path) {
        operation["parameters"] = json!([parameter]);
    }
    operation
}

/// What a request brings, and whether it must.
fn body(path: &Path) -> Option<(bool, Value)> {
    match path.path {
        "/api/v1/explain" => Some((true, reference("Question"))),
        "/api/v1/observations" => {
            let one = reference("Observation");
            Some((true, json!({ "oneOf": [one.clone(), list(one)] })))
        }
        order if path.method == "POST" && order.starts_with(ONE_ROLLOUT) => {
            Some((false, reference("Wish")))
        }
        _ => None,
    }
}

fn parameter(path: &Path) -> Option<Value> {
    let named = |name, place, required, description| {
        json!({ "name": name, "in": place, "required": required, "description": description,
                "schema": { "type": "string" } })
    };
    match path.path {
        "/api/v1/history" => Some(named(
            "rollout",
            "query",
            false,
            "Of this rollout alone; it may have left the file",
        )),
        one if one.starts_with(ONE_ROLLOUT) => {
            Some(named("name", "path", true, "The rollout's name"))
        }
        _ => None,
    }
}

/// Answers that are no surprise.
fn refusals(path: &Path) -> &'static [(&'static str, &'static str)] {
    const UNKNOWN: (&str, &str) = ("404", "There is no such rollout");
    match path.path {
        "/api/v1/history" => &[UNKNOWN],
        "/api/v1/observations" => &[
            UNKNOWN,
            ("422", "An outcome makes no sense; none of them is taken"),
        ],
        "/api/v1/events" => &[("503", "Too many listen already")],
        one if one.starts_with(ONE_ROLLOUT) && path.method == "POST" => &[
            UNKNOWN,
            (
                "409",
                "The rollout's phase, its plan or its guards forbid it, and why",
            ),
        ],
        one if one.starts_with(ONE_ROLLOUT) => &[UNKNOWN],
        _ => &[],
    }
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn trouble(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": reference("Trouble") } },
    })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe_text = json!({ "type": ["string", "null"] });
    let number = json!({ "type": "integer", "minimum": 0 });
    let moment = json!({ "type": "string", "format": "date-time" });
    let truth = json!({ "type": "boolean" });
    let percent = json!({ "type": "number", "minimum": 0, "maximum": 100 });
    let maybe = |of: &Value| json!({ "oneOf": [of, { "type": "null" }] });
    let phase = json!({ "enum": ["pending", "waiting", "ramping", "holding", "paused", "baking", "succeeded",
                                 "rolled_back", "superseded"] });
    let endpoint = object(
        &["address", "healthy", "connections"],
        json!({ "address": text, "healthy": truth, "ejected": truth, "connections": number,
                "checked": truth, "handshake_failure": maybe_text }),
    );
    let version = object(
        &["name", "stable", "endpoints", "requests", "failures"],
        json!({ "name": text, "stable": truth, "endpoints": list(endpoint), "requests": number, "failures": number,
                "tags": { "type": "object", "additionalProperties": text } }),
    );
    json!({
        "Health": object(&["status"], json!({ "status": text, "reason": text, "revision": number })),
        "Problem": object(
            &["code", "severity", "file", "line", "column", "path", "message", "hint"],
            json!({ "code": text, "severity": { "enum": ["error", "warning"] }, "file": text, "line": number,
                    "column": number, "path": text, "message": text, "hint": text }),
        ),
        "File": object(
            &["ok", "revision", "loaded_at", "file", "problems"],
            json!({ "ok": truth, "revision": number, "loaded_at": moment, "file": text,
                    "problems": list(reference("Problem")) }),
        ),
        "Status": object(
            &["version", "revision", "started_at", "config", "rollouts", "services", "listeners", "certificates", "workers"],
            json!({ "version": text, "revision": number, "started_at": moment, "phase": text,
                    "config": reference("File"), "rollouts": list(reference("Rollout")),
                    "services": list(object(&["name", "versions"],
                        json!({ "name": text, "stable": text, "versions": list(version) }))),
                    "certificates": list(object(&["listener", "file", "names", "not_after"], json!({
                        "listener": text, "file": text, "names": list(text.clone()), "not_after": moment,
                    }))),
                    "listeners": list(object(&["name", "address"], json!({ "name": text, "address": text }))),
                    "workers": number }),
        ),
        "Rollout": object(
            &["name", "service", "stable", "candidate", "phase", "stage", "stages", "weight", "mirror", "attempt", "reason",
              "cause", "since", "started", "pending", "hold", "approved", "paused_from", "requests", "cohorts", "users", "guards", "warnings", "forced"],
            json!({ "name": text, "service": text, "stable": text, "candidate": text, "phase": phase, "stage": number,
                    "stages": number, "weight": percent, "mirror": percent, "attempt": number, "reason": text,
                    "cause": maybe_text, "since": moment, "started": maybe(&moment),
                    "pending": maybe(&object(&["weight", "mirror"], json!({ "weight": percent, "mirror": percent }))),
                    "hold": { "type": ["object", "null"] }, "approved": { "type": ["integer", "null"], "minimum": 1 },
                    "paused_from": maybe(&phase), "requests": { "type": "object" },
                    "cohorts": list(object(&["name", "back"], json!({ "name": text, "back": truth }))),
                    "users": object(&["since", "candidate", "stable"], json!({ "since": moment, "candidate": number, "stable": number })),
                    "guards": { "type": "object" }, "warnings": list(text.clone()), "forced": list(text.clone()) }),
        ),
        "Entry": object(
            &["seq", "at", "rollout", "actor", "from", "to", "phase", "reason", "revision"],
            json!({ "seq": number, "at": moment, "rollout": text, "actor": text, "from": percent, "to": percent,
                    "phase": phase, "reason": text, "revision": number, "stage": number, "attempt": number,
                    "mirror": percent, "cause": text, "approved": number, "cohorts_back": list(text.clone()), "proxy": text }),
        ),
        "Wish": object(&[], json!({ "reason": text, "by": text })),
        "Observation": object(
            &["rollout", "metric", "bad"],
            json!({ "rollout": text, "metric": text, "user": text, "version": text, "bad": truth }),
        ),
        "Question": object(
            &["url"],
            json!({ "method": text, "url": text, "client": text, "listener": text, "trusted": truth,
                    "headers": { "type": "object", "additionalProperties": text } }),
        ),
        "Explanation": object(
            &["route", "rule", "service", "version", "slot", "key_source", "why"],
            json!({ "route": maybe_text, "rule": maybe_text, "service": maybe_text, "version": maybe_text,
                    "slot": { "type": ["integer", "null"], "minimum": 0, "maximum": 99_999 },
                    "key_source": maybe_text, "why": {} }),
        ),
        "Trouble": object(
            &["type", "title", "status", "detail"],
            json!({ "type": text, "title": text, "status": number, "detail": text }),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let mut rest = text.as_str();
        let mut found = 0;
        while let Some(at) = rest.find("#/components/") {
            rest = &rest[at + 1..];
            let end = rest.find('"').unwrap();
            assert!(
                document.pointer(&rest[..end]).is_some(),
                "{} leads nowhere",
                &rest[..end]
            );
            found += 1;
        }
        assert!(found > 8, "{found} references");
    }
}
