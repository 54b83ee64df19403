use tidegate_config::normalise;

use crate::http1::tests::Message;

/// Lower-case name and value.
pub(super) type Field = (String, Vec<u8>);

/// Fields that concern one connection (RFC 9110 §7.6.1), and one that some CGI programs take for an order.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "upgrade",
    "http2-settings",
    "proxy",
];

/// How many fields have this name.
pub(super) fn count(fields: &[Field], name: &str) -> usize {
    fields.iter().filter(|(n, _)| n == name).count()
}

/// The value of the first field of this name.
pub(super) fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    let mut named = fields.iter().filter(|(n, _)| n == name);
    named.next().map(|(_, value)| value.as_slice())
}

/// One length, or chunked, or neither.
pub(super) fn has_one_framing(fields: &[Field]) {
    let framings = count(fields, "content-length") + count(fields, "transfer-encoding");
    assert!(framings <= 1, "two framings: {fields:?}");
    if let Some(coding) = value(fields, "transfer-encoding") {
        assert_eq!(coding, b"chunked");
    }
}

/// Nothing that concerns another connection, but for those `allowed`.
pub(super) fn has_no_hop_by_hop(fields: &[Field], allowed: &[&str]) {
    for name in HOP_BY_HOP {
        assert!(
            allowed.contains(&name) || count(fields, name) == 0,
            "{name} passes: {fields:?}"
        );
    }
}

/// What holds for every request that reaches a version through an `edge` listener, read by a plain reader.
pub(super) fn is_for_a_version(request: &Message, outsider: &str) {
    let fields = &request.fields;
    has_one_framing(fields);
    let tunnels = value(fields, "connection") == Some(b"upgrade");
    if tunnels {
        assert_eq!(
            (count(fields, "connection"), count(fields, "upgrade")),
            (1, 1)
        );
        assert!(request.body.is_empty());
    }
    let allowed: &[&str] = if tunnels {
        &["connection", "upgrade"]
    } else {
        &[]
    };
    has_no_hop_by_hop(fields, allowed);
    assert_eq!(count(fields, "host"), 1, "one host: {fields:?}");
    for name in [
        "x-request-id",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
    ] {
        assert_eq!(count(fields, name), 1, "one {name}: {fields:?}");
    }
    assert_eq!(value(fields, "x-forwarded-for"), Some(outsider.as_bytes()));
    assert_eq!(count(fields, "expect"), 0, "it was answered here");
    // A caller of HTTP/1.0 may have named no host.
    let host = value(fields, "x-forwarded-host").or(Some(b"localhost"));
    assert_eq!(host, value(fields, "host"), "{fields:?}");
    for (name, value) in fields.iter().chain(&request.trailers) {
        assert!(!is_reserved(name), "an outsider says {name}");
        assert!(
            !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)),
            "{name} breaks its line"
        );
    }
    is_normal(target(request));
}

/// Whether only the proxy may say it, also where a reader takes `_` for `-`.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with("x-tidegate-") || name == "x-user-id" || name == "x-region"
}

/// What a request asks for.
pub(super) fn target(request: &Message) -> &[u8] {
    let space = request.first.iter().position(|b| *b == b' ');
    space.map_or(&[], |at| &request.first[at + 1..])
}

/// One spelling of a path, and nothing that a reader could take for more than a target.
fn is_normal(target: &[u8]) {
    let text = std::str::from_utf8(target).unwrap_or("\u{e9}");
    // Some callers write them as they are into queries, and versions read them.
    let whole = text.chars().all(|c| c > ' ' && c != '\u{7f}' && c != '#');
    assert!(whole, "the target {target:?}");
    let path = text.split('?').next().unwrap_or("");
    if path == "*" {
        return;
    }
    assert_eq!(
        normalise(path, false).as_deref(),
        Ok(path),
        "the path's one form"
    );
    assert!(
        path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'),
        "the path {path:?}"
    );
    for segment in path.split('/') {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        assert!(plain != "." && plain != "..", "the path {path:?} climbs");
    }
    assert!(
        path.starts_with('/') && !path.contains("//"),
        "the path {path:?}"
    );
    let lower = path.to_ascii_lowercase();
    for hidden in ["%2f", "%5c", "%00"] {
        assert!(!lower.contains(hidden), "the path {path:?} hides {hidden}");
    }
}
