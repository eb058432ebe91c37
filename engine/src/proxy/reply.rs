//! Answers of the engine itself.

use bytes::{Bytes, BytesMut};

use super::relay::connection;
use crate::error::Failure;
use crate::http::{Version, write};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// An answer that no server gave.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    body: Bytes,
    kind: &'static str,
    /// More fields, as they are written.
    fields: BytesMut,
}

impl Reply {
    fn text(status: u16, body: &'static str) -> Self {
        Self::plain(status, body)
    }

    /// A text.
    pub(crate) fn plain(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), kind: TEXT, fields: BytesMut::new() }
    }

    /// A redirect with the status's text as its body.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::text(status, write::reason(status)).with("Location", location)
    }

    /// A redirect as Go's `http.Redirect` makes it.
    pub(crate) fn moved_to(status: u16, location: &str, method: &str) -> Self {
        let reply = Self { kind: HTML, ..Self::text(status, "") }.with("Location", location);
        if method != "GET" {
            return reply;
        }
        let mut escaped = String::with_capacity(location.len());
        for it in location.chars() {
            match it {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&#34;"),
                '\'' => escaped.push_str("&#39;"),
                it => escaped.push(it),
            }
        }
        let body = format!("<a href=\"{escaped}\">{}</a>.\n\n", write::reason(status));
        Self { body: body.into(), ..reply }
    }

    /// With another status.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// With another field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        write::field(&mut self.fields, name.as_bytes(), value.as_bytes());
        self
    }

    /// What `GET /ping` gets.
    pub(crate) fn ping(unavailable: bool) -> Self {
        if unavailable { Self::text(503, "Service Unavailable") } else { Self::text(200, "OK") }
    }

    /// What `GET /metrics` gets: the text, if there is one.
    pub(crate) fn metrics(text: Option<Bytes>) -> Self {
        match text {
            Some(body) => Self { body, kind: "text/plain; version=0.0.4; charset=utf-8", ..Self::text(200, "") },
            None => Self::text(500, write::reason(500)),
        }
    }

    /// A permanent redirect to a location on the same host.
    pub(crate) fn moved(location: &str) -> Self {
        Self::text(301, "").with("Location", location)
    }

    /// What a client is told about a failure. `None` if there is nobody left to tell, or nobody who would understand.
    pub(crate) fn failure(failure: &Failure) -> Option<Self> {
        if matches!(failure, Failure::Foreign) {
            return None;
        }
        let status = failure.status();
        match (status, failure) {
            (499, _) => None,
            (_, Failure::TooManyConnections(most)) => {
                Some(Self::plain(status, format!("max connections reached: {most}")))
            }
            (404, _) => Some(Self::text(status, "404 page not found\n").with("X-Content-Type-Options", "nosniff")),
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
        let fields = std::str::from_utf8(&self.fields).ok()?;
        fields.lines().find_map(|line| line.strip_prefix("Location: "))
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
        if !self.body.is_empty() {
            write::field(&mut out, b"Content-Type", self.kind.as_bytes());
        }
        out.extend_from_slice(&self.fields);
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
