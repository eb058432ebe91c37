//! Connections: the kinds of streams, and a stream with the bytes that were read from it.

pub(crate) mod splice;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::service::buffering::Spool;

/// A bidirectional stream of bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP, either side.
    Tls(Box<TlsStream<TcpStream>>),
    /// A unix socket.
    Unix(UnixStream),
    /// A body that is kept: what is written comes back.
    Spool(Box<Spool>),
}

impl Stream {
    /// Whether the TLS handshake has agreed on HTTP/2 (RFC 9113 section 3.2).
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Tcp(_) | Self::Unix(_) | Self::Spool(_) => false,
        }
    }

    /// The socket, if the bytes on it are what they mean.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            _ => None,
        }
    }

    /// How much there is, if it is a body that was kept.
    pub(crate) fn spooled(&self) -> Option<u64> {
        match self {
            Self::Spool(spool) => Some(spool.len()),
            _ => None,
        }
    }

    /// Whether the peer has closed its side, or broken the connection, as far as the runtime was told. What it has sent
    /// before may not be read yet.
    pub(crate) fn is_read_closed(&self) -> bool {
        fn of(ready: impl Future<Output = io::Result<Ready>>) -> bool {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            matches!(pin!(ready).poll(&mut cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
        }
        match self {
            Self::Tcp(stream) => of(stream.ready(Interest::READABLE)),
            Self::Tls(stream) => of(stream.get_ref().0.ready(Interest::READABLE)),
            Self::Unix(stream) => of(stream.ready(Interest::READABLE)),
            Self::Spool(_) => false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Spool(spool) => {
                let read = spool.read(buf.initialize_unfilled());
                Poll::Ready(read.map(|length| buf.advance(length)))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Spool(spool) => Poll::Ready(spool.append(buf).map(|()| buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) | Self::Spool(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Spool(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Room of a worker for one read. A connection that waits is lent this instead of holding a buffer of its own; what
/// passes through it stays in the processor's cache.
const SCRATCH: usize = 64 * 1024;
/// The part of it that is used where what was read has to be kept: enough for nearly every head, with a small body.
const KEPT: usize = 16 * 1024;
/// Room that a connection takes for itself once it is seen to carry a lot.
const BULK: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// A stream and what was read from it but not yet used.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The stream. Reading from it past [`Conn::buffer`] would reorder bytes.
    pub(crate) stream: Stream,
    /// Bytes read and not yet used.
    pub(crate) buffer: BytesMut,
    bulk: bool,
}

impl Conn {
    /// A connection with nothing read yet.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new(), bulk: false }
    }

    /// Reads once and appends to the buffer; 0 means that the peer has closed its side.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bulk {
            self.buffer.reserve(BULK / 2);
            let read = pin!(self.stream.read_buf(&mut self.buffer));
            return read.poll(cx);
        }
        SHARED.with_borrow_mut(|scratch| {
            let mut room = ReadBuf::new(&mut scratch[..KEPT]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            let read = room.filled();
            self.buffer.extend_from_slice(read);
            self.bulk = read.len() == KEPT;
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Reads once and has `take` use what came; what it leaves is kept in the buffer, which must be empty before. `take`
    /// returns how much it has used. 0 means that the peer has closed its side.
    pub(crate) fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Context<'_>, &[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        SHARED.with_borrow_mut(|scratch| {
            let mut room = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            let read = room.filled();
            if !read.is_empty() {
                let used = take(cx, read);
                self.buffer.extend_from_slice(&read[used..]);
            }
            Poll::Ready(Ok(read.len()))
        })
    }

    /// As [`Conn::poll_fill`].
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Writes some of `data`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stream).poll_write(cx, data)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => Poll::Ready(result),
        }
    }

    /// Writes some of `first`, and if that is all of it, of `second`.
    pub(crate) fn poll_write_both(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        let parts = [io::IoSlice::new(first), io::IoSlice::new(second)];
        match ready!(Pin::new(self).poll_write_vectored(cx, &parts)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => Poll::Ready(result),
        }
    }

    /// Brings what was written to the socket; only TLS holds anything back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Writes everything and flushes.
    pub(crate) async fn send(&mut self, mut data: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while !data.is_empty() {
                let written = ready!(self.poll_write(cx, data))?;
                data = &data[written..];
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Gives memory back while nothing is read or written.
    pub(crate) fn rest(&mut self) {
        self.bulk = false;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Puts back what was taken off the front of the buffer.
    pub(crate) fn unread(&mut self, data: &[u8]) {
        let mut buffer = BytesMut::with_capacity(data.len() + self.buffer.len());
        buffer.extend_from_slice(data);
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
    }

    /// Whether the peer is still there and silent, as far as the runtime knows. Anything it says between two requests,
    /// its end included, makes the connection useless.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.buffer.is_empty() && self.poll_fill(&mut cx).is_pending()
    }

    /// As [`Conn::is_quiet`], but asks the socket itself: one system call, for requests that could not be repeated.
    pub(crate) fn is_quiet_now(&mut self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let result = match &self.stream {
            Stream::Tcp(stream) => recv(stream, &mut byte, flags),
            // What waits in the socket may be a session ticket, which is no reason to close.
            Stream::Tls(_) => return self.is_quiet(),
            Stream::Unix(stream) => recv(stream, &mut byte, flags),
            Stream::Spool(_) => return false,
        };
        result.is_err_and(|error| error == rustix::io::Errno::AGAIN) && self.is_quiet()
    }
}

/// Reading begins with what is in the buffer.
impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let conn = self.get_mut();
        if conn.buffer.is_empty() {
            return Pin::new(&mut conn.stream).poll_read(cx, room);
        }
        let length = conn.buffer.len().min(room.remaining());
        room.put_slice(&conn.buffer.split_to(length));
        conn.rest();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, parts),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Spool(spool) => {
                let appended = parts.iter().try_for_each(|part| spool.append(part));
                Poll::Ready(appended.map(|()| parts.iter().map(|part| part.len()).sum()))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
