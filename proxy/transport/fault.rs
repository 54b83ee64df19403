//! Why a handshake of TLS failed that this side began, in words for whoever has to put it right.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake failed. It reads after the name of who was called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its first bytes were no TLS.
    #[error("what it says is no TLS; does it speak plain HTTP there?")]
    NotTls,
    /// It ended the connection without a reason.
    #[error("it closed the connection in the handshake")]
    Closed,
    /// No version of TLS, or nothing else, in common.
    #[error("it speaks neither TLS 1.2 nor 1.3 as it is spoken here: {0}")]
    Incompatible(String),
    /// Nothing of what was offered is spoken behind TLS.
    #[error("it does not agree to speak {0} (ALPN)")]
    Protocol(&'static str),
    /// Nobody who is believed vouches for its certificate.
    #[error(
        "its certificate is not signed by an authority that is believed here; name its authority in `ca`"
    )]
    Authority,
    /// Its certificate has ended, or has not begun.
    #[error("{0}")]
    Time(String),
    /// Its certificate is somebody else's.
    #[error("its {0}; name in `server_name` whom it is to be")]
    Name(String),
    /// Something else is wrong with its certificate.
    #[error("its certificate cannot be believed: {0}")]
    Certificate(String),
    /// It does not believe what was shown, or misses it.
    #[error("{0}")]
    Client(&'static str),
    /// Anything else.
    #[error("the handshake failed: {0}")]
    Other(String),
}

impl Fault {
    /// The words that [`Fault::word`] may be.
    pub const WORDS: [&str; 10] = [
        "not_tls",
        "closed",
        "incompatible",
        "protocol",
        "authority",
        "time",
        "name",
        "certificate",
        "client_certificate",
        "other",
    ];

    /// Where its word stands among [`Fault::WORDS`].
    pub fn kind(&self) -> usize {
        match self {
            Self::NotTls => 0,
            Self::Closed => 1,
            Self::Incompatible(_) => 2,
            Self::Protocol(_) => 3,
            Self::Authority => 4,
            Self::Time(_) => 5,
            Self::Name(_) => 6,
            Self::Certificate(_) => 7,
            Self::Client(_) => 8,
            Self::Other(_) => 9,
        }
    }

    /// One word, for counters.
    pub fn word(&self) -> &'static str {
        Self::WORDS[self.kind()]
    }

    /// What an error in a handshake means; `offered` is what was to be spoken.
    pub fn of(error: &io::Error, offered: &'static str) -> Self {
        let Some(told) = told(error) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Closed,
                _ => Self::Other(error.to_string()),
            };
        };
        match told {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(why) => Self::Incompatible(format!("{why:?}")),
            Error::NoApplicationProtocol => Self::Protocol(offered),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented => Self::Certificate("it shows none".to_owned()),
            Error::AlertReceived(alert) => Self::of_alert(*alert, offered),
            other => Self::Other(other.to_string()),
        }
    }

    /// What an error on a connection means that was not answered yet, where it belongs to the handshake: TLS 1.3 ends it
    /// on this side before the other one has looked at our certificate, so its refusal comes behind the first request.
    pub fn behind_handshake(error: &io::Error) -> Option<Self> {
        match told(error)? {
            Error::AlertReceived(alert) => of_client(*alert),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::Authority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::Time("its certificate has ended; or this machine's clock is wrong".to_owned())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::Time(
                    "its certificate does not hold yet; or this machine's clock is wrong"
                        .to_owned(),
                )
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name(error.to_string())
            }
            other => Self::Certificate(other.to_string()),
        }
    }

    fn of_alert(alert: AlertDescription, offered: &'static str) -> Self {
        match alert {
            AlertDescription::NoApplicationProtocol => Self::Protocol(offered),
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
                Self::Incompatible("it says so itself".to_owned())
            }
            AlertDescription::HandshakeFailure => Self::Other(
                "it says no more than that; it may miss a client certificate, or share no cipher with us".to_owned(),
            ),
            AlertDescription::UnrecognisedName => Self::Name(
                "answer is that it has no certificate for the name that was asked for".to_owned(),
            ),
            other => of_client(other)
                .unwrap_or_else(|| Self::Other(format!("it ended it by {other:?}"))),
        }
    }
}

/// What the other end says of the certificate that it was shown, or misses.
fn of_client(alert: AlertDescription) -> Option<Fault> {
    let why = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it asks for a client certificate; name one in `cert` and `key`"
        }
        AlertDescription::UnknownCA => {
            "it does not believe the authority of our client certificate; ask it which one it believes"
        }
        AlertDescription::CertificateExpired => "our client certificate has ended; replace it",
        AlertDescription::CertificateRevoked => "our client certificate was revoked; replace it",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            "it does not accept our client certificate, or misses one; see what its log says"
        }
        _ => return None,
    };
    Some(Fault::Client(why))
}

/// What rustls says, where it is the one who speaks.
fn told(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> Fault {
        Fault::of(&io::Error::new(io::ErrorKind::InvalidData, error), "HTTP/2")
    }

    #[test]
    fn every_fault_has_a_word_of_its_own() {
        let text = || "why".to_owned();
        let faults = [
            Fault::NotTls,
            Fault::Closed,
            Fault::Incompatible(text()),
            Fault::Protocol("HTTP/2"),
            Fault::Authority,
            Fault::Time(text()),
            Fault::Name(text()),
            Fault::Certificate(text()),
            Fault::Client("why"),
            Fault::Other(text()),
        ];
        let words: Vec<_> = faults.iter().map(Fault::word).collect();
        assert_eq!(words, Fault::WORDS);
    }

    #[test]
    fn errors_are_told_in_words() {
        let closed = io::Error::from(io::ErrorKind::ConnectionReset);
        for (fault, word, text) in [
            (
                Fault::of(&closed, "HTTP/2"),
                "closed",
                "closed the connection",
            ),
            (of(Error::NoApplicationProtocol), "protocol", "speak HTTP/2"),
            (
                of(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "authority",
                "name its authority in `ca`",
            ),
            (
                of(Error::AlertReceived(AlertDescription::CertificateRequired)),
                "client_certificate",
                "name one in `cert` and `key`",
            ),
            (
                of(Error::AlertReceived(AlertDescription::ProtocolVersion)),
                "incompatible",
                "TLS 1.2",
            ),
        ] {
            assert_eq!(fault.word(), word);
            assert!(fault.to_string().contains(text), "{fault}");
        }
    }

    #[test]
    fn only_the_refusal_of_our_certificate_comes_behind_the_handshake() {
        let alert = |alert| {
            let error = Error::AlertReceived(alert);
            Fault::behind_handshake(&io::Error::new(io::ErrorKind::InvalidData, error))
        };
        assert!(alert(AlertDescription::UnknownCA).is_some());
        assert!(alert(AlertDescription::InternalError).is_none());
        assert!(Fault::behind_handshake(&io::ErrorKind::ConnectionReset.into()).is_none());
    }
}
