//! `compress`: bodies on their way to clients that want them compressed, with gzip (RFC 1952).

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Passage, Step};
use crate::http::Framing;
use crate::http::head::{Answer, tokens};
use crate::http::name::Name;

/// A body that is known to be shorter is left as it is.
pub(crate) const LEAST: u64 = 1400;
/// A good deal of what is to be gained, for half of the time that the best would take.
const LEVEL: u32 = 5;

/// What the client wants of an answer's body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nobody looks at it.
    #[default]
    Untouched,
    /// It cannot be compressed; but others are.
    Plain,
    /// With gzip.
    Gzip,
}

/// `compress`.
pub(super) fn step<'c>(passage: &mut Passage<'_>) -> Step<'c> {
    let is_grpc = passage.get(b"Content-Type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
    if !is_grpc {
        let is_wanted = passage.values("Accept-Encoding").into_iter().any(accepts_gzip);
        passage.finish.compress = if is_wanted { Wanted::Gzip } else { Wanted::Plain };
    }
    Step::Continue
}

/// Whether `Accept-Encoding` names gzip, and not to exclude it.
fn accepts_gzip(value: &[u8]) -> bool {
    tokens(value).any(|token| {
        let mut parts = token.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let weight = weight.map_or(Some(1.0), |text| std::str::from_utf8(text).ok()?.parse::<f32>().ok());
        name.eq_ignore_ascii_case(b"gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}

impl Wanted {
    /// The head of an answer that passes here, and what compresses its body, if anything does. `is_short` says that the
    /// whole body has come, and is not worth it.
    pub(crate) fn apply(self, answer: Answer, method: &str, is_short: bool) -> (Answer, Option<Box<Encoder>>) {
        if self == Self::Untouched {
            return (answer, None);
        }
        let is = |name: &[u8], known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let has = |known: &str| answer.fields.iter().any(|(_, name, _)| is(name, known));
        let varies = answer.fields.iter().filter(|(_, name, _)| is(name, "Vary")).flat_map(|it| tokens(it.2));
        let is_told = varies.into_iter().any(|token| token == b"*" || is(token, "Accept-Encoding"));
        let vary = (!is_told).then_some((&b"Vary"[..], &b"Accept-Encoding"[..]));
        let is_long = match answer.framing {
            Framing::None => false,
            Framing::Length(length) => length >= LEAST,
            Framing::Chunked | Framing::UntilClose => !is_short,
        };
        let is_whole = answer.status != 206 && !has("Content-Range");
        if self == Self::Plain || method == "HEAD" || !is_long || !is_whole || has("Content-Encoding") {
            let answer = if vary.is_some() { answer.edited(|_, _| true, vary.into_iter()) } else { answer };
            return (answer, None);
        }
        // What a strong tag says is that not a byte differs (RFC 9110 section 8.8.1).
        let mut tags = answer.fields.iter().filter(|(_, name, _)| is(name, "ETag"));
        let tag =
            tags.next().map(|(_, _, tag)| if tag.starts_with(b"W/") { tag.to_vec() } else { [b"W/", tag].concat() });
        let coding = [(&b"Content-Encoding"[..], &b"gzip"[..])];
        let added = coding.into_iter().chain(vary).chain(tag.as_deref().map(|tag| (&b"ETag"[..], tag)));
        let keeps = |id, name: &[u8]| id != Name::ContentLength && !is(name, "ETag") && !is(name, "Accept-Ranges");
        let mut made = answer.edited(keeps, added);
        made.told_length = None;
        (made, Some(Box::new(Encoder::new())))
    }
}

/// Compresses one body.
#[derive(Debug)]
pub(crate) struct Encoder {
    gzip: GzEncoder<Vec<u8>>,
    /// Whether there is something in it that has not come out.
    holds: bool,
}

impl Encoder {
    fn new() -> Self {
        Self { gzip: GzEncoder::new(Vec::new(), Compression::new(LEVEL)), holds: false }
    }

    /// Takes a piece of the body, and returns what comes out, which may be nothing.
    pub(crate) fn encode(&mut self, data: &[u8]) -> Bytes {
        // Writing to memory does not fail.
        let _ = self.gzip.write_all(data);
        self.holds = true;
        self.take()
    }

    /// Has all come out that was taken, since nobody knows when more comes. `None` if it has already.
    pub(crate) fn flush(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.holds, false) {
            return None;
        }
        let _ = self.gzip.flush();
        Some(self.take()).filter(|out| !out.is_empty())
    }

    /// What comes out at the end of the body.
    pub(crate) fn finish(mut self) -> Bytes {
        let _ = self.gzip.try_finish();
        self.take()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.gzip.get_mut()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::Asked;
    use proptest::prelude::*;
    use std::io::Read as _;

    fn wanted(fields: &str) -> Wanted {
        let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", fields);
        let mut passage = asked.passage();
        step(&mut passage);
        passage.finish.compress
    }

    #[test]
    fn what_clients_want() {
        for (value, expected) in [
            ("gzip", Wanted::Gzip),
            ("deflate, GZIP;q=0.5", Wanted::Gzip),
            ("br, gzip; q=0", Wanted::Plain),
            ("gzip;q=x", Wanted::Plain),
            ("identity", Wanted::Plain),
            ("*", Wanted::Plain),
            ("xgzip", Wanted::Plain),
        ] {
            assert_eq!(wanted(&format!("Accept-Encoding: {value}\r\n")), expected, "{value}");
        }
        assert_eq!(wanted(""), Wanted::Plain);
        assert_eq!(wanted("Accept-Encoding: gzip\r\nContent-Type: application/grpc+proto\r\n"), Wanted::Untouched);
    }

    fn answered(wanted: Wanted, text: &str, is_short: bool) -> (Vec<String>, bool) {
        let answer = Answer::parse(Bytes::from(format!("HTTP/1.1 {text}\r\n")), "GET").unwrap();
        let (answer, encoder) = wanted.apply(answer, "GET", is_short);
        let line = |(_, name, value): (Name, &[u8], &[u8])| {
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        (answer.fields.iter().map(line).collect(), encoder.is_some())
    }

    #[test]
    fn heads() {
        let long = "200 OK\r\nContent-Length: 1400\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nX: 1\r\n";
        let (fields, is_compressed) = answered(Wanted::Gzip, long, false);
        assert!(is_compressed);
        assert_eq!(fields, ["X: 1", "Content-Encoding: gzip", "Vary: Accept-Encoding", "ETag: W/\"a\""]);
        let varies = "200 OK\r\nContent-Length: 1400\r\nVary: Origin, accept-encoding\r\n";
        assert_eq!(
            answered(Wanted::Gzip, varies, false).0,
            ["Vary: Origin, accept-encoding", "Content-Encoding: gzip"]
        );
        for (wanted, text, is_short) in [
            (Wanted::Plain, long, false),
            (Wanted::Gzip, "200 OK\r\nContent-Length: 1399\r\n", false),
            (Wanted::Gzip, "200 OK\r\nTransfer-Encoding: chunked\r\n", true),
            (Wanted::Gzip, "200 OK\r\nContent-Length: 9999\r\nContent-Encoding: br\r\n", false),
            (Wanted::Gzip, "206 Partial Content\r\nContent-Length: 9999\r\n", false),
            (Wanted::Gzip, "304 Not Modified\r\nContent-Length: 9999\r\n", false),
        ] {
            let (fields, is_compressed) = answered(wanted, text, is_short);
            assert!(!is_compressed && fields.last().unwrap() == "Vary: Accept-Encoding", "{text}");
        }
        assert!(answered(Wanted::Gzip, "200 OK\r\nTransfer-Encoding: chunked\r\n", false).1);
        assert_eq!(answered(Wanted::Untouched, "200 OK\r\nX: 1\r\n", false).0, ["X: 1"]);
    }

    fn plain(compressed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // A body that is not complete yet is fine up to there.
        let _ = flate2::read::GzDecoder::new(compressed).read_to_end(&mut out);
        out
    }

    proptest! {
        #[test]
        fn bodies(pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..8)) {
            let mut encoder = Encoder::new();
            let (mut sent, mut out) = (Vec::new(), Vec::new());
            for (piece, flushed) in &pieces {
                out.extend_from_slice(&encoder.encode(piece));
                sent.extend_from_slice(piece);
                if *flushed {
                    out.extend_from_slice(&encoder.flush().unwrap_or_default());
                    prop_assert_eq!(&plain(&out), &sent);
                    prop_assert!(encoder.flush().is_none());
                }
            }
            out.extend_from_slice(&encoder.finish());
            let mut whole = Vec::new();
            flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut whole).unwrap();
            prop_assert_eq!(whole, sent);
        }
    }
}
