//! What HTTP/2 adds to the `h2` crate, which speaks it: heads from and to the form in which they go through the engine,
//! and the settings that both sides use. No I/O, no routes.

pub(crate) mod head;
pub(crate) mod websocket;

/// How much of one body a peer may send before it is taken (RFC 9113 section 5.2).
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// How much of all bodies of a connection.
pub(crate) const CONNECTION_WINDOW: u32 = 2 << 20;
/// How much of one body is kept until a peer makes room for it.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// Requests that a client may have open on one connection.
pub(crate) const MAX_STREAMS: u32 = 250;
/// What is told to peers as the longest list of fields, counted as in RFC 9113 section 6.5.2. It leaves room for what is
/// counted for each field there, so that our own limits are the ones that answer.
pub(crate) const MAX_FIELD_LIST: u32 = 72 * 1024;
/// What a client begins with, read as the head of an HTTP/1 request (RFC 9113 section 3.4).
pub(crate) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
