//! Heads on their way through: a client's request as the server gets it, a server's answer as the client gets it.

use bytes::BytesMut;

use super::forwarded::{self, Origin};
use crate::http::body::Outgoing;
use crate::http::head::{Answer, Request, tokens};
use crate::http::name::{Name, resembles_framing};
use crate::http::{Framing, Version, write};
use crate::http2::websocket::ACCEPT;
use crate::snapshot::table::{Route, Server};

/// What a request becomes on its way to a server.
#[derive(Debug)]
pub(crate) struct Rewritten {
    /// The path, escaped.
    pub(crate) path: Option<String>,
    /// Header fields that tell of changes of the path.
    pub(crate) fields: BytesMut,
}

/// The head of a request as `server` gets it; `framing` is how its body comes there.
pub(crate) fn request(
    request: &Request,
    framing: Framing,
    rewritten: &Rewritten,
    route: &Route,
    server: &Server,
    origin: &Origin<'_>,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    let (path, query) = request.path_and_query();
    out.extend_from_slice(request.method().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(rewritten.path.as_deref().unwrap_or(path).as_bytes());
    if let Some(query) = query {
        out.extend_from_slice(b"?");
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = if route.pass_host_header { request.host() } else { &server.host_header };
    write::field(&mut out, b"Host", host.as_bytes());

    for (id, name, value) in request.fields.iter() {
        let ends_here = match id {
            Name::Host | Name::ContentLength => true,
            Name::Trailer => framing != Framing::Chunked,
            id if id.is_hop_by_hop() || forwarded::is_rewritten(id, origin) => true,
            _ => resembles_framing(name) || (route.forward_client_identity && forwarded::claims_identity(name)),
        };
        let is_named = request.names_fields && request.fields.is_named_in_connection(name);
        if !ends_here && !is_named {
            write::field(&mut out, name, value);
        }
    }
    match framing {
        Framing::Length(length) => write::content_length(&mut out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    let takes_trailers =
        request.fields.values(Name::Te).flat_map(tokens).any(|it| it.eq_ignore_ascii_case(b"trailers"));
    match (request.upgrade(), takes_trailers) {
        (Some(protocol), _) => {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            write::field(&mut out, b"Upgrade", protocol);
        }
        (None, true) => out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n"),
        (None, false) => {}
    }
    forwarded::write(&mut out, request, origin);
    if route.forward_client_identity {
        forwarded::write_identity(&mut out, route, origin);
    }
    out.extend_from_slice(&rewritten.fields);
    out.extend_from_slice(b"\r\n");
    out
}

/// How an answer reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// How its body is written.
    pub(crate) coding: Outgoing,
    /// Whether the connection can go on afterwards.
    pub(crate) keep_alive: bool,
}

/// Decides how a body that comes like this is written to a client that speaks `version` and would keep its connection or not.
pub(crate) fn delivery(framing: Framing, version: Version, keep_alive: bool) -> Delivery {
    match (framing, version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Delivery { coding: Outgoing::Chunked, keep_alive },
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
            Delivery { coding: Outgoing::Plain, keep_alive: false }
        }
        // HTTP/2 has framing of its own.
        (_, Version::Http2) => Delivery { coding: Outgoing::Plain, keep_alive: true },
        (Framing::None | Framing::Length(_), _) => Delivery { coding: Outgoing::Plain, keep_alive },
    }
}

/// Appends the head of an answer as the client gets it.
pub(crate) fn answer(answer: &Answer, request: &Request, delivery: Delivery, out: &mut BytesMut) {
    write::status_line(out, answer.status, answer.reason());
    let has_trailers = delivery.coding == Outgoing::Chunked || request.version == Version::Http2;
    fields(answer, out, |id, _| id == Name::Trailer && !has_trailers);
    if answer.fields.first(Name::Date).is_none() {
        write::date(out);
    }
    let is_chunked = answer.fields.first(Name::TransferEncoding).is_some();
    if delivery.coding == Outgoing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if let Some(length) = answer.told_length.filter(|_| !is_chunked && answer.status != 204) {
        write::content_length(out, length);
    } else if is_chunked && request.method() == "HEAD" && request.version == Version::Http11 {
        // What GET would get (RFC 9110 section 9.3.2).
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(connection(request.version, delivery.keep_alive));
    out.extend_from_slice(b"\r\n");
}

/// The `Connection` field that tells a client what was decided, if it needs to be told.
pub(crate) fn connection(version: Version, keep_alive: bool) -> &'static [u8] {
    match (version, keep_alive) {
        (Version::Http2, _) => b"",
        (_, false) => b"Connection: close\r\n",
        (Version::Http10, true) => b"Connection: keep-alive\r\n",
        (Version::Http11, true) => b"",
    }
}

/// Appends an interim answer (100, 103).
pub(crate) fn interim(answer: &Answer, out: &mut BytesMut) {
    write::status_line(out, answer.status, answer.reason());
    fields(answer, out, |_, _| false);
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer that changes the protocol (101).
pub(crate) fn switching(answer: &Answer, out: &mut BytesMut) {
    write::status_line(out, answer.status, answer.reason());
    fields(answer, out, |_, _| false);
    for protocol in answer.fields.values(Name::Upgrade) {
        write::field(out, b"Upgrade", protocol);
    }
    out.extend_from_slice(b"Connection: Upgrade\r\n\r\n");
}

/// Appends the answer that opens a tunnel in a stream of HTTP/2 (RFC 8441 section 5).
pub(crate) fn connected(answer: &Answer, out: &mut BytesMut) {
    write::status_line(out, 200, b"OK");
    fields(answer, out, |_, name| name.eq_ignore_ascii_case(ACCEPT.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that do not end here.
fn fields(answer: &Answer, out: &mut BytesMut, dropped: impl Fn(Name, &[u8]) -> bool) {
    for (id, name, value) in answer.fields.iter() {
        let ends_here = id.is_hop_by_hop()
            || id == Name::ContentLength
            || dropped(id, name)
            || (answer.names_fields && answer.fields.is_named_in_connection(name));
        if !ends_here {
            write::field(out, name, value);
        }
    }
}
