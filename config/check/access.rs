//! The process and who may ask what: runtime, admin, access log, regions, users.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use crate::file::{self, PathText, Workers};
use crate::names::{list, nearest};
use crate::problem::{Problem, quoted};
use crate::read::{Part, joined};
use crate::reader::{MAX_DATABASE, MAX_TOKENS_FILE};
use crate::source::At;
use crate::units;
use crate::{
    AccessLog, Admin, CertificatePart, Config, Database, Drain, Geo, LogOutput, Profile, Role,
    Runtime, Share, SplitBy, Token, UserSource,
};

const MOST_WORKERS: u64 = 1024;
const DRAIN_MAX: Duration = Duration::from_secs(30);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
/// A token is compared whole with each that a caller shows.
const MOST_TOKENS: usize = 1000;
/// Shorter secrets can be guessed.
const SHORTEST_TOKEN: usize = 8;
/// Asked one after the other for each request.
const MOST_SOURCES: usize = 16;
/// What every MaxMind database holds near its end.
const DATABASE_MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The mark stands within so many bytes of the end.
const DATABASE_TAIL: usize = 128 << 10;
const ROLES: [(&str, Role); 4] = [
    ("viewer", Role::Viewer),
    ("operator", Role::Operator),
    ("approver", Role::Approver),
    ("admin", Role::Admin),
];

impl Check<'_> {
    pub(super) fn runtime(&mut self) -> Runtime {
        let none = file::Runtime::default();
        let found = self.section("runtime", |file| file.runtime.as_ref());
        let (part, written) =
            found.map_or((&self.parts[0], &none), |(part, written)| (part, written));
        let root = At::root(&part.source);
        let at = root.key("runtime");
        if part.source.name != self.parts[0].source.name && !written.include.is_empty() {
            let message = "an included file includes further files";
            self.problems.error(
                &at.key("include"),
                "T403",
                message,
                "include them from the main file",
            );
        }
        let workers = match written.workers {
            Some(Workers::Count(count)) => {
                let count = self.number(&at.key("workers"), Some(count), 1, (1, MOST_WORKERS));
                usize::try_from(count).ok().and_then(NonZeroUsize::new)
            }
            None | Some(Workers::Word(_)) => None,
        };
        let state_dir = written
            .state_dir
            .as_ref()
            .map(|PathText(path)| self.folder(&at.key("state_dir"), part, path));
        Runtime {
            workers,
            drain: self.drain(&at.key("drain"), written.drain.as_ref()),
            state_dir,
        }
    }

    /// A folder that may be missing yet.
    fn folder(&mut self, at: &At<'_>, part: &Part, path: &str) -> PathBuf {
        if path.is_empty() {
            let hint = "write `./state`, or leave the key out";
            self.problems.error(at, "T311", "the path is empty", hint);
        }
        joined(&part.folder, path)
    }

    fn drain(&mut self, at: &At<'_>, written: Option<&file::Drain>) -> Drain {
        let none = file::Drain::default();
        let written = written.unwrap_or(&none);
        let min = self.duration(&at.key("min"), written.min.as_ref(), Duration::ZERO);
        let max = self.duration(&at.key("max"), written.max.as_ref(), DRAIN_MAX);
        if min > max {
            let message = format!(
                "`drain.min` ({}) is longer than `drain.max` ({}), which it is a part of",
                units::show_duration(min),
                units::show_duration(max)
            );
            self.problems.error(
                &at.key("min"),
                "T314",
                message,
                "raise `max` or lower `min`",
            );
        }
        Drain { min, max }
    }

    pub(super) fn admin(&mut self) -> Admin {
        let Some((part, written)) = self.section("admin", |file| file.admin.as_ref()) else {
            return Admin {
                address: ADMIN,
                probes: None,
                tokens: Vec::new(),
            };
        };
        let root = At::root(&part.source);
        let at = root.key("admin");
        let address = written
            .address
            .as_ref()
            .map_or(ADMIN, |text| self.address(&at.key("address"), text));
        let is_open = written.address.as_ref().is_some_and(|text| {
            text.0
                .parse::<SocketAddr>()
                .is_ok_and(|a| !a.ip().is_loopback())
        });
        if written.tokens_file.is_none() && is_open {
            let message = format!("the admin API on {address} is open to others and has no tokens");
            let hint = "add `tokens_file:` with lines like `admin:SECRET`, or use 127.0.0.1; for probes alone there is `probes:`";
            self.problems
                .error(&at.key("address"), "T315", message, hint);
        }
        let tokens = match &written.tokens_file {
            Some(PathText(path)) => {
                self.tokens(&at.key("tokens_file"), &joined(&part.folder, path))
            }
            None => Vec::new(),
        };
        let probes = written
            .probes
            .as_ref()
            .map(|text| self.address(&at.key("probes"), text));
        Admin {
            address,
            probes,
            tokens,
        }
    }

    /// Problems inside the file name their line and never show it.
    fn tokens(&mut self, at: &At<'_>, path: &Path) -> Vec<Token> {
        let Some(bytes) = self.bytes(at, path, MAX_TOKENS_FILE) else {
            return Vec::new();
        };
        let mut tokens: Vec<Token> = Vec::new();
        let text = String::from_utf8_lossy(&bytes);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut wrong = |message: &str, hint: &str| {
                let problem = Problem::of_file("T402", path.to_owned(), message, hint);
                self.problems.push(Problem {
                    line: index + 1,
                    column: 1,
                    ..problem
                });
            };
            let Some((role, secret)) = line.split_once(':') else {
                wrong(
                    "this line is no `role:token`",
                    "write it like `viewer:SECRET`",
                );
                continue;
            };
            let (role, secret) = (role.trim(), secret.trim());
            let Some((_, known)) = ROLES.iter().find(|(name, _)| *name == role) else {
                let names = ROLES.map(|(name, _)| name);
                let hint = match nearest(role, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("roles: {}", list(&names, "and")),
                };
                // What stands before the colon may be half of a secret: it is not repeated.
                wrong("this line begins with no role", &hint);
                continue;
            };
            if secret.len() < SHORTEST_TOKEN || !secret.bytes().all(|b| b.is_ascii_graphic()) {
                let message = format!(
                    "this token is shorter than {SHORTEST_TOKEN} characters, or has others than letters, digits and signs"
                );
                wrong(&message, "make one with `openssl rand -hex 32`");
            } else if tokens.iter().any(|token| token.secret == secret) {
                wrong(
                    "this token stands in an earlier line too",
                    "give each holder a token of their own",
                );
            } else if tokens.len() >= MOST_TOKENS {
                wrong(
                    &format!("these are more than {MOST_TOKENS} tokens"),
                    "remove those that nobody uses",
                );
                break;
            } else {
                tokens.push(Token {
                    role: *known,
                    secret: secret.to_owned(),
                });
            }
        }
        if tokens.is_empty()
            && text
                .lines()
                .all(|line| line.trim().is_empty() || line.trim().starts_with('#'))
        {
            let message = format!("{} holds no token", quoted(&path.display().to_string()));
            self.problems.error(
                at,
                "T402",
                message,
                "write at least one line like `admin:SECRET`",
            );
        }
        tokens
    }

    pub(super) fn access_log(&mut self) -> Option<AccessLog> {
        let (part, written) = self.section("access_log", |file| file.access_log.as_ref())?;
        let root = At::root(&part.source);
        let at = root.key("access_log");
        // The only form there is; a second one will not compile until it is told apart here.
        let file::LogFormat::Json = written.format.unwrap_or(file::LogFormat::Json);
        let sample = at.key("sample");
        let share = |check: &mut Self, key, text: Option<&file::ShareText>| {
            check.share(&sample.key(key), text, Share::FULL)
        };
        let written_sample = written.sample.clone().unwrap_or_default();
        let redact = written.redact.clone().unwrap_or_default();
        let redact_headers = match &redact.headers {
            Some(names) => self.header_names(&at.key("redact").key("headers"), names),
            None => ["authorization", "cookie", "proxy-authorization"]
                .map(str::to_owned)
                .to_vec(),
        };
        let output = match written.output.as_ref().map(|PathText(path)| path.as_str()) {
            None | Some("stdout") => Some(LogOutput::Stdout),
            Some("none") => None,
            Some("") => {
                self.problems.error(
                    &at.key("output"),
                    "T311",
                    "the path is empty",
                    "write `stdout`, `none` or a path",
                );
                None
            }
            Some(path) => Some(LogOutput::File(joined(&part.folder, path))),
        };
        let log = AccessLog {
            output: LogOutput::Stdout,
            sample_success: share(self, "success", written_sample.success.as_ref()),
            sample_failure: share(self, "failure", written_sample.failure.as_ref()),
            redact_headers,
            redact_query: redact.query,
        };
        output.map(|output| AccessLog { output, ..log })
    }

    pub(super) fn geo(&mut self) -> Option<Geo> {
        let (part, written) = self.section("geo", |file| file.geo.as_ref())?;
        let root = At::root(&part.source);
        let at = root.key("geo");
        if written.database.is_none() && written.header.is_none() {
            self.problems.error(
                &at,
                "T108",
                "`geo` names no source",
                "add `database`, `header` or both",
            );
        }
        let database = written.database.as_ref().and_then(|PathText(path)| {
            self.database(&at.key("database"), &joined(&part.folder, path))
        });
        let header = written
            .header
            .as_ref()
            .map(|name| self.header_name(&at.key("header"), name));
        Some(Geo { database, header })
    }

    fn database(&mut self, at: &At<'_>, path: &Path) -> Option<Database> {
        let bytes = self.bytes(at, path, MAX_DATABASE)?;
        let tail = &bytes[bytes.len().saturating_sub(DATABASE_TAIL)..];
        if !tail
            .windows(DATABASE_MARK.len())
            .any(|window| window == DATABASE_MARK)
        {
            let message = format!(
                "{} is no MaxMind database",
                quoted(&path.display().to_string())
            );
            self.problems.error(
                at,
                "T402",
                message,
                "unpack the download; the file's name ends in .mmdb",
            );
            return None;
        }
        Some(Database {
            path: path.to_owned(),
            bytes: Arc::from(bytes),
        })
    }

    pub(super) fn identity(&mut self) -> Vec<UserSource> {
        let Some((part, written)) = self.section("identity", |file| file.identity.as_ref()) else {
            return Vec::new();
        };
        let root = At::root(&part.source);
        let identity = root.key("identity");
        let at = identity.key("user");
        if written.user.is_empty() {
            let hint = "add `- header: x-user-id`, or leave `identity` out";
            self.problems
                .error(&at, "T204", "`identity` names no source", hint);
        }
        if written.user.len() > MOST_SOURCES {
            let message = format!("these are more than {MOST_SOURCES} sources");
            self.problems
                .error(&at, "T302", message, "keep those that somebody uses");
        }
        let mut sources = Vec::new();
        for (index, source) in written.user.iter().enumerate() {
            let at = at.index(index);
            let Some(source) = self.user_source(&at, source) else {
                continue;
            };
            let is_assigned = |s: &UserSource| matches!(s, UserSource::AssignCookie(_));
            if sources.contains(&source) {
                self.problems.error(
                    &at,
                    "T202",
                    "this source stands twice",
                    "remove one of the two",
                );
            } else if is_assigned(&source) && sources.iter().any(is_assigned) {
                self.problems.error(
                    &at,
                    "T202",
                    "a second cookie would be assigned",
                    "keep one `assign_cookie`",
                );
            }
            sources.push(source);
        }
        sources
    }

    fn user_source(&mut self, at: &At<'_>, written: &file::UserSource) -> Option<UserSource> {
        let mut given = Vec::new();
        if let Some(name) = &written.header {
            given.push(UserSource::Header(
                self.header_name(&at.key("header"), name),
            ));
        }
        if let Some(name) = &written.cookie {
            given.push(UserSource::Cookie(
                self.cookie_name(&at.key("cookie"), name),
            ));
        }
        if let Some(name) = &written.assign_cookie {
            given.push(UserSource::AssignCookie(
                self.cookie_name(&at.key("assign_cookie"), name),
            ));
        }
        if let Some(part) = written.client_certificate {
            self.certificates_are_asked_for(&at.key("client_certificate"));
            given.push(UserSource::ClientCertificate(match part {
                file::CertificatePart::Dns => CertificatePart::Dns,
                file::CertificatePart::Uri => CertificatePart::Uri,
                file::CertificatePart::Email => CertificatePart::Email,
                file::CertificatePart::Subject => CertificatePart::Subject,
                file::CertificatePart::Fingerprint => CertificatePart::Fingerprint,
            }));
        }
        match written.client_address {
            Some(true) => given.push(UserSource::ClientAddress),
            Some(false) => {
                let message = "`client_address: false` is no source";
                self.problems.error(
                    &at.key("client_address"),
                    "T108",
                    message,
                    "remove the entry",
                );
                return None;
            }
            None => {}
        }
        if given.len() != 1 {
            let message = format!("a source has exactly one key, this one has {}", given.len());
            let hint = "write one of `header`, `cookie`, `assign_cookie`, `client_certificate` and `client_address: true` in each entry";
            self.problems.error(at, "T108", message, hint);
        }
        given.into_iter().next()
    }

    /// Warns of what can never count, and of users who choose who they are.
    pub(super) fn what_never_counts(&mut self, config: &Config) {
        let is_trusted = |name: &String| {
            config
                .listeners
                .iter()
                .any(|l| l.trusted_headers.contains(name))
        };
        let never = |name: &str| {
            (
                format!(
                    "no listener trusts the header {}, so it never counts",
                    quoted(name)
                ),
                format!(
                    "add it to the `trusted_headers` of the listener whose callers may set it: `trusted_headers: [{name}]`"
                ),
            )
        };
        if let Some((part, _)) = self
            .parts
            .iter()
            .find_map(|p| p.file.identity.as_ref().map(|i| (p, i)))
        {
            let root = At::root(&part.source);
            let identity = root.key("identity");
            let user = identity.key("user");
            for (index, source) in config.identity.iter().enumerate() {
                let at = user.index(index);
                match source {
                    UserSource::Header(name) if !is_trusted(name) => {
                        let (message, hint) = never(name);
                        self.problems
                            .warning(&at.key("header"), "T904", message, hint);
                    }
                    UserSource::Cookie(name) => {
                        let Some(edge) =
                            config.listeners.iter().find(|l| l.profile == Profile::Edge)
                        else {
                            continue;
                        };
                        let message = format!(
                            "callers of listener {} choose the cookie {} themselves, and with it their version",
                            quoted(&edge.name),
                            quoted(name)
                        );
                        let hint = "use `assign_cookie`, or a header that your own proxy sets, where that matters";
                        self.problems
                            .warning(&at.key("cookie"), "T905", message, hint);
                    }
                    _ => {}
                }
            }
        }
        if let Some(name) = config
            .geo
            .as_ref()
            .and_then(|geo| geo.header.as_ref())
            .filter(|name| !is_trusted(name))
            && let Some(part) = self.parts.iter().find(|part| part.file.geo.is_some())
        {
            let (message, hint) = never(name);
            let root = At::root(&part.source);
            self.problems
                .warning(&root.key("geo").key("header"), "T904", message, hint);
        }
    }

    /// Warns of a split or rollout that asks for a user whom nobody names; `at` is where it says so.
    pub(super) fn asks_for_nobody(&mut self, at: &At<'_>, by: &SplitBy) {
        if !self.has_identity && *by == SplitBy::User {
            let message = "`by: user`, but the file does not say who the user is: every request gets a random place";
            let hint = "add `identity: { user: [{ header: x-user-id }] }`, or write `by: random`";
            self.problems.warning(at, "T906", message, hint);
        }
    }
}
