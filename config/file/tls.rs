//! `listeners[].tls` and `services[].tls`, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PathText;

/// Callers must speak TLS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// What is shown to callers, by the server name that they ask for; at least one. Who asks for no name, or for one that
    /// none has, gets the first.
    pub(crate) certificates: Vec<ServerCertificate>,
    /// The oldest version that is spoken: `"1.2"` (default) or `"1.3"`.
    pub(crate) min_version: Option<TlsVersion>,
    /// Whether callers show certificates. Default: they are not asked.
    pub(crate) client_auth: Option<ClientAuth>,
}

/// A certificate that is shown to callers. The files are read again when they change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerCertificate {
    /// For which server names: `shop.example.com`, `*.example.com`. Default: the names in the certificate.
    pub(crate) hosts: Option<Vec<String>>,
    /// A PEM file with the certificate, then those between it and its authority.
    pub(crate) cert: PathText,
    /// A PEM file with the certificate's private key: PKCS #8, PKCS #1 or SEC 1.
    pub(crate) key: PathText,
    /// A file with the authority's OCSP answer (DER), which is stapled to handshakes.
    pub(crate) ocsp: Option<PathText>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether callers show certificates.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuth {
    /// `none`, `optional` (who shows one must show a good one) or `required`.
    pub(crate) mode: ClientAuthMode,
    /// A PEM file with the authorities that vouch for callers.
    pub(crate) ca: Option<PathText>,
}

/// Whether callers show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuthMode {
    /// They are not asked.
    None,
    /// They are asked, and may have none.
    Optional,
    /// They must.
    Required,
}

/// Endpoints are spoken to by TLS.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceTls {
    /// A PEM file with the authorities that vouch for the endpoints. Default: those of the machine.
    pub(crate) ca: Option<PathText>,
    /// The name that endpoints must have in their certificate. Default: their IP address.
    pub(crate) server_name: Option<String>,
    /// A PEM file with the certificate that is shown to endpoints; needs `key`.
    pub(crate) cert: Option<PathText>,
    /// A PEM file with its private key.
    pub(crate) key: Option<PathText>,
}
