//! What a stranger must not tell a version: where a request came from, and who was proved to be at its other end. Only a
//! proxy in front of a version can know, and versions believe whoever says it.

/// Whether a header of this name, lower case with hyphens, says who is at the other end.
pub fn is_hearsay(name: &str) -> bool {
    const FAMILIES: [&str; 5] = [
        "x-forwarded-",
        "x-real-",
        "x-ssl-",
        "ssl-client-",
        "x-client-cert",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
        || matches!(
            name,
            "forwarded"
                | "x-ssl"
                | "client-cert"             // RFC 9440
                | "client-cert-chain"
                | "ssl-cipher"
                | "ssl-protocol"
                | "ssl-session-id"
                | "x-client-dn"
                | "x-client-verify"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-original-forwarded-for"
                | "x-arr-clientcert"
                | "true-client-ip"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_the_other_end_is_known_by_its_name() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-forwarded-tls-client-cert-info",
            "x-real-ip",
            "x-ssl-client-s-dn",
            "ssl-client-verify",
            "x-client-cert-chain",
            "client-cert",
        ] {
            assert!(is_hearsay(name), "{name}");
        }
        for name in [
            "x-client",
            "x-forwarder",
            "accept",
            "x-client-version",
            "x-realm",
        ] {
            assert!(!is_hearsay(name), "{name}");
        }
    }
}
