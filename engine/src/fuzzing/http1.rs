//! The HTTP/1 codec.

use bytes::{Buf, Bytes, BytesMut};

use super::accepted;
use crate::http::body::Outgoing;
use crate::http::chunked::{Decoded, Decoder};
use crate::http::head::{Answer, Request, names_a_version};
use crate::http::name::is_forbidden_in_trailers;
use crate::http::scan::{Found, Scanner};
use crate::http::{Framing, Malformed, Version};
use crate::http2;
use crate::proxy::relay;

/// A head, of a request or an answer: fed in pieces it is the same as at once, what is let in is unambiguous, and who gets
/// it from the engine reads the same in it.
pub fn head(data: &[u8]) {
    let whole = Scanner::default().scan(data);
    for step in [1, 7, 64] {
        match (scan_in_steps(data, step), &whole) {
            // Which of several errors is met first depends on how much is seen at once.
            (Err(_), Err(_)) => {}
            (stepwise, whole) => assert_eq!(stepwise, *whole),
        }
    }
    let _ = names_a_version(data);
    let Ok(Found::Head { start, end }) = whole else { return };
    assert_eq!(Scanner::default().scan(&data[..end]), whole, "what follows a head counts");
    let head = Bytes::copy_from_slice(&data[start..end]);
    if let Ok(request) = Request::parse(head.clone()) {
        accepted(&request);
    }
    for method in ["GET", "HEAD"] {
        if let Ok(found) = Answer::parse(head.clone(), method) {
            answer(&found, method);
        }
    }
}

fn scan_in_steps(data: &[u8], step: usize) -> Result<Found, Malformed> {
    let mut scanner = Scanner::default();
    let mut seen = 0;
    loop {
        match scanner.scan(&data[..seen]) {
            Ok(Found::Partial) if seen < data.len() => seen = data.len().min(seen + step),
            other => return other,
        }
    }
}

/// An answer, as clients of each version get it.
fn answer(answer: &Answer, method: &str) {
    assert!((100..=999).contains(&answer.status));
    for (version, word) in [(Version::Http11, "HTTP/1.1"), (Version::Http10, "HTTP/1.0")] {
        let request = Bytes::from(format!("{method} / {word}\r\nHost: a\r\n\r\n"));
        let Ok(request) = Request::parse(request) else { continue };
        let delivery = relay::delivery(answer.framing, version, true);
        let mut text = BytesMut::new();
        relay::answer(answer, &request, delivery, &mut text);
        let Ok(again) = Answer::parse(text.clone().freeze(), method) else {
            // The engine adds fields, so that what was full is too full now.
            assert!(answer.fields.iter().count() > 120, "what is sent is malformed: {text:?}");
            continue;
        };
        assert_eq!(again.status, answer.status);
        let expected = match (answer.framing, delivery.coding) {
            (Framing::None, _) => Framing::None,
            (Framing::Length(length), _) => Framing::Length(length),
            (_, Outgoing::Chunked) => Framing::Chunked,
            (_, Outgoing::Plain) => Framing::UntilClose,
        };
        assert_eq!(again.framing, expected, "{text:?}");
        if let Ok(response) = http2::head::response(text, answer.status) {
            assert!(!response.headers().contains_key("transfer-encoding"));
        }
    }
    let mut text = BytesMut::new();
    relay::interim(answer, &mut text);
    relay::switching(answer, &mut text);
    relay::connected(answer, &mut text);
}

/// What follows a body, and its trailers.
type Rest = (Vec<u8>, Vec<u8>);

/// What came out of a body.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    /// `None` if it does not end.
    end: Result<Option<Rest>, Malformed>,
}

/// A chunked body: fed in pieces it is the same as at once, it is what a plain reading of the grammar finds, and what is
/// passed on of it is the same again.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for step in [1, 2, 5] {
        assert_eq!(decode(data, step), whole);
    }
    let plain = plainly(data);
    let Ok(Some((rest, trailers))) = &whole.end else {
        assert!(plain.is_none(), "{plain:?} was not accepted: {:?}", whole.end);
        return;
    };
    let read = (whole.data.clone(), rest.clone());
    assert!(plain.is_none_or(|plain| plain == read));

    let mut text = BytesMut::new();
    for piece in whole.data.chunks(100) {
        Outgoing::Chunked.data(&mut text, piece);
    }
    Outgoing::Chunked.end(&mut text, |out| out.extend_from_slice(trailers));
    let again = decode(&text, text.len());
    assert_eq!(again.data, whole.data);
    assert_eq!(again.end, Ok(Some((Vec::new(), trailers.clone()))));

    let fields = http2::head::trailers(BytesMut::from(&trailers[..]));
    let fields = fields.map(Option::unwrap_or_default);
    assert!(fields.is_ok_and(|fields| fields.keys().all(|name| !is_forbidden_in_trailers(name.as_str().as_bytes()))));
}

fn decode(data: &[u8], step: usize) -> Body {
    let mut decoder = Decoder::new();
    let mut buffer = BytesMut::new();
    let mut read = Vec::new();
    let mut pieces = data.chunks(step);
    let end = loop {
        match decoder.decode(&mut buffer) {
            Err(error) => break Err(error),
            Ok(Decoded::Data(length)) => {
                read.extend_from_slice(&buffer[..length]);
                buffer.advance(length);
                decoder.consumed(length);
            }
            Ok(Decoded::End) => {
                let mut trailers = BytesMut::new();
                decoder.write_trailers(&mut trailers);
                pieces.for_each(|piece| buffer.extend_from_slice(piece));
                break Ok(Some((buffer.to_vec(), trailers.to_vec())));
            }
            Ok(Decoded::More) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => break Ok(None),
            },
        }
    };
    Body { data: read, end }
}

/// Reads a body without extensions and trailers, line by line (RFC 9112 section 7.1): its data, and what follows it.
fn plainly(mut rest: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut data = Vec::new();
    loop {
        let line = rest.iter().position(|byte| *byte == b'\r').filter(|end| (1..=16).contains(end))?;
        let digits =
            std::str::from_utf8(&rest[..line]).ok().filter(|text| text.bytes().all(|it| it.is_ascii_hexdigit()))?;
        let size = usize::try_from(u64::from_str_radix(digits, 16).ok()?).ok()?;
        rest = rest[line..].strip_prefix(b"\r\n")?;
        data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((data, rest.to_vec()));
        }
    }
}
