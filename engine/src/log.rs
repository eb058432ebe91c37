//! Log lines on standard error.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level as Severity, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How long the end of the process waits for them.
const FLUSH: Duration = Duration::from_millis(500);

/// Changes which lines are written.
pub(crate) type Level = reload::Handle<LevelFilter, Registry>;

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    /// For systemd's journal, which knows the time: each line begins with its priority (sd-daemon(3)).
    Journal,
}

/// Starts logging. Lines are written by a thread of their own and dropped if it does not keep up: whoever reads them
/// must not be able to hold traffic up.
pub(crate) fn start(form: Form) -> io::Result<Log> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        for entry in receiver {
            // Whoever waits may have gone; and about a broken standard error there is nobody to tell.
            let _ = match entry {
                Entry::Line(line) => io::stderr().write_all(&line),
                Entry::Flush(done) => done.send(()).map_err(io::Error::other),
            };
        }
    })?;
    let (filter, level) = reload::Layer::new(LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(Lines { sender: sender.clone(), priorities: false }).with_ansi(false);
    match form {
        Form::Text => registry.with(lines).init(),
        Form::Json => registry.with(lines.json().flatten_event(true)).init(),
        Form::Journal => {
            let writer = Lines { sender: sender.clone(), priorities: true };
            registry.with(lines.with_writer(writer).without_time().with_level(false)).init();
        }
    }
    Ok(Log { level, sender })
}

/// Has every panic written as a line, with its place.
pub(crate) fn panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "internal error")));
}

/// The running log.
pub(crate) struct Log {
    /// Changes which lines are written.
    pub(crate) level: Level,
    sender: SyncSender<Entry>,
}

impl Log {
    /// Waits until the lines so far are written, but not for long.
    pub(crate) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.sender.try_send(Entry::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH);
        }
    }
}

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

struct Lines {
    sender: SyncSender<Entry>,
    priorities: bool,
}

/// One line; sent when dropped.
struct Line {
    bytes: Vec<u8>,
    sender: SyncSender<Entry>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::new(), sender: self.sender.clone() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        let mut line = self.make_writer();
        if self.priorities {
            line.bytes.extend_from_slice(match *metadata.level() {
                Severity::ERROR => b"<3>",
                Severity::WARN => b"<4>",
                Severity::INFO => b"<6>",
                _ => b"<7>",
            });
        }
        line
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Full or gone: the line is lost, on purpose.
        let _ = self.sender.try_send(Entry::Line(std::mem::take(&mut self.bytes)));
    }
}
