//! One JSON object a line, with the names of Traefik 1.7.

use std::time::SystemTime;

use super::clock::{Clock, Zone};
use super::escape;
use super::fields::{Field, Layout, Mode};
use super::line::{Entry, Target, decimal, nanoseconds};
use crate::http::head;
use crate::http::name::Name;
use crate::http::target::split_port;

/// Appends a line.
pub(crate) fn write(out: &mut Vec<u8>, layout: &Layout, clock: &mut Clock, entry: &Entry<'_>) {
    let mut object = Object { out, layout };
    object.out.push(b'{');
    backend(&mut object, entry);
    client(&mut object, entry);
    object.number(Field::DownstreamContentSize, "DownstreamContentSize", entry.bytes);
    object.number(Field::DownstreamStatus, "DownstreamStatus", u64::from(entry.status));
    object.status_line(Field::DownstreamStatusLine, "DownstreamStatusLine", entry.status);
    object.number(Field::Duration, "Duration", nanoseconds(entry.duration));
    if let Some(target) = entry.target {
        object.text(Field::FrontendName, "FrontendName", target.frontend().as_bytes());
    }
    if let Some(origin) = entry.origin {
        object.number(Field::OriginContentSize, "OriginContentSize", origin.bytes);
        if let Some(duration) = origin.duration {
            object.number(Field::OriginDuration, "OriginDuration", nanoseconds(duration));
        }
        object.number(Field::OriginStatus, "OriginStatus", u64::from(origin.status));
        object.status_line(Field::OriginStatusLine, "OriginStatusLine", origin.status);
    }
    let at_origin = entry.origin.and_then(|origin| origin.duration).unwrap_or_default();
    object.number(Field::Overhead, "Overhead", nanoseconds(entry.duration.saturating_sub(at_origin)));
    request(&mut object, entry);
    if object.begin(Field::StartLocal, "StartLocal") {
        object.time(|out| clock.rfc3339(out, entry.started, Zone::Local));
    }
    if object.begin(Field::StartUtc, "StartUTC") {
        object.time(|out| clock.rfc3339(out, entry.started, Zone::Utc));
    }
    object.headers("downstream_", entry.fields);
    object.key(b"level");
    object.out.extend_from_slice(b"\"info\",\"msg\":\"\",");
    object.headers("origin_", entry.origin.and_then(|origin| origin.fields));
    object.headers("request_", Some(entry.request.fields));
    object.key(b"time");
    object.time(|out| clock.seconds(out, SystemTime::now(), Zone::Local));
    // The comma after the last one.
    object.out.pop();
    object.out.extend_from_slice(b"}\n");
}

fn backend(object: &mut Object<'_>, entry: &Entry<'_>) {
    let Some(target) = entry.target else { return };
    let (scheme, host, path) = match target {
        Target::Server { url, .. } => {
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            object.text(Field::BackendAddr, "BackendAddr", host.as_bytes());
            (scheme, host, path)
        }
        Target::Engine(_) => ("", "", entry.request.path),
    };
    object.text(Field::BackendName, "BackendName", target.backend().as_bytes());
    if object.begin(Field::BackendUrl, "BackendURL") {
        // The form of Go's net/url.URL.
        object.out.extend_from_slice(b"{\"Scheme\":\"");
        escape::json(object.out, scheme.as_bytes());
        object.out.extend_from_slice(b"\",\"Opaque\":\"\",\"User\":null,\"Host\":\"");
        escape::json(object.out, host.as_bytes());
        object.out.extend_from_slice(b"\",\"Path\":\"");
        escape::json(object.out, path.as_bytes());
        object.out.extend_from_slice(b"\",\"RawPath\":\"\",\"ForceQuery\":false,\"RawQuery\":\"\",\"Fragment\":\"\"},");
    }
}

fn client(object: &mut Object<'_>, entry: &Entry<'_>) {
    let ip = entry.client.ip().to_canonical();
    let address = std::net::SocketAddr::new(ip, entry.client.port());
    object.text(Field::ClientAddr, "ClientAddr", address.to_string().as_bytes());
    match entry.forwarded_for() {
        Some(told) => object.text(Field::ClientHost, "ClientHost", told),
        None => object.text(Field::ClientHost, "ClientHost", ip.to_string().as_bytes()),
    }
    object.text(Field::ClientPort, "ClientPort", entry.client.port().to_string().as_bytes());
    object.text(Field::ClientUsername, "ClientUsername", entry.user.unwrap_or("-").as_bytes());
}

fn request(object: &mut Object<'_>, entry: &Entry<'_>) {
    let request = entry.request;
    let (host, port) = split_port(request.host.as_bytes());
    if !request.host.is_empty() {
        object.text(Field::RequestAddr, "RequestAddr", request.host.as_bytes());
    }
    object.number(Field::RequestContentSize, "RequestContentSize", request.bytes);
    object.number(Field::RequestCount, "RequestCount", entry.count);
    if !request.host.is_empty() {
        let bare = host.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")).filter(|_| port.is_some());
        object.text(Field::RequestHost, "RequestHost", bare.unwrap_or(host));
    }
    if object.begin(Field::RequestLine, "RequestLine") {
        object.out.push(b'"');
        escape::json(object.out, request.method.as_bytes());
        object.out.push(b' ');
        object.path(entry);
        object.out.push(b' ');
        object.out.extend_from_slice(request.protocol.as_bytes());
        object.out.extend_from_slice(b"\",");
    }
    object.text(Field::RequestMethod, "RequestMethod", request.method.as_bytes());
    if object.begin(Field::RequestPath, "RequestPath") {
        object.out.push(b'"');
        object.path(entry);
        object.out.extend_from_slice(b"\",");
    }
    if !request.host.is_empty() {
        object.text(Field::RequestPort, "RequestPort", port.unwrap_or(b"-"));
    }
    object.text(Field::RequestProtocol, "RequestProtocol", request.protocol.as_bytes());
    object.number(Field::RetryAttempts, "RetryAttempts", u64::from(entry.retries));
}

/// A JSON object that is being written. Every member ends with a comma.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    layout: &'a Layout,
}

impl Object<'_> {
    fn key(&mut self, name: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b"\":");
    }

    /// Appends the name of a field, if it is kept.
    fn begin(&mut self, field: Field, name: &str) -> bool {
        let is_kept = self.layout.fields.has(field);
        if is_kept {
            self.key(name.as_bytes());
        }
        is_kept
    }

    fn text(&mut self, field: Field, name: &str, text: &[u8]) {
        if self.begin(field, name) {
            self.string(text);
        }
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        escape::json(self.out, text);
        self.out.extend_from_slice(b"\",");
    }

    fn number(&mut self, field: Field, name: &str, number: u64) {
        if self.begin(field, name) {
            decimal(self.out, number);
            self.out.push(b',');
        }
    }

    fn status_line(&mut self, field: Field, name: &str, status: u16) {
        if self.begin(field, name) {
            self.out.push(b'"');
            decimal(self.out, u64::from(status));
            self.out.push(b' ');
            self.out.extend_from_slice(status_text(status).as_bytes());
            self.out.extend_from_slice(b"\",");
        }
    }

    fn time(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.extend_from_slice(b"\",");
    }

    fn path(&mut self, entry: &Entry<'_>) {
        escape::json(self.out, entry.request.path.as_bytes());
        if let Some(query) = entry.request.query {
            self.out.push(b'?');
            escape::json(self.out, query.as_bytes());
        }
    }

    /// Appends the headers that are kept, each once with its first value, under their canonical names.
    fn headers(&mut self, prefix: &str, fields: Option<&head::Fields>) {
        let Some(fields) = fields.filter(|_| !self.layout.headers.are_dropped()) else { return };
        for (index, (id, name, value)) in fields.iter().enumerate() {
            // As in Go, Host is no header; what frames the message is.
            if id == Name::Host || fields.iter().take(index).any(|(_, known, _)| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            match self.layout.headers.mode(name) {
                Mode::Drop => {}
                mode => {
                    self.out.push(b'"');
                    self.out.extend_from_slice(prefix.as_bytes());
                    canonical(self.out, name);
                    self.out.extend_from_slice(b"\":");
                    self.string(if mode == Mode::Keep { value } else { b"REDACTED" });
                }
            }
        }
    }
}

/// Appends a header's name as Go writes it: a capital first and after each hyphen. Names are tokens, which JSON need not
/// escape.
fn canonical(out: &mut Vec<u8>, name: &[u8]) {
    let mut upper = true;
    for byte in name {
        out.push(if upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() });
        upper = *byte == b'-';
    }
}

/// What Go's `http.StatusText` says.
fn status_text(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "",
    }
}
