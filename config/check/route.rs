//! Routes: what they match, and what they do.

use std::time::Duration;

use super::Check;
use super::value::is_header_value;
use crate::file;
use crate::names::{list, nearest};
use crate::problem::quoted;
use crate::source::At;
use crate::{
    Action, Forward, PathMatch, Redirect, Respond, Retry, RetryOn, Rewrite, Route, RouteMatch,
    RouteTimeouts, Share,
};

const REDIRECTS: [u64; 5] = [301, 302, 303, 307, 308];
const MOST_TRIES: u32 = 10;
const LARGEST_BODY: usize = 1 << 20;
/// Only whoever forwards has these.
const FORWARDS: &str = "only a route with `service` forwards";

impl Check<'_> {
    pub(super) fn routes(&mut self) -> Vec<Route> {
        let mut routes = Vec::new();
        for part in self.parts {
            let root = At::root(&part.source);
            let at = root.key("routes");
            for (index, route) in part.file.routes.iter().enumerate() {
                let route = self.route(&at.index(index), route, part);
                routes.push(route);
            }
        }
        // Also what is left of a file that was cut off at the end of a line: it must not take every route away.
        if routes.is_empty() {
            let root = At::root(&self.parts[0].source);
            self.problems.error(
                &root.key("routes"),
                "T204",
                "there is no route: every request would be answered 404",
                "add one; where that is what you want, `routes: [{ name: none, respond: { status: 404 } }]`",
            );
        }
        routes
    }

    fn route(&mut self, at: &At<'_>, written: &file::Route, part: &crate::read::Part) -> Route {
        let name = written
            .name
            .as_ref()
            .or(written.service.as_ref())
            .cloned()
            .unwrap_or_default();
        let given: Vec<&str> = [
            ("service", written.service.is_some()),
            ("redirect", written.redirect.is_some()),
            ("respond", written.respond.is_some()),
        ]
        .iter()
        .filter_map(|(key, is_given)| is_given.then_some(*key))
        .collect();
        match given.as_slice() {
            [_] => {}
            [] => {
                let message = format!("route {} does nothing", quoted(&name));
                self.problems.error(
                    at,
                    "T108",
                    message,
                    "add one of `service`, `redirect` and `respond`",
                );
            }
            several => {
                let message = format!(
                    "route {} has {} at one time",
                    quoted(&name),
                    list(several, "and")
                );
                self.problems
                    .key_error(&at.key(several[1]), "T108", message, "keep one of them");
            }
        }
        let matches = self.route_match(&at.key("match"), written.matches.as_ref());
        let request_headers =
            self.edits(&at.key("request_headers"), written.request_headers.as_ref());
        let response_headers = self.edits(
            &at.key("response_headers"),
            written.response_headers.as_ref(),
        );
        let action = if let Some(redirect) = &written.redirect {
            Action::Redirect(self.redirect(&at.key("redirect"), redirect))
        } else if let Some(respond) = &written.respond {
            Action::Respond(self.respond(&at.key("respond"), respond))
        } else {
            Action::Forward(self.forward(at, written, &name, &matches, part))
        };
        if written.service.is_none() && !given.is_empty() {
            self.nothing_forwarded(at, written);
        }
        Route {
            name,
            matches,
            action,
            request_headers,
            response_headers,
        }
    }

    /// Tells the keys that mean something only where a request is forwarded.
    fn nothing_forwarded(&mut self, at: &At<'_>, written: &file::Route) {
        for (key, is_given) in [
            ("rules", written.rules.is_some()),
            ("timeouts", written.timeouts.is_some()),
            ("retry", written.retry.is_some()),
            ("rewrite", written.rewrite.is_some()),
            ("request_headers", written.request_headers.is_some()),
        ] {
            if is_given {
                let message = format!("`{key}` has no effect here: {FORWARDS}");
                self.problems.key_error(
                    &at.key(key),
                    "T108",
                    message,
                    "remove it, or forward to a `service`",
                );
            }
        }
    }

    fn route_match(&mut self, at: &At<'_>, written: Option<&file::Match>) -> RouteMatch {
        let Some(written) = written else {
            return RouteMatch::default();
        };
        let hosts_at = at.key("hosts");
        let written_hosts = written.hosts.as_deref().unwrap_or_default();
        if written.hosts.as_ref().is_some_and(Vec::is_empty) {
            self.problems.error(
                &hosts_at,
                "T204",
                "`hosts` is empty",
                "name a host, or leave the key out for every host",
            );
        }
        self.no_entry_twice(&hosts_at, written_hosts, str::to_lowercase);
        let hosts = written_hosts
            .iter()
            .enumerate()
            .map(|(index, host)| self.host_pattern(&hosts_at.index(index), host));
        let hosts = hosts.collect();
        RouteMatch {
            listener: written
                .listener
                .as_ref()
                .map(|name| self.listener_named(&at.key("listener"), name)),
            hosts,
            path: written
                .path
                .as_ref()
                .and_then(|path| self.path_match(&at.key("path"), path)),
        }
    }

    pub(super) fn path_match(
        &mut self,
        at: &At<'_>,
        written: &file::PathMatch,
    ) -> Option<PathMatch> {
        let mut given = Vec::new();
        if let Some(path) = &written.exact {
            given.push(PathMatch::Exact(self.request_path(&at.key("exact"), path)));
        }
        if let Some(path) = &written.prefix {
            let path = self.request_path(&at.key("prefix"), path);
            given.push(PathMatch::Prefix(path.trim_end_matches('/').to_owned()));
        }
        if let Some(pattern) = &written.regex {
            given.extend(self.regex(&at.key("regex"), pattern).map(PathMatch::Regex));
        }
        let count = [&written.exact, &written.prefix, &written.regex]
            .iter()
            .filter(|key| key.is_some())
            .count();
        if count != 1 {
            let message = format!(
                "a path has exactly one of `exact`, `prefix` and `regex`, this one has {count}"
            );
            self.problems.error(
                at,
                "T108",
                message,
                "write one of them; use `any` or two routes for more",
            );
        }
        given.into_iter().next()
    }

    fn forward(
        &mut self,
        at: &At<'_>,
        written: &file::Route,
        name: &str,
        matches: &RouteMatch,
        part: &crate::read::Part,
    ) -> Forward {
        let service = written
            .service
            .as_ref()
            .and_then(|service| self.service_named(&at.key("service"), service));
        let rules = written.rules.as_deref().unwrap_or_default();
        Forward {
            service: service.map_or(0, |(index, _)| index),
            rules: self.rules(
                &at.key("rules"),
                rules,
                name,
                service.map(|(_, service)| service),
                part,
            ),
            timeouts: self.route_timeouts(&at.key("timeouts"), written.timeouts.as_ref()),
            retry: written
                .retry
                .as_ref()
                .map(|retry| self.retry(&at.key("retry"), retry)),
            rewrite: self.rewrite(&at.key("rewrite"), written.rewrite.as_ref(), matches),
        }
    }

    fn route_timeouts(
        &mut self,
        at: &At<'_>,
        written: Option<&file::RouteTimeouts>,
    ) -> RouteTimeouts {
        let none = file::RouteTimeouts::default();
        let written = written.unwrap_or(&none);
        let (request, stream_idle) = (
            Some(Duration::from_secs(15)),
            Some(Duration::from_secs(300)),
        );
        RouteTimeouts {
            request: self.wait_or_none(&at.key("request"), written.request.as_ref(), request),
            each_try: self.wait_or_none(&at.key("try"), written.each_try.as_ref(), None),
            stream_idle: self.wait_or_none(
                &at.key("stream_idle"),
                written.stream_idle.as_ref(),
                stream_idle,
            ),
        }
    }

    fn retry(&mut self, at: &At<'_>, written: &file::Retry) -> Retry {
        const WORDS: [&str; 3] = ["connect", "reset", "timeout"];
        let list_at = at.key("failures");
        if written.failures.is_empty() {
            self.problems.error(
                &list_at,
                "T204",
                "nothing is tried again",
                "write `[connect, reset]`, or remove `retry`",
            );
        }
        self.no_entry_twice(&list_at, &written.failures, str::to_owned);
        let mut failures = Vec::new();
        for (index, word) in written.failures.iter().enumerate() {
            failures.push(match (word.as_str(), word.parse::<u16>()) {
                ("connect", _) => RetryOn::Connect,
                ("reset", _) => RetryOn::Reset,
                ("timeout", _) => RetryOn::Timeout,
                (_, Ok(status @ 500..=599)) => RetryOn::Status(status),
                (word, _) => {
                    let message = format!("{} is nothing that is tried again", quoted(word));
                    let hint = match nearest(word, WORDS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "write `connect`, `reset`, `timeout`, or a status from \"500\" to \"599\"".to_owned(),
                    };
                    self.problems.error(&list_at.index(index), "T317", message, hint);
                    continue;
                }
            });
        }
        let budget = self.share(&at.key("budget"), written.budget.as_ref(), Share::FIFTH);
        Retry {
            failures,
            attempts: self.count(&at.key("attempts"), written.attempts, 1, MOST_TRIES),
            budget,
        }
    }

    fn rewrite(
        &mut self,
        at: &At<'_>,
        written: Option<&file::Rewrite>,
        matches: &RouteMatch,
    ) -> Rewrite {
        let Some(written) = written else {
            return Rewrite::default();
        };
        if written.prefix.is_none() && written.host.is_none() {
            self.problems.error(
                at,
                "T108",
                "`rewrite` changes nothing",
                "add `prefix`, `host` or both",
            );
        }
        let prefix = written
            .prefix
            .as_ref()
            .map(|prefix| self.request_path(&at.key("prefix"), prefix));
        if prefix.is_some() && !matches!(matches.path, None | Some(PathMatch::Prefix(_))) {
            let message =
                "`rewrite.prefix` replaces the matched prefix, and this route matches another way";
            self.problems.key_error(
                &at.key("prefix"),
                "T314",
                message,
                "write `match: { path: { prefix: … } }`",
            );
        }
        if let Some(host) = &written.host {
            self.authority(&at.key("host"), host, true);
        }
        Rewrite {
            prefix,
            host: written.host.clone(),
        }
    }

    fn redirect(&mut self, at: &At<'_>, written: &file::Redirect) -> Redirect {
        let status = written.status.unwrap_or(302);
        if !REDIRECTS.contains(&status) {
            let message = format!("{status} is no status of a redirect");
            self.problems.error(
                &at.key("status"),
                "T312",
                message,
                "write 301, 302, 303, 307 or 308",
            );
        }
        if written.scheme.is_none()
            && written.host.is_none()
            && written.port.is_none()
            && written.path.is_none()
        {
            let message = "the redirect leads to where the request was sent";
            self.problems.error(
                at,
                "T108",
                message,
                "add `scheme`, `host`, `port` or `path`",
            );
        }
        if let Some(host) = &written.host {
            self.authority(&at.key("host"), host, false);
        }
        if let Some(path) = &written.path
            && (!path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()))
        {
            let message = format!("{} is no path to lead to", quoted(path));
            self.problems.error(
                &at.key("path"),
                "T311",
                message,
                "begin it with `/`, write other signs as %20 and the like",
            );
        }
        let port = written
            .port
            .map(|port| self.number(&at.key("port"), Some(port), 1, (1, u16::MAX.into())));
        Redirect {
            status: u16::try_from(status).unwrap_or(302),
            scheme: written.scheme.map(|scheme| match scheme {
                file::Scheme::Http => "http".to_owned(),
                file::Scheme::Https => "https".to_owned(),
            }),
            host: written.host.clone(),
            port: port.and_then(|port| u16::try_from(port).ok()),
            path: written.path.clone(),
        }
    }

    fn respond(&mut self, at: &At<'_>, written: &file::Respond) -> Respond {
        if !(200..=599).contains(&written.status) {
            let message = format!("{} is no status to answer with", written.status);
            self.problems.error(
                &at.key("status"),
                "T312",
                message,
                "write a number from 200 to 599",
            );
        }
        if matches!(written.status, 204 | 205 | 304) && !written.body.is_empty() {
            let message = format!("an answer {} has no body", written.status);
            self.problems.error(
                &at.key("body"),
                "T314",
                message,
                "remove `body`, or answer 200",
            );
        }
        if written.body.len() > LARGEST_BODY {
            let message = format!("the body is larger than {LARGEST_BODY} bytes");
            self.problems.error(
                &at.key("body"),
                "T302",
                message,
                "serve it from a service of its own",
            );
        }
        let content_type = written
            .content_type
            .clone()
            .unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
        if content_type.is_empty() || !is_header_value(&content_type) {
            let message = format!("{} is no content type", quoted(&content_type));
            self.problems.error(
                &at.key("content_type"),
                "T307",
                message,
                "write it like `text/html; charset=utf-8`",
            );
        }
        Respond {
            status: u16::try_from(written.status).unwrap_or(500),
            body: written.body.clone(),
            content_type,
        }
    }
}
