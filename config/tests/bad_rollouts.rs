//! Bad rollouts and guards; see `bad` for how they are held.

/// The code, the file, and a piece of the message or the hint.
pub(super) const BAD: &[(&str, &str, &str)] = &[
    (
        "T103",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], «stage»: [] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `stages`?",
    ),
    (
        "T103",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { «error-rate»: {} } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `error_rate`?",
    ),
    (
        "T103",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: { «false_rolback»: 1% } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `false_rollback`?",
    ),
    (
        "T104",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: «1» } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "`false`, or keys with values",
    ),
    (
        "T104",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«503»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "put it in quotes: \"503\"",
    ),
    (
        "T104",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up }, below: «true» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a number, or a share",
    ),
    (
        "T105",
        "rollouts: [«{ name: r, service: app, candidate: v2 }»]\n",
        "`stages` is missing",
    ),
    (
        "T105",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: «{ window: 10s }» } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "more than this share fails",
    ),
    (
        "T106",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], fallback: «candidate» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "expected \"stable\"",
    ),
    (
        "T106",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], on_regression: «rolback» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `rollback`?",
    ),
    (
        "T106",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ days: [«monday»], from: \"09:00\", to: \"17:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"mon\"",
    ),
    (
        "T106",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: \"http://127.0.0.1:1/\", on_error: «go» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "expected \"hold\"",
    ),
    (
        "T106",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up }, below: 1, on_no_data: «rollback» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "expected \"hold\"",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: \"http://127.0.0.1:1/\", «ca»: ./ca.crt }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "`http` is asked in plain",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", «ca»: ./ca.crt, query: up }, below: 1 }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "`url` is asked in plain",
    ),
    (
        "T304",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: «\"ftp://127.0.0.1:1/\"» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no address that can be asked",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [«{ hold: 5m }»] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "exactly one of `weight` and `mirror`, this one has 0",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [«{ weight: 5%, mirror: 5%, hold: 1m }»] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "this one has 2",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: false, metrics: [{ name: m, pushed: «true» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "is compared with stable, and this guard says `compare: false`",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [«{ name: m }»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "exactly one of `pushed` and `prometheus`, this one has 0",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, pushed: «false» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "is no source",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, pushed: true, «below»: 5% }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "has no effect here",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [«{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up } }»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "exactly one of `above` and `below`, this one has 0",
    ),
    (
        "T108",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [«{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up }, above: 1, below: 2 }»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "this one has 2",
    ),
    (
        "T108",
        "routes: [{ service: app, rules: [{ to: v1, «rollout»: r }] }]\nrollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "\"to\" and \"rollout\" at one time",
    ),
    (
        "T105",
        "routes: [{ service: app, rules: [«{ split: { weights: { v1: 95%, v2: 5% }, guard: {} } }»] }]\n",
        "needs a `name`",
    ),
    (
        "T201",
        "routes: [{ service: app, rules: [{ rollout: «shop-v3» }] }, { service: app, name: b, match: { hosts: [b.c] }, rules: [{ rollout: shop-v2 }] }]\nrollouts: [{ name: shop-v2, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "there is no rollout \"shop-v3\"",
    ),
    (
        "T201",
        "routes: [{ service: app, rules: [{ rollout: «shopv2» }, { rollout: shop-v2 }] }]\nrollouts: [{ name: shop-v2, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "did you mean \"shop-v2\"?",
    ),
    (
        "T201",
        "rollouts: [{ name: r, service: «ap», candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "did you mean \"app\"?",
    ),
    (
        "T201",
        "rollouts: [{ name: r, service: app, candidate: «vv2», stages: [{ weight: 5%, hold: 1m }] }]\n",
        "rollout \"r\" tries version \"vv2\", but service \"app\" has \"v1\" and \"v2\"",
    ),
    (
        "T202",
        "rollouts:\n  - { name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }\n  - { name: «r», service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }\n",
        "a second rollout has the name \"r\", the first is at tidegate.yaml:2",
    ),
    (
        "T202",
        "routes: [{ service: app, rules: [{ name: «all», split: { weights: { v1: 95%, v2: 5% }, guard: {} } }] }]\nrollouts: [{ name: app.all, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "a second rollout has the name \"app.all\"",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], cohorts: [{ name: a, when: { method: [GET] } }, { name: «a», when: { method: [PUT] } }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a second cohort of this rollout",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: \"http://a/\" }, { name: «g», before_stage: 1, http: \"http://b/\" }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a second gate of this rollout",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, pushed: true }, { name: «m», pushed: true }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a second metric of this guard",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: x, from: \"2026-01-01T00:00\", to: \"2026-01-02T00:00\", zone: UTC }, { name: «x», from: \"2027-01-01T00:00\", to: \"2027-01-02T00:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a second window of this rollout",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ days: [mon, «mon»], from: \"09:00\", to: \"17:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "listed twice",
    ),
    (
        "T202",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [5xx, «5xx»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "listed twice",
    ),
    (
        "T204",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: «[]» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "has no stage",
    ),
    (
        "T204",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: «[]» } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "nothing counts as a failure",
    ),
    (
        "T204",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ days: «[]», from: \"09:00\", to: \"17:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "never opens",
    ),
    (
        "T206",
        "services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }]\nrollouts: [{ name: r, service: app, candidate: «v1», stages: [{ weight: 5%, hold: 1m }] }]\n",
        "there is nothing to try",
    ),
    (
        "T206",
        "routes: [{ service: app, rules: [{ name: all, split: { weights: «{ v1: 100% }», guard: {} } }] }]\n",
        "nothing to guard",
    ),
    (
        "T206",
        "services:\n  - { name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }, { name: v3, endpoints: [\"127.0.0.1:3\"] }] }\nroutes: [{ service: app, rules: [{ name: all, split: { weights: «{ v1: 90%, v2: 5%, v3: 5% }», guard: {} } }] }]\n",
        "these are 2: \"v2\" and \"v3\"",
    ),
    (
        "T206",
        "services:\n  - { name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }, { name: v3, endpoints: [\"127.0.0.1:3\"] }] }\nroutes: [{ service: app, rules: [{ name: all, split: { weights: «{ v1: 100%, v2: 0%, v3: 0% }», guard: {} } }] }]\n",
        "these are 2",
    ),
    (
        "T207",
        "services:\n  - { name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }] }\n  - { name: shop, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:3\"] }, { name: v2, endpoints: [\"127.0.0.1:4\"] }] }\nroutes: [{ service: app, rules: [{ rollout: «r» }] }]\nrollouts: [{ name: r, service: shop, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "route \"app\" is for service \"app\", and rollout \"r\" for service \"shop\"",
    ),
    (
        "T301",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: «by_endpoint», hold: 1m }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `by_endpoints`?",
    ),
    (
        "T301",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: «200%», hold: 1m }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 0% to 100%",
    ),
    (
        "T301",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], bake: «soon» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "expected a duration",
    ),
    (
        "T301",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up }, below: «\"98\"» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a share",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: «0%» }, { weight: 5% }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a stage of 0%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ mirror: «0%» }, { weight: 5% }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "a stage of 0%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, min_requests: «1000000001» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 0 to 1000000000",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], deadline: «0s» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no time",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 0s, max_hold: «0s», min_requests: 1 }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no time",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], salt: «\"\"» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "1 to 256 bytes",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: «2», http: \"http://a/\" }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "there is no stage 2",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: «0», http: \"http://a/\" }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "count from 1",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: \"http://a/\", timeout: «0s» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no time",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], cohorts: «[{ name: c0, when: { method: [GET] } }, { name: c1, when: { method: [GET] } }, { name: c2, when: { method: [GET] } }, { name: c3, when: { method: [GET] } }, { name: c4, when: { method: [GET] } }, { name: c5, when: { method: [GET] } }, { name: c6, when: { method: [GET] } }, { name: c7, when: { method: [GET] } }, { name: c8, when: { method: [GET] } }, { name: c9, when: { method: [GET] } }, { name: c10, when: { method: [GET] } }, { name: c11, when: { method: [GET] } }, { name: c12, when: { method: [GET] } }, { name: c13, when: { method: [GET] } }, { name: c14, when: { method: [GET] } }, { name: c15, when: { method: [GET] } }, { name: c16, when: { method: [GET] } }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "more than 16 cohorts",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: «0%» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "above 0% and below 100%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { latency: { quantile: «0%», above: 1s } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "above 0% and below 100%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: «100%» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "above 0% and below 100%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { latency: { quantile: «100%», above: 1s } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "above 0% and below 100%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: 5%, window: «0s» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1s to 1h",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: 5%, window: «61m» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1s to 1h",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: 5%, min_requests: «0» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1 to",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { latency: { above: «0s» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no time",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { latency: { above: 1s, window: «2h» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1s to 1h",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { latency: { above: 1s, min_requests: «0» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1 to",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { consecutive_failures: «0» } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1 to 1000000",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: { false_rollback: «0%» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "at most 50%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: { false_rollback: «50.001%» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "at most 50%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: { min_excess: «100%» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "below 100%",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://a\", query: «\"\"» }, below: 1 }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "what gives one number",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://a\", query: up, every: «10ms» }, below: 1 }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from 1s to 1h",
    ),
    (
        "T302",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: \"http://127.0.0.1:9090\", query: up }, above: «.inf» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no value lies beyond",
    ),
    (
        "T304",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: «\"127.0.0.1:7000/gate\"» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "like `http://127.0.0.1:7000/gate`",
    ),
    (
        "T304",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: «\"http://a:b@c/\"» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "without user",
    ),
    (
        "T304",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { metrics: [{ name: m, prometheus: { url: «\"http://a/?x=1\"», query: up }, below: 1 }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "what is asked stands in `query`",
    ),
    ("T311", "runtime: { state_dir: «\"\"» }\n", "`./state`"),
    (
        "T311",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], gates: [{ name: g, before_stage: 1, http: «\"http://a:99999/\"» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "1 to 65535",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 10m, max_hold: «5m» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "(5m) is shorter than `hold` (10m)",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 0.001%, hold: 5s, max_hold: 10s, min_requests: «11» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "the candidate gets 10 in 10s",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 0.001%, hold: 5s, max_hold: «10s» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "`min_requests` (50) is out of reach",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ mirror: 0.001%, max_hold: 10s, min_requests: «11» }, { weight: 1% }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "out of reach",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, deadline: 10s, stages: [{ weight: 0.001%, min_requests: «11» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "out of reach",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ mirror: 5%, hold: 9h }, { weight: 5%, hold: 1h }, { weight: 100% }], bake: 1h, deadline: «2h» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "which take 2h together",
    ),
    (
        "T314",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: x, from: \"2026-01-02T00:00\", to: «\"2026-01-01T00:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "begins no earlier",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], by: «uesr» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `user`?",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"6xx\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"600\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"+503\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"grpc:17\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"grpc:\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«\"99\"»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "\"grpc:0\" to \"grpc:16\"",
    ),
    (
        "T317",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { failures: [«conect»] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean `connect`?",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 25% }, { weight: «5%» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "stage 2 falls from 25% to 5%",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 25% }, { weight: «25%» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "stage 2 repeats the 25% of stage 1",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ mirror: 25% }, { mirror: «5%» }, { weight: 1% }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "stage 2 falls from 25% to 5%",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 1% }, { mirror: «5%» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "put mirror stages first",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: «[{ mirror: 1% }, { mirror: 5% }]» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "would never answer anybody",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: by_endpoints }, { weight: «50%» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "may fall",
    ),
    (
        "T318",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 100% }, { weight: «by_endpoints» }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "adds nothing",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: «\"9:30\"», to: \"17:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "like `09:30`",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: «\"24:00\"», to: \"17:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "like `09:30`",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: \"09:00\", to: «\"24:01\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "like `09:30`",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: \"09:00\", to: \"17:00\", zone: «Europe/Berln» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "did you mean \"Europe/Berlin\"?",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: \"09:00\", to: \"17:00\", zone: «CEST+2» }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "IANA",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: x, from: «\"2026-01-02\"», to: \"2026-01-03T00:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "like `2026-09-30T00:00`",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: x, from: «\"2026-02-30T00:00\"», to: \"2026-03-03T00:00\", zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "no day with a time",
    ),
    (
        "T319",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: x, from: \"2026-01-02T00:00\", to: «\"2026-01-03T00:00+08:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "on the clocks of the `zone`",
    ),
    (
        "T320",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ from: \"09:00\", to: «\"09:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "from `00:00` to `24:00`",
    ),
    (
        "T320",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: freeze, from: \"2026-01-01T00:00\", to: «\"2099-01-01T00:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "with \"freeze\" the windows stay closed",
    ),
    (
        "T320",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { deny: [{ name: a, from: \"2026-01-01T00:00\", to: \"2026-09-01T00:00\", zone: UTC }, { name: b, from: \"2026-08-01T00:00\", to: «\"2027-03-01T00:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "with \"b\"",
    ),
    (
        "T320",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], windows: { allow: [{ days: [mon], from: \"09:00\", to: \"10:00\", zone: UTC }], deny: [{ name: a, from: \"2026-01-01T00:00\", to: \"2026-09-01T00:00\", zone: UTC }, { name: b, from: \"2026-09-07T09:00\", to: «\"2099-03-01T00:00\"», zone: UTC }] } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "with \"b\"",
    ),
    (
        "T906",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], by: «user» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "random place",
    ),
    (
        "T907",
        "rollouts: [{ name: «r», service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }] }]\n",
        "no rule names rollout \"r\"",
    ),
    (
        "T908",
        "identity: { user: [{ client_address: true }] }\nroutes: [{ service: app, rules: [{ when: { method: [GET] }, split: { salt: s, weights: { v1: 90%, v2: 10% } } }, { rollout: r }] }]\nrollouts: [{ name: r, service: app, candidate: v2, salt: «s», stages: [{ weight: 5%, hold: 1m }] }]\n",
        "at tidegate.yaml:2: thresholds only, no comparison",
    ),
    (
        "T909",
        "services: [{ name: app, stable: v2, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }] }]\nrollouts: [{ name: r, service: app, candidate: «v2», stages: [{ weight: 5%, hold: 1m }] }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "is superseded",
    ),
    (
        "T911",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { error_rate: { above: 5%, window: 1s, min_requests: «5001» } } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "this never fires",
    ),
    (
        "T911",
        "routes: [{ service: app, rules: [{ name: all, split: { weights: { v1: 99.999%, v2: 0.001% }, guard: { latency: { above: 1s, window: 10s, min_requests: «11» } } } }] }]\n",
        "this never fires",
    ),
    (
        "T911",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: [{ weight: 5%, hold: 1m }], guard: { compare: «false» } }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "watches no request",
    ),
    (
        "T911",
        "rollouts: [{ name: r, service: app, candidate: v2, stages: «[{ weight: 100% }]» }]\nroutes: [{ service: app, rules: [{ rollout: r }] }]\n",
        "never sees a request",
    ),
];
