//! What a line tells about a request.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::http::head::Fields;

/// A request that has ended, as the access log sees it.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// When its head had come.
    pub(crate) started: SystemTime,
    /// From then until its answer had left.
    pub(crate) duration: Duration,
    /// Its number, from 1 on, among the requests since the engine started.
    pub(crate) count: u64,
    /// Where it came from.
    pub(crate) client: SocketAddr,
    /// Who the user has proven to be.
    pub(crate) user: Option<&'a str>,
    /// Whether the client's `X-Forwarded-For` is believed.
    pub(crate) trusted: bool,
    /// What was asked.
    pub(crate) request: Asked<'a>,
    /// Who was to answer; `None` if the engine answered for itself.
    pub(crate) target: Option<Target<'a>>,
    /// What was answered there.
    pub(crate) origin: Option<Origin<'a>>,
    /// What the client got: status, bytes of the body, and the fields of the head.
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// The head's fields.
    pub(crate) fields: Option<&'a Fields>,
    /// Attempts after the first.
    pub(crate) retries: u32,
}

/// The request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    /// As the client sent it.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// `HTTP/1.1`
    pub(crate) protocol: &'static str,
    /// With its port, if one was told.
    pub(crate) host: &'a str,
    pub(crate) fields: &'a Fields,
    /// Bytes of the body that were read.
    pub(crate) bytes: u64,
}

/// Who was to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A server of a backend; no server if none could be chosen.
    Server { frontend: &'a str, backend: &'a str, url: &'a str },
    /// The engine itself: what of it.
    Engine(&'a str),
}

/// An answer of a server, or what the client was told because there was none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// From the last attempt's beginning to the answer's end.
    pub(crate) duration: Option<Duration>,
    pub(crate) fields: Option<&'a Fields>,
}

impl<'a> Entry<'a> {
    /// `ClientHost`: what the client's `X-Forwarded-For` says, else nothing.
    pub(super) fn forwarded_for(&self) -> Option<&'a [u8]> {
        let told = self.request.fields.first(crate::http::name::Name::ForwardedFor);
        told.filter(|value| self.trusted && !value.is_empty())
    }

    /// The value of a header of the request.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut fields = self.request.fields.iter();
        fields.find(|(_, known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, _, value)| value)
    }
}

impl<'a> Target<'a> {
    /// `FrontendName`. Traefik leaves the prefix that its own providers' frontends have out.
    pub(super) fn frontend(self) -> &'a str {
        match self {
            Self::Server { frontend, .. } => frontend.strip_prefix("frontend-").unwrap_or(frontend),
            Self::Engine(name) => name,
        }
    }

    /// `BackendName`
    pub(super) fn backend(self) -> &'a str {
        match self {
            Self::Server { backend, .. } => backend,
            Self::Engine(_) => "Traefik",
        }
    }
}

/// Appends a number.
pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A duration as a whole number of nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
