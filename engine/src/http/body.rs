//! Reading and writing bodies, whatever their framing.

use bytes::BytesMut;

use super::chunked::{Decoded, Decoder};
use super::{Framing, Malformed, write};

/// A body that is being read.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Box<Decoder>),
    /// Until the peer closes.
    UntilClose,
    /// Until the peer closes, and it did.
    Closed,
}

impl Incoming {
    /// A body at its start.
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(Decoder::new())),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// A body that comes in frames of HTTP/2, which say themselves where it ends.
    pub(crate) fn in_frames(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked | Framing::UntilClose => Self::UntilClose,
        }
    }

    /// What is at the front of `buffer`; data that is taken off it must be told to [`Incoming::consumed`].
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Malformed> {
        Ok(match self {
            Self::Length(0) | Self::Closed => Decoded::End,
            Self::Length(_) | Self::UntilClose if buffer.is_empty() => Decoded::More,
            Self::Length(remaining) => {
                Decoded::Data(usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len()))
            }
            Self::Chunked(decoder) => decoder.decode(buffer)?,
            Self::UntilClose => Decoded::Data(buffer.len()),
        })
    }

    /// Says that `length` bytes of data were taken off the buffer.
    pub(crate) fn consumed(&mut self, length: usize) {
        match self {
            Self::Length(remaining) => *remaining = remaining.saturating_sub(length as u64),
            Self::Chunked(decoder) => decoder.consumed(length),
            Self::UntilClose | Self::Closed => {}
        }
    }

    /// The peer has closed: true if that ends the body, false if it cuts it.
    pub(crate) fn close(&mut self) -> bool {
        match self {
            Self::UntilClose | Self::Closed => {
                *self = Self::Closed;
                true
            }
            Self::Length(remaining) => *remaining == 0,
            Self::Chunked(_) => false,
        }
    }

    /// Writes the fields of the trailer section that may be passed on, once the body was read.
    pub(crate) fn write_trailers(&self, out: &mut BytesMut) {
        if let Self::Chunked(decoder) = self {
            decoder.write_trailers(out);
        }
    }

    /// How many of the bytes that come next are the body's, as they are; 0 if its framing is between them.
    pub(crate) fn bare(&self) -> usize {
        match self {
            Self::Length(remaining) => usize::try_from(*remaining).unwrap_or(usize::MAX),
            Self::UntilClose => usize::MAX,
            Self::Chunked(_) | Self::Closed => 0,
        }
    }

    /// Whether nothing is left to read, without a look at the buffer.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Closed)
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// As it is: its length was told, or the end of the connection tells it.
    Plain,
    /// In chunks.
    Chunked,
}

impl Outgoing {
    /// Writes a piece of a body, which is not empty.
    pub(crate) fn data(self, out: &mut BytesMut, data: &[u8]) {
        match self {
            Self::Plain => out.extend_from_slice(data),
            Self::Chunked => {
                write::hex(out, data.len());
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes the end of the body; `trailers` writes the fields of its trailer section, if there can be one.
    pub(crate) fn end(self, out: &mut BytesMut, trailers: impl FnOnce(&mut BytesMut)) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n");
            trailers(out);
            out.extend_from_slice(b"\r\n");
        }
    }
}
