//! One request and its answer between a client's and a server's connection: everything that may happen at the same time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::{Sleep, sleep};

use super::pipe::{Broken, Pipe};
use super::relay;
use super::sides::{Downstream, Sink, Source, Upstream};
use super::watch::{Waits, Watched};
use crate::error::Failure;
use crate::http::Malformed;
use crate::http::head::{Answer, Request};
use crate::http::scan::{Found, MAX_HEAD, Scanner};
use crate::http2;
use crate::io::Conn;
use crate::pool::multiplex::{self, ServerStream};
use crate::service::buffering::is_too_long;

/// Most interim answers to one request.
const MAX_INTERIMS: usize = 100;

/// How the request's own way to the server stands.
#[derive(Debug)]
enum Sending {
    /// Under way.
    Running,
    /// The server has it.
    Done,
    /// The server takes no more; it may still have answered.
    Stopped,
}

/// A request on its way, and where it stands.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The request.
    pub(crate) upload: Pipe,
    sending: Sending,
    broken: Option<io::Error>,
    scanner: Scanner,
    interim: BytesMut,
    interims: usize,
    answered: bool,
    /// Whether the client has a reason not to send more of the body.
    pub(crate) pause: Pause,
    /// Where the request's body is, if it was read whole before.
    pub(crate) spool: Option<Conn>,
    /// Whether the client's body is none of this exchange's business, and still there.
    pub(crate) leaves_body: bool,
}

/// Why a client may be silent in the middle of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It may not.
    None,
    /// It waits to be asked for the body (RFC 9110 section 10.1.1).
    Continue,
    /// The body is a stream of messages, which come when there is something to say.
    Messages,
}

impl Pause {
    /// What there is of it in a request with a body.
    pub(crate) fn of(request: &Request) -> Self {
        let mut pause = Self::None;
        for (_, name, value) in request.fields.iter() {
            if name.eq_ignore_ascii_case(b"expect") {
                pause = Self::Continue;
            } else if name.eq_ignore_ascii_case(b"content-type") && value.starts_with(b"application/grpc") {
                return Self::Messages;
            }
        }
        pause
    }
}

impl Exchange {
    /// A request that was not sent yet.
    pub(crate) fn new(upload: Pipe) -> Self {
        Self {
            upload,
            sending: Sending::Running,
            broken: None,
            scanner: Scanner::default(),
            interim: BytesMut::new(),
            interims: 0,
            answered: false,
            pause: Pause::None,
            spool: None,
            leaves_body: false,
        }
    }

    /// To be sent again over another connection.
    pub(crate) fn restart(&mut self) {
        self.sending = Sending::Running;
        self.broken = None;
        self.scanner = Scanner::default();
    }

    /// Sends no more of the request: the server has answered without it.
    pub(crate) fn stop(&mut self) {
        if !self.is_sent() {
            self.sending = Sending::Stopped;
        }
    }

    /// Whether nothing of the client's body is left.
    pub(crate) fn is_read(&self) -> bool {
        (self.upload.is_read() || self.spool.is_some()) && !self.leaves_body
    }

    /// Whether the server has the whole request.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Done)
    }

    /// Interim answers that the client did not take yet; they leave before the final one.
    pub(crate) fn take_interim(&mut self) -> BytesMut {
        std::mem::take(&mut self.interim)
    }

    /// Sends the request and waits for the head of the final answer. Interim answers go on to the client, if it can
    /// understand them. `limit` counts from the end of the request.
    pub(crate) async fn answer(
        &mut self,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
        method: &str,
        limit: Option<Duration>,
        relay_interim: bool,
        watch: &Watched<'_>,
    ) -> Result<Answer, Failure> {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_answer(cx, client, server, method, relay_interim) {
                return Poll::Ready(result);
            }
            let is_read = self.upload.is_read();
            watch.note(self.waits(client), self.upload.moved(), is_read);
            watch.poll(cx)?;
            if let (Some(limit), true) = (limit, self.is_sent()) {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Failure::ServerTimeout));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the answer, or keeps it in `spool`, while the rest of the request, if any, still goes the other way.
    pub(crate) async fn relay(
        &mut self,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
        download: &mut Pipe,
        mut spool: Option<&mut Conn>,
        watch: &Watched<'_>,
    ) -> Result<(), Failure> {
        poll_fn(|cx| {
            self.poll_request(cx, client, server)?;
            let sink = match &mut spool {
                Some(spool) => Sink::Http1(spool),
                None => client.sink(),
            };
            match download.poll(cx, server.source(), sink) {
                Poll::Pending => {
                    self.poll_presence(cx, client)?;
                    let waits = if download.is_held(server.buffered()) { Waits::ClientTakes } else { Waits::Server };
                    watch.note(waits, download.moved(), self.upload.is_read());
                    watch.poll(cx)?;
                    Poll::Pending
                }
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Sink(error))) => Poll::Ready(Err(match spool {
                    Some(_) if is_too_long(&error) => Failure::AnswerTooLong,
                    Some(_) => Failure::Spool(error),
                    None => Failure::ClientGone,
                })),
                Poll::Ready(Err(Broken::Source(error))) => Poll::Ready(Err(Failure::ServerCut(error))),
                Poll::Ready(Err(Broken::Malformed(error))) => Poll::Ready(Err(Failure::ServerMalformed(error))),
            }
        })
        .await
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
        method: &str,
        relay_interim: bool,
    ) -> Poll<Result<Answer, Failure>> {
        loop {
            self.poll_request(cx, client, server)?;
            let server = match server {
                Upstream::Http1(server) => server,
                Upstream::Http2(server) => {
                    return self.poll_answer_in_frames(cx, client, server, method, relay_interim);
                }
            };
            match self.scanner.scan(&server.buffer).map_err(Failure::ServerMalformed)? {
                Found::Head { start: 0, end } => {
                    let bytes = server.buffer.split_to(end).freeze();
                    self.scanner = Scanner::default();
                    let answer = Answer::parse(bytes, method).map_err(Failure::ServerMalformed)?;
                    if !answer.is_interim() {
                        return Poll::Ready(Ok(answer));
                    }
                    if self.pause == Pause::Continue {
                        self.pause = Pause::None;
                    }
                    if relay_interim {
                        self.interim(&answer, client)?;
                    }
                    continue;
                }
                Found::Head { .. } => {
                    let error = Malformed::Syntax("empty line before the status line");
                    return Poll::Ready(Err(Failure::ServerMalformed(error)));
                }
                Found::Partial => {}
            }
            self.poll_interim(cx, client)?;
            match server.poll_fill(cx) {
                Poll::Pending => {
                    self.poll_presence(cx, client)?;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed(None))),
                Poll::Ready(Ok(_)) => self.answered = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(Some(error)))),
            }
        }
    }

    /// What it waits for before the answer's head.
    fn waits(&self, client: &Downstream<'_>) -> Waits {
        match self.sending {
            Sending::Running if self.spool.is_some() || self.upload.is_held(client.buffered()) => Waits::ServerTakes,
            Sending::Running if self.pause == Pause::None => Waits::Request,
            _ => Waits::Server,
        }
    }

    /// As [`Exchange::poll_answer`]; the crate has waited for the whole of a head.
    fn poll_answer_in_frames(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut ServerStream,
        method: &str,
        relay_interim: bool,
    ) -> Poll<Result<Answer, Failure>> {
        while let Poll::Ready(Some(interim)) = server.answer.poll_informational(cx) {
            let (head, ()) = interim.map_err(multiplex::failure)?.into_parts();
            let answer = http2::head::answer(&head, method, false).map_err(Failure::ServerMalformed)?;
            if relay_interim {
                self.interim(&answer, client)?;
            }
        }
        self.poll_interim(cx, client)?;
        let (head, body) = ready!(Pin::new(&mut server.answer).poll(cx)).map_err(multiplex::failure)?.into_parts();
        let answer = http2::head::answer(&head, method, body.is_end_stream());
        server.body = Some(body);
        Poll::Ready(answer.map_err(Failure::ServerMalformed))
    }

    /// The server closed, or broke, the connection before the end of its head.
    fn closed(&mut self, error: Option<io::Error>) -> Failure {
        let error = self.broken.take().or(error);
        if self.answered { Failure::ServerCut(error) } else { Failure::ServerClosed(error) }
    }

    fn interim(&mut self, answer: &Answer, client: &mut Downstream<'_>) -> Result<(), Failure> {
        self.interims += 1;
        if self.interims > MAX_INTERIMS || self.interim.len() > MAX_HEAD {
            return Err(Failure::ServerMalformed(Malformed::Syntax("too many interim answers")));
        }
        match client {
            Downstream::Http1(_) => {
                relay::interim(answer, &mut self.interim);
                Ok(())
            }
            Downstream::Http2(stream) => {
                let mut text = BytesMut::new();
                relay::interim(answer, &mut text);
                stream.interim(text, answer.status)
            }
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>, client: &mut Downstream<'_>) -> Result<(), Failure> {
        if self.interim.is_empty() {
            return Ok(());
        }
        let Downstream::Http1(client) = client else { return Ok(()) };
        while !self.interim.is_empty() {
            match client.poll_write(cx, &self.interim) {
                Poll::Ready(Ok(written)) => self.interim.advance(written),
                Poll::Ready(Err(_)) => return Err(Failure::ClientGone),
                Poll::Pending => return Ok(()),
            }
        }
        match client.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(Failure::ClientGone),
            _ => Ok(()),
        }
    }

    /// Sends what there is of the request.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
    ) -> Result<(), Failure> {
        if matches!(self.sending, Sending::Running) {
            let source = match &mut self.spool {
                Some(spool) => Source::Http1(spool),
                None => client.source(),
            };
            match self.upload.poll(cx, source, server.sink()) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.sending = Sending::Done,
                Poll::Ready(Err(Broken::Sink(error))) => {
                    self.sending = Sending::Stopped;
                    self.broken = Some(error);
                }
                Poll::Ready(Err(Broken::Source(error))) => {
                    return Err(match (&self.spool, error) {
                        (Some(_), Some(error)) => Failure::Spool(error),
                        _ => Failure::ClientGone,
                    });
                }
                Poll::Ready(Err(Broken::Malformed(error))) => return Err(Failure::Request(error)),
            }
        }
        Ok(())
    }

    /// Watches whether the client stays; asked whenever there is nothing else to do, since each time costs a lock.
    fn poll_presence(&self, cx: &mut Context<'_>, client: &mut Downstream<'_>) -> Result<(), Failure> {
        match self.sending {
            // What it sends is read anyway, and so is its end.
            Sending::Running if self.spool.is_none() && !self.upload.is_held(client.buffered()) => Ok(()),
            // A client that leaves while the server takes nothing would not be noticed otherwise.
            _ => client.poll_presence(cx),
        }
    }
}
