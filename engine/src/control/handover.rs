//! A new engine takes over from the one that runs: it gets that one's listening sockets, and with them everybody who
//! waits in their queues, so that no connection is refused while the engine is replaced.
//!
//! 1. The new engine asks for the sockets on the control socket of the old one: `GET /listeners` with
//!    `Upgrade: traefikee-listeners`. After the 101 comes one line of JSON ([`Offer`]), then the sockets, as `SCM_RIGHTS`
//!    of single bytes, in the order of the line. Until the end of this connection the old engine applies no snapshot.
//! 2. The new engine is given a snapshot. It is served from the inherited sockets where they fit, while the old engine
//!    still accepts from the same ones.
//! 3. The new engine says `leave`. The old one accepts no more, gives its socket's file the ending `.old`, says `left`
//!    and finishes what it has. The new one puts its own control socket in the place that is free now.
//!
//! Whatever goes wrong before the `leave`: the new engine ends, and the old one goes on as if nothing had happened.
//!
//! An agent asks in the same way, and says `holds` instead of `leave`: it keeps the sockets open, so that nobody is refused
//! while a crashed engine is started again. To that one it lends them, in the same way.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};

/// What `Upgrade` must say.
pub(super) const PROTOCOL: &str = "traefikee-listeners";
/// How long the old engine waits for the `leave`; until then it applies no snapshot.
const LENT: Duration = Duration::from_secs(60);
/// How long the new engine waits for each answer of the old one.
const ANSWER: Duration = Duration::from_secs(10);
/// Sockets in one message; the kernel allows 253.
const BATCH: usize = 64;
/// Longest line that is read.
const MAX_LINE: usize = 1 << 20;

/// The sockets of one listener: one for each worker of the engine that bound them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The address as configured: the port may be 0.
    pub(super) address: SocketAddr,
    /// The entry point that was served there.
    pub(super) entry_point: String,
    /// The sockets.
    pub(super) sockets: Vec<TcpListener>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    version: String,
    pid: u32,
    listeners: Vec<Offered>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Offered {
    address: SocketAddr,
    entry_point: String,
    sockets: usize,
}

/// The old engine, as the new one knows it.
#[derive(Debug)]
pub(crate) struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    version: String,
    pid: u32,
    listeners: Vec<Sockets>,
}

impl Predecessor {
    /// Asks the engine that answers on `path` for its listening sockets.
    pub(crate) fn ask(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let head =
            format!("GET /listeners HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut received = Received::default();
        let head = received.until(&stream, b"\r\n\r\n")?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            return Err(io::Error::other(format!("the running engine does not hand its listeners over: {line}")));
        }
        let offer: Offer = serde_json::from_slice(&received.until(&stream, b"\n")?).map_err(io::Error::other)?;
        let count = offer.listeners.iter().map(|listener| listener.sockets).sum();
        while received.sockets.len() < count {
            received.more(&stream)?;
        }
        let mut sockets = received.sockets.into_iter().map(TcpListener::from);
        let listeners = offer.listeners.into_iter().map(|listener| Sockets {
            address: listener.address,
            entry_point: listener.entry_point,
            sockets: sockets.by_ref().take(listener.sockets).collect(),
        });
        let listeners = listeners.collect();
        Ok(Self { path: path.to_owned(), stream, version: offer.version, pid: offer.pid, listeners })
    }

    /// The sockets; once.
    pub(super) fn take_listeners(&mut self) -> Vec<Sockets> {
        std::mem::take(&mut self.listeners)
    }

    /// Has the old engine leave, and moves the own control socket from `own` to its place. Returns that place.
    ///
    /// It blocks: there is nothing else to do for the control thread before this is known.
    pub(super) fn replace(mut self, own: &Path) -> io::Result<PathBuf> {
        if let Err(error) = self.leave() {
            // Gone is as good as left.
            if !matches!(UnixStream::connect(&self.path), Err(gone) if gone.kind() == io::ErrorKind::ConnectionRefused)
            {
                return Err(error);
            }
            tracing::warn!(%error, pid = self.pid, "the engine that was to be replaced has ended by itself");
        }
        std::fs::rename(own, &self.path)?;
        tracing::info!(pid = self.pid, version = self.version, "took over from the engine that ran");
        Ok(self.path)
    }

    fn leave(&mut self) -> io::Result<()> {
        self.stream.write_all(b"leave\n")?;
        match Received::default().until(&self.stream, b"\n")?.as_slice() {
            b"left\n" => Ok(()),
            other => Err(io::Error::other(format!("unexpected answer: {}", String::from_utf8_lossy(other)))),
        }
    }
}

/// What came over the connection: bytes, and sockets beside them.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Received {
    /// Takes off the bytes up to and with `end`.
    fn until(&mut self, stream: &UnixStream, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.bytes, end) {
                let rest = self.bytes.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.bytes, rest));
            }
            if self.bytes.len() > MAX_LINE {
                return Err(io::Error::other("the running engine's answer is too long"));
            }
            self.more(stream)?;
        }
    }

    fn more(&mut self, stream: &UnixStream) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(&mut bytes)];
        let message = rustix::net::recvmsg(stream, &mut room, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        for part in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = part {
                self.sockets.extend(sockets);
            }
        }
        match message.bytes {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the running engine has closed the connection")),
            count => {
                self.bytes.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// What became of lent sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lent {
    /// Another engine serves them: this one is to leave.
    Served,
    /// Somebody keeps them open, for the time after a crash.
    Held,
    /// Nothing was said.
    Nothing,
}

/// The old engine's side: gives the sockets, and waits for what becomes of them.
pub(super) async fn lend(stream: &mut tokio::net::UnixStream, listeners: &[Sockets]) -> io::Result<Lent> {
    let offer = Offer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        listeners: listeners
            .iter()
            .map(|one| Offered {
                address: one.address,
                entry_point: one.entry_point.clone(),
                sockets: one.sockets.len(),
            })
            .collect(),
    };
    let mut head = BytesMut::new();
    head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ");
    head.extend_from_slice(PROTOCOL.as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head.extend_from_slice(&serde_json::to_vec(&offer)?);
    head.extend_from_slice(b"\n");
    stream.write_all(&head).await?;
    let sockets: Vec<_> = listeners.iter().flat_map(|one| &one.sockets).map(AsFd::as_fd).collect();
    for batch in sockets.chunks(BATCH) {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            beside.push(SendAncillaryMessage::ScmRights(batch));
            Ok(rustix::net::sendmsg(&*stream, &[IoSlice::new(b".")], &mut beside, SendFlags::NOSIGNAL)?)
        };
        stream.async_io(Interest::WRITABLE, send).await?;
    }
    Ok(match tokio::time::timeout(LENT, word(stream)).await {
        Ok(Ok(word)) if &word == b"leave\n" => Lent::Served,
        Ok(Ok(word)) if &word == b"holds\n" => Lent::Held,
        _ => Lent::Nothing,
    })
}

/// The next word.
async fn word(stream: &mut tokio::net::UnixStream) -> io::Result<[u8; 6]> {
    use tokio::io::AsyncReadExt;
    let mut word = [0; 6];
    stream.read_exact(&mut word).await?;
    Ok(word)
}

/// Where the control socket's file of an engine that leaves is found.
pub(super) fn left_path(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Listening sockets by what identifies a listener (see `apply::key`).
pub(super) type Inherited = HashMap<String, Vec<TcpListener>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// More sockets than fit in one message arrive whole and in order, and the old engine hears the `leave`.
    #[test]
    fn sockets_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let control = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listeners: Vec<_> = [3, 0, BATCH * 2, 1]
            .into_iter()
            .enumerate()
            .map(|(number, count)| Sockets {
                address: "127.0.0.1:0".parse().unwrap(),
                entry_point: number.to_string(),
                sockets: (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect(),
            })
            .collect();
        let addresses = |listeners: &[Sockets]| -> Vec<(String, Vec<SocketAddr>)> {
            let of = |socket: &TcpListener| socket.local_addr().unwrap();
            listeners.iter().map(|one| (one.entry_point.clone(), one.sockets.iter().map(of).collect())).collect()
        };
        let expected = addresses(&listeners);
        let lender = std::thread::spawn(move || {
            let (stream, _) = control.accept().unwrap();
            assert!(Received::default().until(&stream, b"\r\n\r\n").unwrap().starts_with(b"GET /listeners "));
            stream.set_nonblocking(true).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut stream = tokio::net::UnixStream::from_std(stream).unwrap();
                let left = lend(&mut stream, &listeners).await.unwrap();
                stream.write_all(b"left\n").await.unwrap();
                left
            })
        });
        let mut predecessor = Predecessor::ask(&path).unwrap();
        assert_eq!(predecessor.pid, std::process::id());
        assert_eq!(addresses(&predecessor.take_listeners()), expected);
        let own = folder.path().join("own");
        std::fs::write(&own, "").unwrap();
        assert_eq!(predecessor.replace(&own).unwrap(), path);
        assert_eq!(lender.join().unwrap(), Lent::Served);
        assert!(!own.exists());
    }

    #[test]
    fn nobody_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Predecessor::ask(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
