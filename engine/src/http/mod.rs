//! The HTTP/1 codec: heads, framing of bodies, serialising. It does no I/O and trusts nobody.
//!
//! Its form of a head, text and where the fields are in it, is also that in which heads of HTTP/2 go through the engine.

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod name;
pub(crate) mod scan;
pub(crate) mod target;
pub(crate) mod write;

/// The versions of HTTP that a client may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// How the length of a body is told (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything until the connection is closed; answers only.
    UntilClose,
}

/// Why the bytes of a peer are not HTTP as we accept it. The text is for logs, never for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Broken syntax or ambiguous framing.
    #[error("{0}")]
    Syntax(&'static str),
    /// The request target is longer than [`scan::MAX_TARGET`].
    #[error("request target too long")]
    TargetTooLong,
    /// The head is longer than [`scan::MAX_HEAD`] or has more than [`head::MAX_FIELDS`] fields.
    #[error("head too large")]
    HeadTooLarge,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// A transfer coding, or a method, that is not implemented here.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
}
