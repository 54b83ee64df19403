//! Who may ask the admin API for what.
//!
//! Without tokens the API belongs to whoever sits at this machine: it answers loopback peers, and only where the
//! request names this machine as its host and comes from no foreign page. The last two keep a web page that the
//! operator happens to look at from reaching the API through the operator's browser, by a name that was pointed at
//! 127.0.0.1 or by a plain form. With tokens the token decides and nothing else.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, REFERER};
use http::uri::Authority;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tidegate_config::{Role, Token};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// What a path asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No token, even where there are tokens: it tells only that the process is there.
    Nothing,
    /// A token of this role or a higher one.
    Role(Role),
}

/// Why a caller is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not from this machine.
    #[error(
        "without tokens the admin API answers only on loopback; set admin.tokens_file to open it to others"
    )]
    NotLoopback,
    /// The request is meant for a name that is not this machine's.
    #[error(
        "the Host header does not name this machine; without tokens use localhost, 127.0.0.1 or [::1]"
    )]
    ForeignHost,
    /// A web page of another origin is asking.
    #[error(
        "the Origin header names another site; without tokens only pages of this API may call it"
    )]
    ForeignOrigin,
    /// A web page of another site is asking, as the browser itself says.
    #[error(
        "the Sec-Fetch-Site header says that another site's page asks; without tokens only pages of this API may call it"
    )]
    ForeignPage,
    /// No token, or one that nobody was given.
    #[error(
        "a known token is needed: send `Authorization: Bearer TOKEN` with a token of admin.tokens_file (on the command line: --token-file FILE)"
    )]
    NoToken,
    /// The token's role is too low.
    #[error("this token's role may not do that")]
    RoleTooLow,
}

/// Decides whether this caller may have what needs `need`.
///
/// # Errors
/// The first reason against it.
pub fn admit(
    need: Need,
    tokens: &[Token],
    peer: IpAddr,
    bound: SocketAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if tokens.is_empty() {
        admit_at_this_machine(peer, bound, headers)?;
        return if is_of_another_site(method, headers) {
            Err(Refusal::ForeignPage)
        } else {
            Ok(())
        };
    }
    match need {
        Need::Nothing => Ok(()),
        Need::Role(least) => match role_of(tokens, bearer(headers)) {
            None => Err(Refusal::NoToken),
            Some(role) if role < least => Err(Refusal::RoleTooLow),
            Some(_) => Ok(()),
        },
    }
}

/// The role of whoever was admitted; `None` where there are no tokens.
pub fn role(tokens: &[Token], headers: &HeaderMap) -> Option<Role> {
    role_of(tokens, bearer(headers))
}

fn admit_at_this_machine(
    peer: IpAddr,
    bound: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() {
        return Err(Refusal::NotLoopback);
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host_is_ours = match (hosts.next(), hosts.next()) {
        (Some(host), None) => text(host).is_some_and(|host| names_this_machine(host, bound)),
        // HTTP/1.0 clients may leave it out; browsers never do.
        (None, _) => true,
        (Some(_), Some(_)) => false,
    };
    if !host_is_ours {
        return Err(Refusal::ForeignHost);
    }
    // `null` is what a sandboxed frame or a file sends: foreign as well.
    let origin_is_ours = headers.get_all(ORIGIN).iter().all(|origin| {
        text(origin)
            .and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            })
            .is_some_and(|authority| names_this_machine(authority, bound))
    });
    if origin_is_ours {
        Ok(())
    } else {
        Err(Refusal::ForeignOrigin)
    }
}

/// What browsers say of a request that another site's page caused (Fetch Metadata). Whoever follows a link to a page of
/// ours comes from another site too, and only looks.
fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str, known: &[&[u8]]| {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek().is_some() && lines.all(|line| known.contains(&line.as_bytes()))
    };
    let is_ours =
        !headers.contains_key(SEC_FETCH_SITE) || says(SEC_FETCH_SITE, &[b"same-origin", b"none"]);
    let only_looks = method.is_safe() && says("sec-fetch-mode", &[b"navigate"]);
    !is_ours && !only_looks
}

/// Whether the request could be a form of another site's page, which a browser sends without asking us first.
pub fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let of_browser = [ORIGIN.as_str(), REFERER.as_str(), SEC_FETCH_SITE]
        .iter()
        .any(|name| headers.contains_key(*name));
    headers.get_all(CONTENT_TYPE).iter().any(|kind| {
        let kind = kind.as_bytes();
        let end = kind.iter().position(|b| *b == b';').unwrap_or(kind.len());
        match kind[..end].trim_ascii().to_ascii_lowercase().as_slice() {
            b"text/plain" | b"multipart/form-data" => true,
            // What curl and others say of any body if nobody tells them what it is.
            b"application/x-www-form-urlencoded" => of_browser,
            _ => false,
        }
    })
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// `localhost`, a loopback address or the bound address, with any port.
fn names_this_machine(authority: &str, bound: SocketAddr) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|ip| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip == bound.ip().to_canonical()
    })
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let line = line.as_bytes();
    let (scheme, token) = line.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// The highest role that this token was given. Every token is compared, and each in a time that does not depend on
/// where it differs: the answer's delay tells nothing.
fn role_of(tokens: &[Token], presented: Option<&[u8]>) -> Option<Role> {
    const ROLES: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];
    let presented = presented?;
    let mut found = 0_u8; // 0 is none, else the role's place from 1
    for token in tokens {
        let place = ROLES
            .iter()
            .position(|role| *role == token.role)
            .map_or(0, |at| at as u8 + 1);
        let better = Choice::from(u8::from(place > found));
        found.conditional_assign(&place, token.secret.as_bytes().ct_eq(presented) & better);
    }
    ROLES.get(usize::from(found).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &str = "192.0.2.7:9900";

    fn ask(
        need: Need,
        tokens: &[Token],
        peer: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                http::HeaderName::try_from(*name).unwrap(),
                value.parse().unwrap(),
            );
        }
        admit(
            need,
            tokens,
            peer.parse().unwrap(),
            BOUND.parse().unwrap(),
            &Method::POST,
            &map,
        )
    }

    fn tokens() -> Vec<Token> {
        [
            (Role::Viewer, "see"),
            (Role::Operator, "run"),
            (Role::Admin, "all"),
        ]
        .map(|(role, secret)| Token {
            role,
            secret: secret.to_owned(),
        })
        .to_vec()
    }

    #[test]
    fn without_tokens_only_this_machine_is_answered() {
        let need = Need::Role(Role::Admin);
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                ask(need, &[], peer, &[("host", "localhost:9900")]),
                Ok(()),
                "{peer}"
            );
        }
        for peer in ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert_eq!(
                ask(need, &[], peer, &[("host", "localhost")]),
                Err(Refusal::NotLoopback),
                "{peer}"
            );
        }
    }

    #[test]
    fn a_name_that_was_pointed_at_loopback_reaches_nothing() {
        let need = Need::Role(Role::Viewer);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:80",
            "[::1]:9900",
            "192.0.2.7",
            "192.0.2.7:9900",
        ] {
            assert_eq!(
                ask(need, &[], "127.0.0.1", &[("host", host)]),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:9900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@localhost",
            "localhost:9900/x",
            "",
            "10.0.0.1",
            "[::2]",
        ] {
            assert_eq!(
                ask(need, &[], "127.0.0.1", &[("host", host)]),
                Err(Refusal::ForeignHost),
                "{host:?}"
            );
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(
            ask(need, &[], "127.0.0.1", &two),
            Err(Refusal::ForeignHost),
            "two Host lines"
        );
        assert_eq!(
            ask(Need::Nothing, &[], "127.0.0.1", &[("host", "evil.example")]),
            Err(Refusal::ForeignHost)
        );
    }

    #[test]
    fn a_page_of_another_site_reaches_nothing() {
        let need = Need::Role(Role::Admin);
        for origin in [
            "http://localhost:9900",
            "http://127.0.0.1",
            "https://[::1]:1",
        ] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(ask(need, &[], "127.0.0.1", &headers), Ok(()), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "https://localhost.evil.example",
            "localhost",
            "file://",
        ] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(
                ask(need, &[], "127.0.0.1", &headers),
                Err(Refusal::ForeignOrigin),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_page_that_the_browser_calls_foreign_reaches_nothing() {
        let ask = |method: Method, lines: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            map.append(HOST, HeaderValue::from_static("localhost"));
            for (name, value) in lines {
                map.append(*name, HeaderValue::from_static(value));
            }
            let (peer, bound) = ([127, 0, 0, 1].into(), BOUND.parse().unwrap());
            admit(Need::Role(Role::Viewer), &[], peer, bound, &method, &map)
        };
        for own in ["same-origin", "none"] {
            assert_eq!(ask(Method::POST, &[("sec-fetch-site", own)]), Ok(()));
        }
        for foreign in ["cross-site", "same-site", "", "Same-Origin, none"] {
            for method in [Method::GET, Method::POST] {
                let seen = ask(method, &[("sec-fetch-site", foreign)]);
                assert_eq!(seen, Err(Refusal::ForeignPage), "{foreign:?}");
            }
        }
        let two = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert_eq!(ask(Method::POST, &two), Err(Refusal::ForeignPage));
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(ask(Method::GET, &link), Ok(()), "a link");
        assert_eq!(
            ask(Method::POST, &link),
            Err(Refusal::ForeignPage),
            "a form"
        );
    }

    #[test]
    fn what_a_form_can_send_is_known() {
        let form = |kind: &'static str, origin: bool| {
            let mut map = HeaderMap::new();
            map.append(CONTENT_TYPE, HeaderValue::from_static(kind));
            if origin {
                map.append(ORIGIN, HeaderValue::from_static("http://localhost"));
            }
            is_form(&Method::POST, &map)
        };
        for kind in [
            "text/plain",
            "Text/Plain;charset=UTF-8",
            "multipart/form-data; boundary=x",
        ] {
            assert!(form(kind, false), "{kind}");
        }
        assert!(form("application/x-www-form-urlencoded", true));
        assert!(!form("application/x-www-form-urlencoded", false), "curl -d");
        assert!(!form("application/json", true));
    }

    #[test]
    fn each_role_may_what_it_may_and_nothing_more() {
        let matrix = [
            ("see", Role::Viewer, Ok(())),
            ("see", Role::Operator, Err(Refusal::RoleTooLow)),
            ("see", Role::Admin, Err(Refusal::RoleTooLow)),
            ("run", Role::Viewer, Ok(())),
            ("run", Role::Admin, Err(Refusal::RoleTooLow)),
            ("all", Role::Viewer, Ok(())),
            ("all", Role::Admin, Ok(())),
            ("unknown", Role::Viewer, Err(Refusal::NoToken)),
            ("", Role::Viewer, Err(Refusal::NoToken)),
        ];
        for (token, least, promised) in matrix {
            let line = format!("Bearer {token}");
            let headers = [
                ("host", "tidegate.example"),
                ("authorization", line.as_str()),
            ];
            let seen = ask(Need::Role(least), &tokens(), "203.0.113.9", &headers);
            assert_eq!(seen, promised, "token {token:?} for {least:?}");
        }
    }

    #[test]
    fn with_tokens_only_health_is_open() {
        assert_eq!(ask(Need::Nothing, &tokens(), "203.0.113.9", &[]), Ok(()));
        assert_eq!(
            ask(
                Need::Role(Role::Viewer),
                &tokens(),
                "127.0.0.1",
                &[("host", "localhost")]
            ),
            Err(Refusal::NoToken)
        );
        for odd in ["Basic see", "Bearer", "see", "bearersee"] {
            let seen = ask(
                Need::Role(Role::Viewer),
                &tokens(),
                "127.0.0.1",
                &[("authorization", odd)],
            );
            assert_eq!(seen, Err(Refusal::NoToken), "{odd}");
        }
        assert_eq!(
            ask(
                Need::Role(Role::Viewer),
                &tokens(),
                "127.0.0.1",
                &[("authorization", "bearer  see ")]
            ),
            Ok(())
        );
    }

    #[test]
    fn a_token_listed_twice_has_its_highest_role() {
        let twice = [Role::Admin, Role::Viewer].map(|role| Token {
            role,
            secret: "same".to_owned(),
        });
        assert_eq!(role_of(&twice, Some(b"same")), Some(Role::Admin));
    }
}
