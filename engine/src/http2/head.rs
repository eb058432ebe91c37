//! Heads of HTTP/2 in the engine's own form, and back.

use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, StatusCode};
use memchr::memchr;

use crate::http::head::{Answer, Assembly, MAX_FIELDS, Request};
use crate::http::name::{Name, is_forbidden_in_trailers};
use crate::http::scan::{MAX_HEAD, MAX_TARGET};
use crate::http::{Malformed, target};
use crate::http2::websocket;

/// Checks a request's head and brings it into the form that it has in HTTP/1. `is_complete` says that no body follows.
/// An extended CONNECT becomes the opening handshake of a websocket (RFC 8441).
///
/// What the crate has checked: pseudo-header fields are known, single and first; names are lower-case tokens, but for `"`;
/// values have no control characters; there are no fields of connections.
pub(crate) fn request(head: &http::request::Parts, is_complete: bool) -> Result<Request, Malformed> {
    let protocol = head.extensions.get::<Protocol>();
    let is_websocket = match (head.method == Method::CONNECT, protocol.map(Protocol::as_str)) {
        (false, _) => false,
        (true, Some("websocket")) => true,
        (true, Some(_)) => return Err(Malformed::NotImplemented("CONNECT to this protocol")),
        (true, None) => return Err(Malformed::NotImplemented("CONNECT")),
    };
    let method = if is_websocket { "GET" } else { head.method.as_str() };

    let path = head.uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    if path.len() > MAX_TARGET {
        return Err(Malformed::TargetTooLong);
    }
    if !path.starts_with('/') && path != "*" {
        return Err(Malformed::Syntax(":path is not a path"));
    }
    target::parse(method, path)?;
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Malformed::Syntax(":scheme is neither http nor https"));
    }
    let host = host(head)?;

    let mut length = method.len() + path.len() + host.len() + 16;
    for (name, value) in &head.headers {
        length += name.as_str().len() + value.len() + 4;
        if !is_token(name) {
            return Err(Malformed::Syntax("invalid header name"));
        }
        if value.as_bytes().trim_ascii().len() != value.len() {
            return Err(Malformed::Syntax("blanks around a header value"));
        }
    }
    // The host counts as the field that it becomes.
    if length > MAX_HEAD || head.headers.len() >= MAX_FIELDS {
        return Err(Malformed::HeadTooLarge);
    }

    let mut assembly = Assembly::with_capacity(length + 128, head.headers.len() + 5);
    let method = assembly.line(method);
    let path = assembly.line(path);
    let host = assembly.field(b"host", host.as_bytes());
    for name in head.headers.keys() {
        match *name {
            header::HOST => {}
            header::COOKIE => cookies(&head.headers, &mut assembly),
            _ if is_websocket && name == websocket::KEY => {}
            // One that is meant for the next hop only cannot be told from another: none may be left.
            header::CONTENT_LENGTH if is_websocket => {
                return Err(Malformed::Syntax("Content-Length in an extended CONNECT"));
            }
            _ => {
                for value in head.headers.get_all(name) {
                    assembly.field(name.as_str().as_bytes(), value.as_bytes());
                }
            }
        }
    }
    if is_websocket {
        assembly.field(b"connection", b"Upgrade");
        assembly.field(b"upgrade", b"websocket");
        assembly.field(websocket::KEY.as_bytes(), websocket::key().as_bytes());
    }
    Request::assembled(assembly.finish(), [method, path, host], is_complete || is_websocket, is_websocket)
}

/// Whether a name can stand in HTTP/1: the crate takes `"` for a part of names, which it is not (RFC 9110 section 5.6.2).
fn is_token(name: &HeaderName) -> bool {
    memchr(b'"', name.as_str().as_bytes()).is_none()
}

/// Whether a field may be passed on in a trailer section.
fn may_trail(name: &HeaderName) -> bool {
    is_token(name) && !is_forbidden_in_trailers(name.as_str().as_bytes())
}

/// The host that is asked for: `:authority`, or `Host`, or both if they are the same (RFC 9113 section 8.3.1).
fn host(head: &http::request::Parts) -> Result<&str, Malformed> {
    let mut told = head.headers.get_all(header::HOST).iter();
    let field = told.next().map(|value| value.to_str().map_err(|_| Malformed::Syntax("invalid Host"))).transpose()?;
    if told.next().is_some() {
        return Err(Malformed::Syntax("more than one Host"));
    }
    let host = match (head.uri.authority().map(Authority::as_str), field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(Malformed::Syntax("Host differs from :authority"));
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Malformed::Syntax("neither :authority nor Host")),
    };
    if host.is_empty() || !target::is_valid_host(host.as_bytes()) {
        return Err(Malformed::Syntax("invalid :authority or Host"));
    }
    Ok(host)
}

/// Joins the cookies, which HTTP/2 allows to be sent one by one (RFC 9113 section 8.2.3). One that is empty says nothing,
/// and would leave a blank at an end.
fn cookies(fields: &HeaderMap, assembly: &mut Assembly) {
    let mut crumbs = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).filter(|crumb| !crumb.is_empty());
    match (crumbs.next(), crumbs.next()) {
        (Some(first), Some(second)) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).collect();
            assembly.field(b"cookie", &all.join(&b"; "[..]));
        }
        (cookie, _) => {
            assembly.field(b"cookie", cookie.unwrap_or_default());
        }
    }
}

/// Checks the head of an answer to a request with `method`. `is_complete` says that no body follows.
pub(crate) fn answer(head: &http::response::Parts, method: &str, is_complete: bool) -> Result<Answer, Malformed> {
    let length: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if length > MAX_HEAD || head.headers.len() > MAX_FIELDS {
        return Err(Malformed::HeadTooLarge);
    }
    if !head.headers.keys().all(is_token) {
        return Err(Malformed::Syntax("invalid header name"));
    }
    let mut assembly = Assembly::with_capacity(length, head.headers.len());
    for (name, value) in &head.headers {
        assembly.field(name.as_str().as_bytes(), value.as_bytes().trim_ascii());
    }
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => Err(Malformed::Syntax("101 in HTTP/2")),
        status => Answer::assembled(assembly.finish(), status.as_u16(), method, is_complete),
    }
}

/// The head of an answer as HTTP/2 says it, from its text in HTTP/1.
pub(crate) fn response(text: BytesMut, status: u16) -> Result<http::Response<()>, Malformed> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Malformed::Syntax("invalid status"))?;
    *response.headers_mut() = after_start_line(text.freeze())?.1;
    Ok(response)
}

/// The head of a request as HTTP/2 says it, from its text in HTTP/1. An upgrade becomes an extended CONNECT.
pub(crate) fn outgoing(text: BytesMut, tls: bool) -> Result<http::Request<()>, Malformed> {
    let (start_line, fields, host) = after_start_line(text.freeze())?;
    let mut words = start_line.split(|byte| *byte == b' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(Malformed::Syntax("no start line"));
    };
    let path = PathAndQuery::from_maybe_shared(start_line.slice_ref(path))
        .map_err(|_| Malformed::Syntax("path that HTTP/2 cannot say"))?;
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(|_| Malformed::Syntax("invalid method"))?;
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path);
    match host {
        Some(host) if !host.is_empty() => {
            let authority = Authority::from_maybe_shared(host);
            uri.authority = Some(authority.map_err(|_| Malformed::Syntax("invalid Host"))?);
            uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
            *request.version_mut() = http::Version::HTTP_2;
        }
        // An HTTP/1.0 client need not name a host. The crate lets only requests of older versions be without.
        _ => *request.version_mut() = http::Version::HTTP_11,
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed::Syntax("invalid request target"))?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// The trailer section as HTTP/2 says it, from the text of its fields; `None` if there is none.
pub(crate) fn trailers(text: BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = text.freeze();
    let mut fields = HeaderMap::new();
    lines(&text, 0, &mut fields)?;
    Ok(Some(fields))
}

/// Appends the trailer fields that may be passed on to their text in HTTP/1.
pub(crate) fn write_trailers(trailers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in trailers {
        if may_trail(name) {
            crate::http::write::field(out, name.as_str().as_bytes(), value.as_bytes().trim_ascii());
        }
    }
}

/// The trailer fields that may be passed on.
pub(crate) fn filtered(mut trailers: HeaderMap) -> HeaderMap {
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}

/// Splits a head that the engine has written: the start line, the fields, and the host, which is none of them.
fn after_start_line(text: Bytes) -> Result<(Bytes, HeaderMap, Option<Bytes>), Malformed> {
    let end = memchr(b'\r', &text).ok_or(Malformed::Syntax("head ends too early"))?;
    let mut fields = HeaderMap::with_capacity(16);
    let host = lines(&text, end + 2, &mut fields)?;
    Ok((text.slice(..end), fields, host))
}

/// Reads fields that the engine has written, one a line. Those of HTTP/1's connections are left out; `Host` is returned.
fn lines(text: &Bytes, mut at: usize, fields: &mut HeaderMap) -> Result<Option<Bytes>, Malformed> {
    let mut host = None;
    while let Some(length) = text.get(at..).and_then(|rest| memchr(b'\r', rest)) {
        if length == 0 {
            break;
        }
        let line = &text[at..at + length];
        let colon = memchr(b':', line).ok_or(Malformed::Syntax("field without a colon"))?;
        let name = &line[..colon];
        let id = Name::of(name);
        if id == Name::Host {
            host = Some(text.slice_ref(line[colon + 1..].trim_ascii()));
        } else if !is_of_http1(id) {
            let name = HeaderName::from_bytes(name).map_err(|_| Malformed::Syntax("invalid header name"))?;
            let value = text.slice_ref(line[colon + 1..].trim_ascii());
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Syntax("invalid header value"))?;
            fields.try_append(name, value).map_err(|_| Malformed::HeadTooLarge)?;
        }
        at += length + 2;
    }
    Ok(host)
}

/// Fields that HTTP/2 has no use for, or forbids (RFC 9113 section 8.2.2). `TE: trailers` may stay.
fn is_of_http1(name: Name) -> bool {
    matches!(
        name,
        Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::TransferEncoding
            | Name::Upgrade
            | Name::Http2Settings
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Framing;

    fn head(method: &str, uri: &str, fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn parse(head: &http::request::Parts) -> Result<Request, Malformed> {
        request(head, false)
    }

    #[test]
    fn a_request() {
        let fields = [("accept", "a"), ("cookie", "a=1"), ("x-b", ""), ("cookie", "b=2"), ("host", "A.example")];
        let found = parse(&head("POST", "https://a.example/x%20y?q", &fields)).unwrap();
        assert_eq!((found.method(), found.host()), ("POST", "a.example"));
        assert_eq!(found.path_and_query(), ("/x%20y", Some("q")));
        assert_eq!(found.framing, Framing::Chunked);
        let fields: Vec<(&[u8], &[u8])> = found.fields.iter().map(|(_, name, value)| (name, value)).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"host", b"a.example"), (b"accept", b"a"), (b"cookie", b"a=1; b=2"), (b"x-b", b"")];
        assert_eq!(fields, expected);
        assert!(found.upgrade().is_none() && !found.names_fields && found.keep_alive);
    }

    #[test]
    fn empty_cookies_are_left_out() {
        for (cookies, expected) in
            [(&["", "a=1", "", "b=2", ""][..], "a=1; b=2"), (&["", "a=1"], "a=1"), (&["", ""], "")]
        {
            let cookies: Vec<(&str, &str)> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
            let found = parse(&head("GET", "https://a/", &cookies)).unwrap();
            let values: Vec<&[u8]> = found.fields.iter().filter(|it| it.1 == b"cookie").map(|it| it.2).collect();
            assert_eq!(values, [expected.as_bytes()]);
        }
    }

    #[test]
    fn refused() {
        for (method, uri, fields, expected) in [
            ("CONNECT", "a:443", &[][..], "not implemented: CONNECT"),
            ("GET", "ftp://a/", &[], ":scheme is neither http nor https"),
            ("GET", "*", &[("host", "a")], "request target is neither a path nor a URL"),
            ("GET", "/", &[], "neither :authority nor Host"),
            ("GET", "https://a/", &[("host", "b")], "Host differs from :authority"),
            ("GET", "https://u@a/", &[], "invalid :authority or Host"),
            ("GET", "https://a/", &[("host", "a"), ("host", "a")], "more than one Host"),
            ("GET", "https://a/", &[("x", " y")], "blanks around a header value"),
            ("GET", "https://a/", &[("x", "y\t")], "blanks around a header value"),
            ("POST", "https://a/", &[("content-length", "1"), ("content-length", "1")], "more than one Content-Length"),
            ("POST", "https://a/", &[("content-length", "+1")], "Content-Length is not a number"),
        ] {
            let error = parse(&head(method, uri, fields)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{method} {uri} {fields:?}");
        }
        let many: Vec<String> = (0..MAX_FIELDS).map(|number| format!("x-{number}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(parse(&head("GET", "https://a/", &many)).unwrap_err(), Malformed::HeadTooLarge);
        assert!(parse(&head("GET", "https://a/", &many[1..])).is_ok());
        let long = "v".repeat(MAX_HEAD);
        assert_eq!(parse(&head("GET", "https://a/", &[("x", &long)])).unwrap_err(), Malformed::HeadTooLarge);
        let long = format!("https://a/{}", "p".repeat(MAX_TARGET));
        assert_eq!(parse(&head("GET", &long, &[])).unwrap_err(), Malformed::TargetTooLong);
    }

    /// What the crate takes for a name, and HTTP/1 does not.
    #[test]
    fn names_with_quotes_go_no_further() {
        let quoted = HeaderName::from_lowercase(b"x\"y").unwrap();
        let mut head = head("GET", "https://a/", &[]);
        head.headers.insert(quoted.clone(), HeaderValue::from_static("z"));
        assert_eq!(parse(&head).unwrap_err(), Malformed::Syntax("invalid header name"));
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.headers.insert(quoted.clone(), HeaderValue::from_static("z"));
        assert_eq!(answer(&head, "GET", true).unwrap_err(), Malformed::Syntax("invalid header name"));
        let trailers = HeaderMap::from_iter([
            (HeaderName::from_static("x-a"), HeaderValue::from_static("1")),
            (quoted, HeaderValue::from_static("2")),
        ]);
        let mut text = BytesMut::new();
        write_trailers(&trailers, &mut text);
        assert_eq!(text, "x-a: 1\r\n");
        assert_eq!(filtered(trailers).len(), 1);
    }

    #[test]
    fn an_extended_connect_is_a_websockets_handshake() {
        let mut head =
            head("CONNECT", "https://a/chat", &[("sec-websocket-version", "13"), (websocket::KEY, "theirs")]);
        head.extensions.insert(Protocol::from_static("websocket"));
        let found = parse(&head).unwrap();
        assert_eq!((found.method(), found.framing), ("GET", Framing::None));
        assert!(found.is_websocket());
        let keys: Vec<_> =
            found.fields.iter().filter(|(_, name, _)| *name == websocket::KEY.as_bytes()).map(|it| it.2).collect();
        assert!(keys.len() == 1 && keys[0] != b"theirs");
        head.extensions.insert(Protocol::from_static("other"));
        assert!(matches!(parse(&head), Err(Malformed::NotImplemented(_))));
    }

    #[test]
    fn texts() {
        let text = "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nConnection: TE\r\nTE: trailers\r\nx-a: 2\r\n\r\n";
        let made = outgoing(BytesMut::from(text), true).unwrap();
        assert_eq!(made.uri(), "https://h:1/a?b");
        let fields: Vec<_> =
            made.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("x-a", "1"), ("x-a", "2"), ("te", "trailers")]);
        let made = outgoing(BytesMut::from("GET / HTTP/1.1\r\nHost: \r\n\r\n"), false).unwrap();
        assert_eq!((made.uri().to_string().as_str(), made.version()), ("/", http::Version::HTTP_11));

        let made = response(BytesMut::from("HTTP/1.1 299 x\r\nDate: d\r\nSet-Cookie: \r\n\r\n"), 299).unwrap();
        assert_eq!((made.status().as_u16(), made.headers().len()), (299, 2));

        assert!(trailers(BytesMut::new()).unwrap().is_none());
        let section = trailers(BytesMut::from("Grpc-Status: 0\r\nX: \r\n")).unwrap().unwrap();
        assert_eq!(section["grpc-status"], "0");
        let mut out = BytesMut::new();
        let mut section = HeaderMap::new();
        section.insert("content-length", HeaderValue::from_static("1"));
        section.insert("grpc-status", HeaderValue::from_static("0"));
        write_trailers(&section, &mut out);
        assert_eq!(out, "grpc-status: 0\r\n");
        assert_eq!(filtered(section).len(), 1);
    }
}
