//! The chunked transfer coding, decoded strictly (RFC 9112 section 7.1).

use bytes::{Buf, BytesMut};

use super::Malformed;
use super::name::is_forbidden_in_trailers;

/// Longest extension of one chunk, in bytes; extensions are read over and dropped.
const MAX_EXTENSION: usize = 1024;
/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Most fields in a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension { length: usize },
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    Trailers,
    End,
}

/// What the front of the buffer is, once the coding's own bytes are taken off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// More bytes are needed.
    More,
    /// So many bytes at the front are data; say [`Decoder::consumed`] when they are taken.
    Data(usize),
    /// The body and its trailers are complete; what is left in the buffer does not belong to it.
    End,
}

/// A decoder for one body.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    remaining: u64,
    trailers: Vec<u8>,
    line: usize,
}

impl Decoder {
    /// A decoder at the start of a body.
    pub(crate) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, remaining: 0, trailers: Vec::new(), line: 0 }
    }

    /// Takes the coding's bytes off the front of `buffer` and tells what is there.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Data if self.remaining == 0 => self.state = State::DataCarriageReturn,
                State::Data if buffer.is_empty() => return Ok(Decoded::More),
                State::Data => {
                    let available = u64::try_from(buffer.len()).unwrap_or(u64::MAX).min(self.remaining);
                    return Ok(Decoded::Data(usize::try_from(available).unwrap_or(buffer.len())));
                }
                _ => {}
            }
            if buffer.is_empty() {
                return Ok(Decoded::More);
            }
            let mut taken = 0;
            for byte in buffer.iter().copied() {
                taken += 1;
                self.step(byte)?;
                if matches!(self.state, State::Data | State::End) {
                    break;
                }
            }
            buffer.advance(taken);
        }
    }

    /// Says that `length` bytes of data were taken off the buffer.
    pub(crate) fn consumed(&mut self, length: usize) {
        self.remaining = self.remaining.saturating_sub(length as u64);
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(Malformed::Syntax("chunk size overflows"));
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.remaining = self.remaining << 4 | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 1.. } | State::Extension { .. }, b'\r') => State::SizeLineFeed,
            (State::Size { digits: 1.. }, b';') => State::Extension { length: 0 },
            (State::Extension { length }, b'\t' | b' '..=b'~' | 0x80..) if length < MAX_EXTENSION => {
                State::Extension { length: length + 1 }
            }
            (State::SizeLineFeed, b'\n') if self.remaining == 0 => State::Trailers,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataCarriageReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { digits: 0 },
            (State::Trailers, _) => self.trailer_byte(byte)?,
            _ => return Err(Malformed::Syntax("malformed chunk")),
        };
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, Malformed> {
        self.trailers.push(byte);
        let length = self.trailers.len();
        if length > MAX_TRAILERS {
            return Err(Malformed::Syntax("trailers too large"));
        }
        let after_return = length > self.line + 1 && self.trailers[length - 2] == b'\r';
        match byte {
            b'\n' if !after_return => Err(Malformed::Syntax("line feed without carriage return")),
            b'\n' if length == self.line + 2 => {
                self.check_trailers()?;
                Ok(State::End)
            }
            b'\n' => {
                self.line = length;
                Ok(State::Trailers)
            }
            _ if after_return => Err(Malformed::Syntax("carriage return inside a line")),
            _ => Ok(State::Trailers),
        }
    }

    fn check_trailers(&self) -> Result<(), Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        match httparse::parse_headers(&self.trailers, &mut fields) {
            Ok(httparse::Status::Complete(_)) => Ok(()),
            _ => Err(Malformed::Syntax("malformed trailers")),
        }
    }

    /// The trailer fields that may be passed on, once [`Decoded::End`] was returned.
    pub(crate) fn write_trailers(&self, out: &mut BytesMut) {
        // Nearly always there is nothing but the empty line.
        if self.trailers.len() <= 2 {
            return;
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        if let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&self.trailers, &mut fields) {
            for field in fields.iter().filter(|field| !is_forbidden_in_trailers(field.name.as_bytes())) {
                super::write::field(out, field.name.as_bytes(), field.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data, the rest, and the trailers passed on.
    type Body = (Vec<u8>, Vec<u8>, Vec<u8>);

    /// Decodes `parts` one after the other; `None` if they do not end.
    fn decode(parts: &[&[u8]]) -> Result<Option<Body>, Malformed> {
        let mut decoder = Decoder::new();
        let mut buffer = BytesMut::new();
        let mut data = Vec::new();
        let mut ended = false;
        for part in parts {
            buffer.extend_from_slice(part);
            while !ended {
                match decoder.decode(&mut buffer)? {
                    Decoded::More => break,
                    Decoded::Data(length) => {
                        data.extend_from_slice(&buffer.split_to(length));
                        decoder.consumed(length);
                    }
                    Decoded::End => ended = true,
                }
            }
        }
        let mut trailers = BytesMut::new();
        decoder.write_trailers(&mut trailers);
        Ok(ended.then(|| (data, buffer.to_vec(), trailers.to_vec())))
    }

    #[test]
    fn good() {
        let body = b"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET";
        let (data, rest, trailers) = decode(&[body]).unwrap().unwrap();
        assert_eq!(data, b"hello world");
        assert_eq!(rest, b"GET");
        assert_eq!(trailers, b"X-Sum: 1\r\n");
        assert_eq!(decode(&[b"0\r\n\r\n"]).unwrap().unwrap().0, b"");
        assert_eq!(decode(&[b"5\r\nhel"]).unwrap(), None);
    }

    #[test]
    fn bad() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"0x1\r\n",
            b"1\n",
            b"1\r\rx",
            b";\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"11111111111111111\r\n",
            b"1;\x00\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX: a\rb\r\n\r\n",
            b"0\r\nnonsense\r\n\r\n",
        ] {
            assert!(decode(&[bad]).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let mut long = b"1;".to_vec();
        long.resize(MAX_EXTENSION + 3, b'a');
        assert!(decode(&[&long]).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
                                    cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
                                    spoil in prop::option::of((any::<prop::sample::Index>(), any::<u8>()))) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x};e\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\nX-T: v\r\n\r\n");
            if let Some((at, byte)) = spoil {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut start = 0;
            for cut in cuts {
                parts.push(&body[start..cut]);
                start = cut;
            }
            parts.push(&body[start..]);
            prop_assert_eq!(decode(&parts), decode(&[&body]));
            if spoil.is_none() {
                prop_assert_eq!(decode(&[&body]).unwrap().unwrap().0, chunks.concat());
            }
        }
    }
}
