//! Bytes from one socket to another through a pipe of the kernel's: they are never copied into the process.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds unless it is told otherwise, and so what is moved at once.
pub(crate) const PIECE: usize = 64 * 1024;
/// Empty pipes that a worker keeps for the next body.
const KEPT: usize = 32;
/// Pages may be moved instead of copied, and nothing waits.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

thread_local! {
    static EMPTY: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Both ends of a pipe.
#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

/// A body's bytes between two sockets.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    /// There is a pipe only while something is in it.
    ends: Option<Ends>,
    held: usize,
    is_useless: bool,
}

impl Splice {
    /// Whether something is on its way.
    pub(crate) fn is_held(&self) -> bool {
        self.held > 0
    }

    /// Whether the kernel refused: the bytes have to be copied.
    pub(crate) fn is_useless(&self) -> bool {
        self.is_useless
    }

    /// Takes some of what `source` has, `most` bytes or less, when nothing is on its way. 0 means that the peer has
    /// closed its side, unless it is the kernel that refuses, after which nothing was taken.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(source.poll_read_ready(cx))?;
            let ends = match self.ends.take().map_or_else(Ends::new, Ok) {
                Ok(ends) => self.ends.insert(ends),
                // Every file may be in use; a copy needs none.
                Err(_) => {
                    self.is_useless = true;
                    return Poll::Ready(Ok(0));
                }
            };
            let length = most.min(PIECE);
            let moved = source.try_io(Interest::READABLE, || {
                splice(source, None, &ends.into, None, length, FLAGS).map_err(io::Error::from)
            });
            match moved {
                Ok(moved) => {
                    self.held = moved;
                    self.rest();
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOSYS)) => {
                    self.is_useless = true;
                    self.rest();
                    return Poll::Ready(Ok(0));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Hands on what is on its way, or a part of it; returns how much.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, sink: &TcpStream) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                splice(&ends.out, None, sink, None, self.held, FLAGS).map_err(io::Error::from)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => {
                    self.held = self.held.saturating_sub(moved);
                    self.rest();
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives the pipe back if it is empty.
    fn rest(&mut self) {
        if self.held == 0
            && let Some(ends) = self.ends.take()
        {
            EMPTY.with_borrow_mut(|empty| {
                if empty.len() < KEPT {
                    empty.push(ends);
                }
            });
        }
    }
}

impl Ends {
    fn new() -> io::Result<Self> {
        if let Some(ends) = EMPTY.with_borrow_mut(Vec::pop) {
            return Ok(ends);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { out, into })
    }
}
