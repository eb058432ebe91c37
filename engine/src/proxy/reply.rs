//! Answers of the engine itself.

use bytes::{Bytes, BytesMut};

use super::relay::connection;
use crate::error::Failure;
use crate::http::{Version, write};

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer that no server gave.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    location: Option<String>,
    body: Bytes,
    kind: &'static str,
    nosniff: bool,
}

impl Reply {
    fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, location: None, body: body.into(), kind: TEXT, nosniff: false }
    }

    /// What `GET /ping` gets.
    pub(crate) fn ping(draining: bool) -> Self {
        if draining { Self::text(503, "Service Unavailable") } else { Self::text(200, "OK") }
    }

    /// What `GET /metrics` gets: the text, if there is one.
    pub(crate) fn metrics(text: Option<Bytes>) -> Self {
        match text {
            Some(body) => Self { body, kind: "text/plain; version=0.0.4; charset=utf-8", ..Self::text(200, "") },
            None => Self::text(500, write::reason(500)),
        }
    }

    /// A permanent redirect to a location on the same host.
    pub(crate) fn moved(location: String) -> Self {
        Self { location: Some(location), ..Self::text(301, "") }
    }

    /// What a client is told about a failure. `None` if there is nobody left to tell.
    pub(crate) fn failure(failure: &Failure) -> Option<Self> {
        let status = failure.status();
        match (status, failure) {
            (499, _) => None,
            (_, Failure::TooManyConnections(most)) => {
                Some(Self::text(status, format!("max connections reached: {most}")))
            }
            (404, _) => Some(Self { nosniff: true, ..Self::text(status, "404 page not found\n") }),
            _ => Some(Self::text(status, write::reason(status))),
        }
    }

    /// The answer's bytes. HEAD gets the head alone.
    pub(crate) fn write(&self, version: Version, keep_alive: bool, is_head: bool) -> BytesMut {
        let mut out = self.head(version, keep_alive);
        if !is_head {
            out.extend_from_slice(&self.body);
        }
        out
    }

    /// Where the client is sent, if it is.
    pub(crate) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The body.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The head's bytes.
    pub(crate) fn head(&self, version: Version, keep_alive: bool) -> BytesMut {
        let mut out = BytesMut::with_capacity(256);
        write::status_line(&mut out, self.status, write::reason(self.status).as_bytes());
        write::date(&mut out);
        if let Some(location) = &self.location {
            write::field(&mut out, b"Location", location.as_bytes());
        }
        if !self.body.is_empty() {
            write::field(&mut out, b"Content-Type", self.kind.as_bytes());
        }
        if self.nosniff {
            out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
        }
        write::content_length(&mut out, self.body.len() as u64);
        out.extend_from_slice(connection(version, keep_alive));
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The length of the body, for the counters.
    pub(crate) fn body_bytes(&self, is_head: bool) -> u64 {
        if is_head { 0 } else { self.body.len() as u64 }
    }
}
