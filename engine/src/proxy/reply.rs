//! Answers of the engine itself.

use bytes::BytesMut;

use super::relay::connection;
use crate::error::Failure;
use crate::http::{Version, write};

/// An answer that no server gave.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    location: Option<String>,
    body: &'static str,
    nosniff: bool,
}

impl Reply {
    /// What `GET /ping` gets.
    pub(crate) fn ping(draining: bool) -> Self {
        let (status, body) = if draining { (503, "Service Unavailable") } else { (200, "OK") };
        Self { status, location: None, body, nosniff: false }
    }

    /// A permanent redirect to a location on the same host.
    pub(crate) fn moved(location: String) -> Self {
        Self { status: 301, location: Some(location), body: "", nosniff: false }
    }

    /// What a client is told about a failure. `None` if there is nobody left to tell.
    pub(crate) fn failure(failure: &Failure) -> Option<Self> {
        let status = failure.status();
        match status {
            499 => None,
            404 => Some(Self { status, location: None, body: "404 page not found\n", nosniff: true }),
            _ => Some(Self { status, location: None, body: write::reason(status), nosniff: false }),
        }
    }

    /// The answer's bytes. HEAD gets the head alone.
    pub(crate) fn write(&self, version: Version, keep_alive: bool, is_head: bool) -> BytesMut {
        let mut out = self.head(version, keep_alive);
        if !is_head {
            out.extend_from_slice(self.body.as_bytes());
        }
        out
    }

    /// The body.
    pub(crate) fn body(&self) -> &'static str {
        self.body
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
            out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
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
