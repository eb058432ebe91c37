//! Moving a body from one side to the other, as it comes.

mod http2;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::sides::{Sink, Source};
use crate::http::Malformed;
use crate::http::body::{Incoming, Outgoing};
use crate::http::chunked::Decoded;
use crate::io::Conn;
use crate::io::splice::Splice;
use crate::middleware::compress::Encoder;

/// Bytes gathered before they are written.
const GATHER: usize = 16 * 1024;
/// From this size on, a piece that needs no coding is written from where it was read.
const DIRECT: usize = 4 * 1024;

/// From this size on, what is left of a body goes from socket to socket without being looked at, if it may.
const SPLICED: usize = 32 * 1024;

/// Pieces that are moved at a time. A piece is 64 KiB at most, or, of a body in tiny chunks, some thousand of them: this
/// is about a millisecond, and one for each such body is what everybody else on the worker waits.
const TURNS: u8 = 16;
/// The same for a body that is compressed on its way, which takes so much longer.
const ENCODED_TURNS: u8 = 1;

/// Why a body did not get through.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Reading failed, or the source closed too early.
    Source(Option<io::Error>),
    /// The source's framing is broken.
    Malformed(Malformed),
    /// Writing failed.
    Sink(io::Error),
}

/// A body on its way, with the head before it.
#[derive(Debug)]
pub(crate) struct Pipe {
    source: Incoming,
    coding: Outgoing,
    out: BytesMut,
    ended: bool,
    written: u64,
    body: u64,
    /// What is to leave in frames, and the trailers after it.
    piece: Bytes,
    trailers: Option<Box<HeaderMap>>,
    end_told: bool,
    /// What has left in frames, as long as it is little: a server may refuse it unread.
    left: Option<Vec<Bytes>>,
    /// How many more pieces may be moved before others have their turn.
    turns: u8,
    /// What the body goes through, until its end.
    encoder: Option<Box<Encoder>>,
    is_encoded: bool,
    /// A long body's way, if it need not be looked at.
    splice: Option<Box<Splice>>,
}

impl Pipe {
    /// `head` leaves first, in one write with what is there of the body.
    pub(crate) fn new(head: BytesMut, source: Incoming, coding: Outgoing) -> Self {
        Self {
            source,
            coding,
            out: head,
            ended: false,
            written: 0,
            body: 0,
            piece: Bytes::new(),
            trailers: None,
            end_told: false,
            left: None,
            turns: 0,
            encoder: None,
            is_encoded: false,
            splice: None,
        }
    }

    /// To a stream of HTTP/2, which has the head already; `is_complete` says that with it everything was said.
    pub(crate) fn after_head(source: Incoming, is_complete: bool) -> Self {
        let pipe = Self::new(BytesMut::new(), source, Outgoing::Plain);
        Self { written: 1, ended: is_complete, end_told: is_complete, left: Some(Vec::new()), ..pipe }
    }

    /// Has the body go through an encoder.
    pub(crate) fn encode(&mut self, encoder: Option<Box<Encoder>>) {
        self.is_encoded = encoder.is_some();
        self.encoder = encoder;
    }

    /// What comes out of the encoder when the source is silent for a while; `None` if there is nothing to be told.
    fn flushed(&mut self) -> Option<Bytes> {
        self.encoder.as_mut()?.flush()
    }

    /// What comes out of the encoder at the end of the body.
    fn finished(&mut self) -> Bytes {
        self.encoder.take().map(|encoder| encoder.finish()).unwrap_or_default()
    }

    /// Takes what has come out of the encoder into what is to be written.
    fn put(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.coding.data(&mut self.out, data);
            self.body += data.len() as u64;
        }
    }

    /// Whether nothing has left.
    pub(crate) fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Whether the source was read to its end, as far as it can be told without reading.
    pub(crate) fn is_read(&self) -> bool {
        self.ended || self.source.is_empty()
    }

    /// Bytes of the body that went through, without their coding.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body
    }

    /// A count that rises whenever something leaves.
    pub(crate) fn moved(&self) -> u64 {
        self.written + self.body
    }

    /// Whether, when nothing can be moved, it is the sink that has to take something first. `buffered` is what the
    /// source's connection holds.
    pub(crate) fn is_held(&self, buffered: usize) -> bool {
        !self.out.is_empty()
            || !self.piece.is_empty()
            || self.splice.as_ref().is_some_and(|splice| splice.is_held())
            || (buffered >= DIRECT && self.coding == Outgoing::Plain && !self.is_encoded && !self.is_read())
    }

    /// Moves what can be moved; ready when everything was written and flushed.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: Source<'_>,
        sink: Sink<'_>,
    ) -> Poll<Result<(), Broken>> {
        self.turns = if self.is_encoded { ENCODED_TURNS } else { TURNS };
        match (source, sink) {
            (Source::Http1(source), Sink::Http1(sink)) => self.poll_http1(cx, source, sink),
            (Source::Http1(source), Sink::Http2(sink)) => self.poll_http1_to_http2(cx, source, sink),
            (Source::Http2(source), Sink::Http1(sink)) => self.poll_http2_to_http1(cx, source, sink),
            (Source::Http2(source), Sink::Http2(sink)) => self.poll_http2(cx, source, sink),
            (Source::Unopened, _) => Poll::Ready(Err(Broken::Source(None))),
            (_, Sink::Unopened) => Poll::Ready(Err(Broken::Sink(io::ErrorKind::NotConnected.into()))),
        }
    }

    /// Lets the others have their turn, if both sides are so quick that there would be no end otherwise.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.turns.checked_sub(1) {
            Some(left) => {
                self.turns = left;
                Poll::Ready(())
            }
            None => pin!(tokio::task::yield_now()).poll(cx),
        }
    }

    fn poll_http1(&mut self, cx: &mut Context<'_>, source: &mut Conn, sink: &mut Conn) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_turn(cx));
            if let Some(splice) = self.splice.as_mut().filter(|splice| splice.is_held()) {
                let Some(socket) = sink.stream.plain() else {
                    return Poll::Ready(Err(Broken::Sink(io::ErrorKind::NotConnected.into())));
                };
                let moved = ready!(splice.poll_drain(cx, socket)).map_err(Broken::Sink)?;
                self.passed(moved);
                continue;
            }
            let direct = self.gather(source).map_err(Broken::Malformed)?;
            if direct > 0 {
                let data = &source.buffer[..direct];
                let written = ready!(sink.poll_write_both(cx, &self.out, data)).map_err(Broken::Sink)?;
                let of_head = written.min(self.out.len());
                self.out.advance(of_head);
                source.buffer.advance(written - of_head);
                self.written += of_head as u64;
                self.passed(written - of_head);
            } else if !self.out.is_empty() {
                let written = ready!(sink.poll_write(cx, &self.out)).map_err(Broken::Sink)?;
                self.out.advance(written);
                self.written += written as u64;
            } else if self.ended {
                return sink.poll_flush(cx).map_err(Broken::Sink);
            } else {
                // What was said so far is not held back while the source is silent.
                if let Poll::Ready(Err(error)) = sink.poll_flush(cx) {
                    return Poll::Ready(Err(Broken::Sink(error)));
                }
                let read = self.poll_source(cx, source, sink);
                if read.is_pending()
                    && let Some(flushed) = self.flushed()
                {
                    self.put(&flushed);
                    continue;
                }
                match ready!(read).map_err(Broken::Sink)? {
                    Ok(0) if self.source.close() => {}
                    Ok(0) => return Poll::Ready(Err(Broken::Source(None))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Broken::Source(Some(error)))),
                }
            }
        }
    }

    /// Reads once. What needs no coding goes to the sink at once, without being kept in between.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Conn,
        sink: &mut Conn,
    ) -> Poll<io::Result<io::Result<usize>>> {
        let bare = self.source.bare();
        let is_changed = self.coding != Outgoing::Plain || self.is_encoded;
        if bare < DIRECT || is_changed || !source.buffer.is_empty() {
            return source.poll_fill(cx).map(Ok);
        }
        if bare >= SPLICED
            && self.out.is_empty()
            && let (Some(from), Some(_)) = (source.stream.plain(), sink.stream.plain())
        {
            let splice = self.splice.get_or_insert_default();
            if !splice.is_useless() {
                let taken = ready!(splice.poll_fill(cx, from, bare));
                if !splice.is_useless() {
                    return Poll::Ready(Ok(taken));
                }
            }
        }
        let mut broken = None;
        let mut passed = 0;
        let read = source.poll_pass(cx, |cx, data| {
            match sink.poll_write(cx, &data[..data.len().min(bare)]) {
                Poll::Ready(Ok(written)) => passed = written,
                Poll::Ready(Err(error)) => broken = Some(error),
                Poll::Pending => {}
            }
            passed
        });
        self.passed(passed);
        match broken {
            Some(error) => Poll::Ready(Err(error)),
            None => read.map(Ok),
        }
    }

    /// Counts bytes of the body that went through as they are.
    fn passed(&mut self, length: usize) {
        self.source.consumed(length);
        self.body += length as u64;
        self.written += length as u64;
    }

    /// Takes what was read into what is to be written. Returns how many bytes can be written without being copied.
    fn gather(&mut self, source: &mut Conn) -> Result<usize, Malformed> {
        while !self.ended && self.out.len() < GATHER {
            match self.source.decode(&mut source.buffer)? {
                Decoded::More => break,
                Decoded::End => {
                    let rest = self.finished();
                    self.put(&rest);
                    let source = &self.source;
                    self.coding.end(&mut self.out, |out| source.write_trailers(out));
                    self.ended = true;
                }
                Decoded::Data(length) if self.coding == Outgoing::Plain && length >= DIRECT && !self.is_encoded => {
                    return Ok(length);
                }
                Decoded::Data(length) => {
                    let length = length.min(GATHER);
                    match &mut self.encoder {
                        None => {
                            self.coding.data(&mut self.out, &source.buffer[..length]);
                            self.body += length as u64;
                        }
                        Some(encoder) => {
                            let encoded = encoder.encode(&source.buffer[..length]);
                            self.put(&encoded);
                        }
                    }
                    source.buffer.advance(length);
                    self.source.consumed(length);
                }
            }
        }
        Ok(0)
    }
}
