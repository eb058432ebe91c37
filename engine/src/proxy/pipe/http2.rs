//! The ways of a body that begin or end in a stream of HTTP/2.
//!
//! The peer's window is opened again only as the other side takes the data, so that what waits here is bounded.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::{Broken, Pipe};
use crate::http::Malformed;
use crate::http::body::Incoming;
use crate::http::chunked::Decoded;
use crate::http2::head;
use crate::io::Conn;

/// Bytes gathered from frames before they are written.
const GATHER: usize = 64 * 1024;

/// How much of a body that has left is kept, in case that it is refused unread.
const KEEP: u64 = 64 * 1024;

/// What comes next on a stream.
enum Received {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl Pipe {
    pub(super) fn poll_http1_to_http2(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Conn,
        sink: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_turn(cx));
            ready!(self.poll_leave(cx, sink))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match self.source.decode(&mut source.buffer).map_err(Broken::Malformed)? {
                Decoded::End => self.end_of_http1()?,
                Decoded::Data(length) => {
                    let data = source.buffer.split_to(length).freeze();
                    self.piece = self.encoded(data);
                    self.source.consumed(length);
                    // An end that is there already leaves with the data.
                    if self.source.decode(&mut source.buffer).map_err(Broken::Malformed)? == Decoded::End {
                        self.end_of_http1()?;
                    }
                }
                Decoded::More => match source.poll_fill(cx) {
                    Poll::Pending => match self.flushed() {
                        Some(flushed) => self.piece = flushed,
                        None => return Poll::Pending,
                    },
                    Poll::Ready(Ok(0)) if self.source.close() => {}
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Source(None))),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(Some(error)))),
                },
            }
        }
    }

    pub(super) fn poll_http2_to_http1(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut RecvStream,
        sink: &mut Conn,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_turn(cx));
            self.gather_frames(cx, source)?;
            if !self.out.is_empty() {
                let written = ready!(sink.poll_write(cx, &self.out)).map_err(Broken::Sink)?;
                self.out.advance(written);
                self.written += written as u64;
            } else if self.ended {
                return sink.poll_flush(cx).map_err(Broken::Sink);
            } else {
                if let Poll::Ready(Err(error)) = sink.poll_flush(cx) {
                    return Poll::Ready(Err(Broken::Sink(error)));
                }
                match self.flushed() {
                    Some(flushed) => self.put(&flushed),
                    None => return Poll::Pending,
                }
            }
        }
    }

    pub(super) fn poll_http2(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut RecvStream,
        sink: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_turn(cx));
            let waiting = self.piece.len();
            let left = self.poll_leave(cx, sink);
            if !self.is_encoded {
                release(source, waiting - self.piece.len())?;
            }
            ready!(left)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            // After a body of a told length there may still be trailers.
            if self.source.is_empty() && self.body == 0 {
                self.piece = self.finished();
                self.ended = true;
                continue;
            }
            let received = poll_receive(cx, source);
            if received.is_pending()
                && let Some(flushed) = self.flushed()
            {
                self.piece = flushed;
                continue;
            }
            match ready!(received)? {
                Received::Data(data) => {
                    let length = data.len();
                    self.account(length)?;
                    self.piece = self.encoded(data);
                    if self.is_encoded {
                        release(source, length)?;
                    }
                    // An end that is there already leaves with the data.
                    if source.is_end_stream() {
                        self.end_of_http2()?;
                        self.end_of_encoding();
                    }
                }
                Received::End(trailers) => {
                    self.end_of_http2()?;
                    self.end_of_encoding();
                    self.trailers = trailers.map(head::filtered).filter(|it| !it.is_empty()).map(Box::new);
                }
            }
        }
    }

    /// Takes what has come in frames into what is to be written.
    fn gather_frames(&mut self, cx: &mut Context<'_>, source: &mut RecvStream) -> Result<(), Broken> {
        while !self.ended && self.out.len() < GATHER {
            if self.source.is_empty() {
                let rest = self.finished();
                self.put(&rest);
                self.coding.end(&mut self.out, |_| {});
                self.ended = true;
                return Ok(());
            }
            let Poll::Ready(received) = poll_receive(cx, source) else { return Ok(()) };
            match received? {
                Received::Data(data) => {
                    self.account(data.len())?;
                    let length = data.len();
                    let data = self.encoded(data);
                    self.put(&data);
                    release(source, length)?;
                }
                Received::End(trailers) => {
                    self.end_of_http2()?;
                    let rest = self.finished();
                    self.put(&rest);
                    self.coding.end(&mut self.out, |out| {
                        if let Some(trailers) = &trailers {
                            head::write_trailers(trailers, out);
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Hands what there is to a stream, as far as the peer has room for it.
    fn poll_leave(&mut self, cx: &mut Context<'_>, sink: &mut SendStream<Bytes>) -> Poll<Result<(), Broken>> {
        while !self.piece.is_empty() {
            let room = ready!(poll_room(cx, sink, self.piece.len()))?;
            let part = self.piece.split_to(room.min(self.piece.len()));
            let is_last = self.piece.is_empty() && self.ended && self.trailers.is_none();
            self.keep(&part);
            sink.send_data(part, is_last).map_err(broken_sink)?;
            self.end_told = is_last;
        }
        if self.ended && !self.end_told {
            match self.trailers.take() {
                Some(trailers) => {
                    self.left = None;
                    sink.send_trailers(*trailers).map_err(broken_sink)?;
                }
                None => sink.send_data(Bytes::new(), true).map_err(broken_sink)?,
            }
            self.end_told = true;
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, part: &Bytes) {
        self.body += part.len() as u64;
        match &mut self.left {
            Some(left) if self.body <= KEEP => left.push(part.clone()),
            left => *left = None,
        }
    }

    /// Goes back to the start, for another stream to the server. False if what has left is not there any more.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(left) = &mut self.left else { return false };
        if self.body > 0 {
            let mut all = BytesMut::with_capacity(left.iter().map(Bytes::len).sum::<usize>() + self.piece.len());
            left.drain(..).for_each(|part| all.extend_from_slice(&part));
            all.extend_from_slice(&self.piece);
            self.piece = all.freeze();
            self.body = 0;
            self.end_told = false;
        }
        true
    }

    fn end_of_http1(&mut self) -> Result<(), Broken> {
        let mut text = BytesMut::new();
        self.source.write_trailers(&mut text);
        self.trailers = head::trailers(text).map_err(Broken::Malformed)?.map(Box::new);
        self.ended = true;
        self.end_of_encoding();
        Ok(())
    }

    /// What a piece of the body becomes.
    fn encoded(&mut self, data: Bytes) -> Bytes {
        match &mut self.encoder {
            Some(encoder) => encoder.encode(&data),
            None => data,
        }
    }

    /// Appends what the encoder still holds to what is to leave.
    fn end_of_encoding(&mut self) {
        let rest = self.finished();
        if self.piece.is_empty() {
            self.piece = rest;
        } else if !rest.is_empty() {
            self.piece = [&self.piece[..], &rest[..]].concat().into();
        }
    }

    fn end_of_http2(&mut self) -> Result<(), Broken> {
        self.ended = true;
        if self.source.close() { Ok(()) } else { Err(Broken::Source(None)) }
    }

    /// Sees to it that a told length is kept, whatever the codec has let through.
    fn account(&mut self, length: usize) -> Result<(), Broken> {
        match &self.source {
            Incoming::Length(remaining) if length as u64 > *remaining => {
                Err(Broken::Malformed(Malformed::Syntax("more data than Content-Length says")))
            }
            _ => {
                self.source.consumed(length);
                Ok(())
            }
        }
    }
}

fn poll_receive(cx: &mut Context<'_>, source: &mut RecvStream) -> Poll<Result<Received, Broken>> {
    Poll::Ready(match ready!(source.poll_data(cx)) {
        Some(Ok(data)) => Ok(Received::Data(data)),
        Some(Err(error)) => Err(broken_source(error)),
        None => ready!(source.poll_trailers(cx)).map(Received::End).map_err(broken_source),
    })
}

/// Waits until the peer has room for some of `wanted` bytes.
fn poll_room(cx: &mut Context<'_>, sink: &mut SendStream<Bytes>, wanted: usize) -> Poll<Result<usize, Broken>> {
    sink.reserve_capacity(wanted);
    loop {
        match sink.capacity() {
            0 => match ready!(sink.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken_sink(error))),
                None => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::BrokenPipe.into()))),
            },
            room => return Poll::Ready(Ok(room)),
        }
    }
}

fn release(source: &mut RecvStream, length: usize) -> Result<(), Broken> {
    if length == 0 {
        return Ok(());
    }
    source.flow_control().release_capacity(length).map_err(broken_source)
}

fn broken_source(error: h2::Error) -> Broken {
    Broken::Source(Some(into_io(error)))
}

fn broken_sink(error: h2::Error) -> Broken {
    Broken::Sink(into_io(error))
}

fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}
