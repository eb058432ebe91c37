//! `compress`: bodies on their way to clients that want them compressed: with gzip (RFC 1952), as in Traefik 1.7, or with
//! zstd (RFC 8878) or brotli (RFC 7932) for who would rather have these.

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
const GZIP_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 1;
const BROTLI_LEVEL: u32 = 4;
/// How far back repetitions are looked for, as a power of 2: most of what a body's encoder takes of memory.
const WINDOW: u32 = 18;

/// What the client wants of an answer's body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nobody looks at it.
    #[default]
    Untouched,
    /// It cannot be compressed; but others are.
    Plain,
    /// It can be.
    With(Coding),
}

/// How bodies can be compressed. Of those that a client likes as much, the first is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
    Brotli,
}

const CODINGS: [(&str, Coding); 3] = [("gzip", Coding::Gzip), ("zstd", Coding::Zstd), ("br", Coding::Brotli)];

impl Coding {
    /// What `Content-Encoding` says.
    fn name(self) -> &'static str {
        CODINGS.iter().find(|(_, coding)| *coding == self).map_or("", |(name, _)| name)
    }
}

/// `compress`.
pub(super) fn step<'c>(passage: &mut Passage<'_>) -> Step<'c> {
    let is_grpc = passage.get(b"Content-Type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
    if !is_grpc {
        let coding = preferred(&passage.values("Accept-Encoding"));
        passage.finish.compress = coding.map_or(Wanted::Plain, Wanted::With);
    }
    Step::Continue
}

/// The coding that the fields `Accept-Encoding` give the highest weight (RFC 9110 section 12.5.3). One that they do not
/// name is not taken, as in Traefik 1.7, whatever they say about `*`.
fn preferred(values: &[&[u8]]) -> Option<Coding> {
    let mut best: Option<(f32, Coding)> = None;
    for (name, coding) in CODINGS {
        let weights = values.iter().flat_map(|value| tokens(value)).filter_map(|token| {
            let mut parts = token.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            parts.next().filter(|told| told.eq_ignore_ascii_case(name.as_bytes()))?;
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
            weight.map_or(Some(1.0), |text| std::str::from_utf8(text).ok()?.parse::<f32>().ok())
        });
        let weight = weights.fold(0.0, f32::max);
        if weight > best.map_or(0.0, |(weight, _)| weight) {
            best = Some((weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

impl Wanted {
    fn coding(self) -> Option<Coding> {
        match self {
            Self::With(coding) => Some(coding),
            Self::Untouched | Self::Plain => None,
        }
    }

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
        let Some(coding) =
            self.coding().filter(|_| method != "HEAD" && is_long && is_whole && !has("Content-Encoding"))
        else {
            let answer = if vary.is_some() { answer.edited(|_, _| true, vary.into_iter()) } else { answer };
            return (answer, None);
        };
        let Ok(encoder) = Encoder::new(coding) else { return (answer, None) };
        // What a strong tag says is that not a byte differs (RFC 9110 section 8.8.1).
        let mut tags = answer.fields.iter().filter(|(_, name, _)| is(name, "ETag"));
        let tag =
            tags.next().map(|(_, _, tag)| if tag.starts_with(b"W/") { tag.to_vec() } else { [b"W/", tag].concat() });
        let coding = [(&b"Content-Encoding"[..], coding.name().as_bytes())];
        let added = coding.into_iter().chain(vary).chain(tag.as_deref().map(|tag| (&b"ETag"[..], tag)));
        let keeps = |id, name: &[u8]| id != Name::ContentLength && !is(name, "ETag") && !is(name, "Accept-Ranges");
        let mut made = answer.edited(keeps, added);
        made.told_length = None;
        (made, Some(Box::new(encoder)))
    }
}

/// Compresses one body.
pub(crate) struct Encoder {
    stream: Stream,
    /// Whether there is something in it that has not come out.
    holds: bool,
}

enum Stream {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Fails only for want of memory.
    fn new(coding: Coding) -> std::io::Result<Self> {
        let stream = match coding {
            Coding::Gzip => Stream::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW)?;
                Stream::Zstd(encoder)
            }
            Coding::Brotli => {
                Stream::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI_LEVEL, WINDOW)))
            }
        };
        Ok(Self { stream, holds: false })
    }

    /// Takes a piece of the body, and returns what comes out, which may be nothing.
    pub(crate) fn encode(&mut self, data: &[u8]) -> Bytes {
        // Writing to memory does not fail.
        let _ = self.stream.writer().write_all(data);
        self.holds = true;
        self.stream.take()
    }

    /// Has all come out that was taken, since nobody knows when more comes. `None` if it has already.
    pub(crate) fn flush(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.holds, false) {
            return None;
        }
        let _ = self.stream.writer().flush();
        Some(self.stream.take()).filter(|out| !out.is_empty())
    }

    /// What comes out at the end of the body.
    pub(crate) fn finish(self) -> Bytes {
        match self.stream {
            Stream::Gzip(encoder) => encoder.finish().unwrap_or_default().into(),
            Stream::Zstd(encoder) => encoder.finish().unwrap_or_default().into(),
            Stream::Brotli(encoder) => encoder.into_inner().into(),
        }
    }
}

impl Stream {
    fn writer(&mut self) -> &mut dyn std::io::Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
        }
    }

    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::Asked;
    use proptest::prelude::*;
    use std::io::Read as _;

    const GZIP: Wanted = Wanted::With(Coding::Gzip);

    fn wanted(fields: &str) -> Wanted {
        let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", fields);
        let mut passage = asked.passage();
        step(&mut passage);
        passage.finish.compress
    }

    #[test]
    fn what_clients_want() {
        for (value, expected) in [
            ("gzip", GZIP),
            ("deflate, GZIP;q=0.5", GZIP),
            ("gzip; q=0", Wanted::Plain),
            ("gzip;q=x", Wanted::Plain),
            ("gzip, deflate, br, zstd", GZIP),
            ("br;q=1.0, gzip;q=0.9", Wanted::With(Coding::Brotli)),
            ("br, zstd", Wanted::With(Coding::Zstd)),
            ("br;q=0.1", Wanted::With(Coding::Brotli)),
            ("gzip;q=0.1, zstd;q=0.2", Wanted::With(Coding::Zstd)),
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
        let (fields, is_compressed) = answered(GZIP, long, false);
        assert!(is_compressed);
        assert_eq!(fields, ["X: 1", "Content-Encoding: gzip", "Vary: Accept-Encoding", "ETag: W/\"a\""]);
        let varies = "200 OK\r\nContent-Length: 1400\r\nVary: Origin, accept-encoding\r\n";
        assert_eq!(answered(GZIP, varies, false).0, ["Vary: Origin, accept-encoding", "Content-Encoding: gzip"]);
        for (wanted, text, is_short) in [
            (Wanted::Plain, long, false),
            (GZIP, "200 OK\r\nContent-Length: 1399\r\n", false),
            (GZIP, "200 OK\r\nTransfer-Encoding: chunked\r\n", true),
            (GZIP, "200 OK\r\nContent-Length: 9999\r\nContent-Encoding: br\r\n", false),
            (GZIP, "206 Partial Content\r\nContent-Length: 9999\r\n", false),
            (GZIP, "304 Not Modified\r\nContent-Length: 9999\r\n", false),
        ] {
            let (fields, is_compressed) = answered(wanted, text, is_short);
            assert!(!is_compressed && fields.last().unwrap() == "Vary: Accept-Encoding", "{text}");
        }
        assert!(answered(GZIP, "200 OK\r\nTransfer-Encoding: chunked\r\n", false).1);
        assert_eq!(answered(Wanted::Untouched, "200 OK\r\nX: 1\r\n", false).0, ["X: 1"]);
    }

    /// What comes of a body that is complete up to there.
    fn plain(coding: Coding, compressed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reader: Box<dyn std::io::Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(compressed)),
            Coding::Zstd => Box::new(zstd::Decoder::new(compressed).unwrap()),
            Coding::Brotli => Box::new(brotli::Decompressor::new(compressed, 4096)),
        };
        let mut room = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut room) {
            out.extend_from_slice(&room[..length]);
        }
        out
    }

    fn pieces() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
        prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..8)
    }

    proptest! {
        #[test]
        fn bodies(pieces in pieces(), coding in prop::sample::select(&[Coding::Gzip, Coding::Zstd, Coding::Brotli][..])) {
            let mut encoder = Encoder::new(coding).unwrap();
            let (mut sent, mut out) = (Vec::new(), Vec::new());
            for (piece, flushed) in &pieces {
                out.extend_from_slice(&encoder.encode(piece));
                sent.extend_from_slice(piece);
                if *flushed {
                    out.extend_from_slice(&encoder.flush().unwrap_or_default());
                    prop_assert_eq!(&plain(coding, &out), &sent);
                    prop_assert!(encoder.flush().is_none());
                }
            }
            out.extend_from_slice(&encoder.finish());
            prop_assert_eq!(plain(coding, &out), sent);
        }
    }

    #[test]
    fn what_repeats_is_short() {
        for (name, coding) in CODINGS {
            let mut encoder = Encoder::new(coding).unwrap();
            let data = b"a line that repeats\n".repeat(5000);
            let out = [encoder.encode(&data), encoder.finish()].concat();
            assert!(out.len() < data.len() / 50, "{name} {}", out.len());
            assert_eq!(plain(coding, &out), data);
        }
    }
}
