//! The entry of HTTP/2: what the `h2` crate lets in, in the engine's own form.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::accepted;
use crate::http2::{CONNECTION_WINDOW, MAX_FIELD_LIST, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, head as entry};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Longest piece of a head in one frame.
const FRAME: usize = 16_384;

/// Any frames after the preface and the settings.
pub fn frames(data: &[u8]) {
    serve(of_frames(data));
}

/// One head: a line for each field, `name: value`, pseudo-header fields too. Without a body if the first line is `!`.
pub fn head(data: &[u8]) {
    serve(of_head(data));
}

fn of_frames(data: &[u8]) -> Vec<u8> {
    let mut input = PREFACE.to_vec();
    frame(&mut input, 4, 0, 0, b"");
    input.extend_from_slice(data);
    input
}

fn of_head(data: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let is_complete = lines.first() == Some(&&b"!"[..]);
    if is_complete {
        lines.remove(0);
    }
    let mut block = Vec::new();
    for line in lines {
        // A pseudo-header field's name begins with a colon.
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map(|at| at + 1);
        let Some(colon) = colon else { continue };
        let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
        // A literal without indexing (RFC 7541 section 6.2.2).
        block.push(0);
        text(&mut block, &line[..colon]);
        text(&mut block, value);
    }
    let mut input = PREFACE.to_vec();
    frame(&mut input, 4, 0, 0, b"");
    let mut pieces = block.chunks(FRAME).peekable();
    let end = |is_last: bool| if is_last { END_HEADERS } else { 0 };
    let first = pieces.next().unwrap_or_default();
    let end_stream = if is_complete { END_STREAM } else { 0 };
    frame(&mut input, 1, end(pieces.peek().is_none()) | end_stream, 1, first);
    while let Some(piece) = pieces.next() {
        frame(&mut input, 9, end(pieces.peek().is_none()), 1, piece);
    }
    input
}

/// A string as it is (RFC 7541 section 5.2).
fn text(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Serves a connection, set up as the engine does it, until everything is read. Returns how many requests were let in.
fn serve(input: Vec<u8>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_FIELD_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(Wire(Bytes::from(input)));
    let Poll::Ready(Ok(mut connection)) = std::pin::pin!(handshake).poll(&mut cx) else { return 0 };
    let mut open = Vec::new();
    let mut let_in = 0;
    while let Poll::Ready(Some(Ok((request, respond)))) = connection.poll_accept(&mut cx) {
        let (parts, body) = request.into_parts();
        if let Ok(request) = entry::request(&parts, body.is_end_stream()) {
            accepted(&request);
            assert!(!request.host().is_empty());
            let_in += 1;
        }
        open.push((body, respond));
    }
    for (body, _) in &mut open {
        while let Poll::Ready(Some(Ok(data))) = body.poll_data(&mut cx) {
            let _ = body.flow_control().release_capacity(data.len());
        }
        if let Poll::Ready(Ok(Some(trailers))) = body.poll_trailers(&mut cx) {
            let mut text = bytes::BytesMut::new();
            entry::write_trailers(&trailers, &mut text);
            let again = entry::trailers(text).map(Option::unwrap_or_default);
            assert_eq!(again, Ok(entry::filtered(trailers)));
        }
    }
    let_in
}

/// A client that has sent everything and waits; what it is sent is dropped.
struct Wire(Bytes);

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Of a connection that has ended the crate hands out no request.
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let length = buffer.remaining().min(self.0.len());
        buffer.put_slice(&self.0.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is never let in is not checked.
    #[test]
    fn requests_get_through() {
        let seed = |name: &str| std::fs::read(format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for name in ["get", "post", "websocket", "options"] {
            assert_eq!(serve(of_head(&seed(&format!("http2_head/{name}")))), 1, "{name}");
        }
        assert_eq!(serve(of_head(&seed("http2_head/refused"))), 0);
        for name in ["get", "post-with-trailers", "continuation"] {
            assert_eq!(serve(of_frames(&seed(&format!("http2_frames/{name}")))), 1, "{name}");
        }
    }
}
