//! The thread that writes lines. Workers hand it whole batches and never wait for it: what it cannot take is dropped and
//! counted.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Batches that may wait to be written.
const WAITING: usize = 256;
/// How often it is told that lines are lost.
const COMPLAINT: Duration = Duration::from_secs(60);

/// What all that was ever logged comes to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    requests: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Totals {
    /// The number of the next request, from 1 on.
    pub(super) fn next(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lines that were written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that were lost: the writer did not keep up, or could not write.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Where lines go: a file, or standard output. When the last reference goes, what it has is written and it ends.
#[derive(Debug)]
pub(crate) struct Sink {
    path: String,
    sender: SyncSender<Message>,
    reopen: Arc<AtomicBool>,
    pub(super) totals: Arc<Totals>,
}

#[derive(Debug)]
enum Message {
    Lines {
        bytes: Vec<u8>,
        count: u64,
    },
    /// The file may have been moved away.
    Reopen,
    /// To be answered when everything before it is written.
    Flush(SyncSender<()>),
}

impl Sink {
    /// Opens `path` (empty: standard output) and starts its thread. Missing folders are made (0755), as is the file
    /// (0664).
    pub(crate) fn open(path: &str, totals: &Arc<Totals>) -> io::Result<Arc<Self>> {
        let file = open(path)?;
        let (sender, receiver) = sync_channel(WAITING);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: path.to_owned(),
            file,
            torn: false,
            reopen: Arc::clone(&reopen),
            totals: Arc::clone(totals),
            told: 0,
            complaint: None,
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Arc::new(Self { path: path.to_owned(), sender, reopen, totals: Arc::clone(totals) }))
    }

    /// The path that it was opened with.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Hands a batch on, or drops it.
    pub(super) fn send(&self, bytes: Vec<u8>, count: u64) {
        if self.sender.try_send(Message::Lines { bytes, count }).is_err() {
            self.totals.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Has the file opened again by its name, before anything else is written.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // If it is busy, it will see it without being told.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Waits until everything that was handed on is written, but not longer than `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn open(path: &str) -> io::Result<File> {
    if path.is_empty() {
        return io::stdout().as_fd().try_clone_to_owned().map(File::from);
    }
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o664).open(path)
}

/// The thread's own state.
struct Writer {
    path: String,
    file: File,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    reopen: Arc<AtomicBool>,
    totals: Arc<Totals>,
    /// The lost lines that were told about.
    told: u64,
    /// When that was.
    complaint: Option<Instant>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            if self.reopen.swap(false, Ordering::Acquire) {
                self.open_again();
            }
            match message {
                Message::Lines { bytes, count } => self.write(&bytes, count),
                Message::Reopen => {}
                // Whoever waits may have gone.
                Message::Flush(done) => _ = done.try_send(()),
            }
        }
    }

    fn open_again(&mut self) {
        if self.path.is_empty() {
            return;
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
                tracing::info!(path = self.path, "access log opened again");
            }
            Err(error) => {
                tracing::error!(path = self.path, %error, "the access log cannot be opened again; the file before stays");
            }
        }
    }

    fn write(&mut self, bytes: &[u8], count: u64) {
        let result = if self.torn { self.append(b"\n") } else { Ok(()) }.and_then(|()| self.append(bytes));
        match &result {
            Ok(()) => self.totals.written.fetch_add(count, Ordering::Relaxed),
            Err(_) => self.totals.dropped.fetch_add(count, Ordering::Relaxed),
        };
        self.complain(result.err());
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = bytes[written - 1] != b'\n';
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells about lost lines, once a minute at most.
    fn complain(&mut self, error: Option<io::Error>) {
        let dropped = self.totals.dropped();
        if dropped == self.told || self.complaint.is_some_and(|last| last.elapsed() < COMPLAINT) {
            return;
        }
        let (lost, path) = (dropped - self.told, if self.path.is_empty() { "standard output" } else { &self.path });
        match error {
            Some(error) => tracing::error!(path, lost, %error, "the access log cannot be written; lines are lost"),
            None => tracing::error!(path, lost, "the access log is written too slowly; lines are lost"),
        }
        self.told = dropped;
        self.complaint = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn batches_are_appended_and_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a/b/access.log"), folder.path().join("moved"));
        let totals = Arc::default();
        let sink = Sink::open(path.to_str().unwrap(), &totals).unwrap();
        sink.send(b"one\ntwo\n".to_vec(), 2);
        sink.flush(LIMIT);
        std::fs::rename(&path, &moved).unwrap();
        sink.send(b"three\n".to_vec(), 1);
        sink.reopen();
        sink.flush(LIMIT);
        sink.send(b"four\n".to_vec(), 1);
        sink.flush(LIMIT);
        let read = |path| std::fs::read_to_string(path).unwrap();
        // The third may come before or after the file was moved, as its thread takes it.
        let all = read(&moved) + &read(&path);
        assert_eq!(all, "one\ntwo\nthree\nfour\n");
        assert!(read(&path).ends_with("four\n"));
        assert_eq!((totals.written(), totals.dropped()), (4, 0));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let totals = Arc::default();
        let sink = Sink::open("/dev/full", &totals).unwrap();
        sink.send(b"one\n".to_vec(), 1);
        sink.flush(LIMIT);
        assert_eq!((totals.written(), totals.dropped()), (0, 1));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        assert!(Sink::open("/dev/null/access.log", &Arc::default()).is_err());
    }

    #[test]
    fn a_line_that_was_cut_ends_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer {
            path: String::new(),
            file: File::create(&path).unwrap(),
            torn: false,
            reopen: Arc::default(),
            totals: Arc::default(),
            told: 0,
            complaint: None,
        };
        writer.append(b"one\nhal").unwrap();
        writer.write(b"two\n", 1);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nhal\ntwo\n");
    }
}
