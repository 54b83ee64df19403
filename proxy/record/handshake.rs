//! What is counted and told of TLS: how handshakes ended, one closed set of words, and when certificates end.

/// How a handshake ended: the label `result` of `tidegate_tls_handshakes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Handshake {
    /// Done, TLS 1.2.
    Full12,
    /// Done, TLS 1.3.
    Full13,
    /// An earlier session goes on, TLS 1.2.
    Resumed12,
    /// An earlier session goes on, TLS 1.3.
    Resumed13,
    /// The caller showed no certificate that is believed.
    Certificate,
    /// The caller speaks none of the listener's protocols.
    Protocol,
    /// The caller has no version or cipher suite that is spoken.
    Incompatible,
    /// What came is no handshake.
    Malformed,
    /// The caller broke it off, most often because it does not believe the certificate.
    Alert,
    /// The caller left in the middle.
    Closed,
    /// It took too long.
    Timeout,
    /// Too many were under way, and this was the oldest.
    Overload,
    /// HTTP without TLS.
    PlainHttp,
}

impl Handshake {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 13] = [
        Self::Full12,
        Self::Full13,
        Self::Resumed12,
        Self::Resumed13,
        Self::Certificate,
        Self::Protocol,
        Self::Incompatible,
        Self::Malformed,
        Self::Alert,
        Self::Closed,
        Self::Timeout,
        Self::Overload,
        Self::PlainHttp,
    ];

    /// The labels `result` and `version`.
    #[must_use]
    pub const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Full12 => ("full", "1.2"),
            Self::Full13 => ("full", "1.3"),
            Self::Resumed12 => ("resumed", "1.2"),
            Self::Resumed13 => ("resumed", "1.3"),
            Self::Certificate => ("client_certificate", ""),
            Self::Protocol => ("no_protocol", ""),
            Self::Incompatible => ("incompatible", ""),
            Self::Malformed => ("malformed", ""),
            Self::Alert => ("alert", ""),
            Self::Closed => ("closed", ""),
            Self::Timeout => ("timeout", ""),
            Self::Overload => ("overload", ""),
            Self::PlainHttp => ("plain_http", ""),
        }
    }
}

// Counts are indexed by discriminant.
const _: () = {
    let mut i = 0;
    while i < Handshake::ALL.len() {
        assert!(Handshake::ALL[i] as usize == i);
        i += 1;
    }
};

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// The listener's name.
    pub listener: String,
    /// The certificate's file.
    pub certificate: String,
    /// In Unix time.
    pub not_after: i64,
}
