//! Log lines on standard error; the newest of them are kept for who asks on the control socket.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use tracing::level_filters::LevelFilter;
use tracing::{Level as Severity, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How long the end of the process waits for them.
const FLUSH: Duration = Duration::from_millis(500);
/// Lines that are kept.
const KEPT: usize = 2000;
/// Bytes of all lines that are kept.
const KEPT_BYTES: usize = 1 << 20;

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
    let kept = Kept::default();
    // The copies first: their type does not depend on the form of the others.
    let copies = fmt::layer().with_writer(kept.clone()).with_ansi(false).json().flatten_event(true);
    let registry = registry.with(copies);
    let lines = fmt::layer().with_writer(Lines { sender: sender.clone(), priorities: false }).with_ansi(false);
    match form {
        Form::Text => registry.with(lines).init(),
        Form::Json => registry.with(lines.json().flatten_event(true)).init(),
        Form::Journal => {
            let writer = Lines { sender: sender.clone(), priorities: true };
            registry.with(lines.with_writer(writer).without_time().with_level(false)).init();
        }
    }
    Ok(Log { level, kept, sender })
}

/// Has every panic written as a line, with its place.
pub(crate) fn panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "internal error")));
}

/// The running log.
pub(crate) struct Log {
    /// Changes which lines are written.
    pub(crate) level: Level,
    /// The newest lines.
    pub(crate) kept: Kept,
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

/// The newest lines as JSON, whatever form those on standard error have. Clones share them.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Mutex<Ring>>);

struct Ring {
    /// What tells this run of the engine from others: numbers begin anew with each.
    run: String,
    /// The number of the next line; the first is 1.
    next: u64,
    bytes: usize,
    lines: VecDeque<Box<RawValue>>,
}

impl Default for Kept {
    fn default() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let run = format!("{}-{started:x}", std::process::id());
        Self(Arc::new(Mutex::new(Ring { run, next: 1, bytes: 0, lines: VecDeque::new() })))
    }
}

impl Kept {
    fn push(&self, line: Vec<u8>) {
        // What is no JSON is nothing that the layer wrote.
        let Some(line) = String::from_utf8(line).ok().and_then(|text| RawValue::from_string(text).ok()) else { return };
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.next += 1;
        ring.bytes += line.get().len();
        ring.lines.push_back(line);
        while ring.lines.len() > KEPT || (ring.bytes > KEPT_BYTES && ring.lines.len() > 1) {
            if let Some(oldest) = ring.lines.pop_front() {
                ring.bytes -= oldest.get().len();
            }
        }
    }

    /// The kept lines that came after the one of a number, with the `run`, the number of the `last` line, and how many
    /// that are asked for are kept no more.
    pub(crate) fn after(&self, number: u64) -> Value {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.next - ring.lines.len() as u64;
        let wanted = number.saturating_add(1).clamp(first, ring.next);
        let skipped = usize::try_from(wanted - first).unwrap_or(usize::MAX);
        let lines: Vec<_> = ring.lines.iter().skip(skipped).collect();
        json!({
            "run": ring.run,
            "last": ring.next - 1,
            "lost": first.saturating_sub(number.saturating_add(1)),
            "lines": lines,
        })
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = KeptLine;

    fn make_writer(&'a self) -> KeptLine {
        KeptLine { bytes: Vec::new(), kept: self.clone() }
    }
}

/// One line; kept when dropped.
pub(crate) struct KeptLine {
    bytes: Vec<u8>,
    kept: Kept,
}

impl Write for KeptLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for KeptLine {
    fn drop(&mut self) {
        self.kept.push(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(kept: &Kept, line: &str) {
        kept.make_writer().write_all(line.as_bytes()).unwrap();
    }

    fn numbers(answer: &Value) -> Vec<u64> {
        answer["lines"].as_array().unwrap().iter().map(|line| line["n"].as_u64().unwrap()).collect()
    }

    #[test]
    fn lines_after_a_number() {
        let kept = Kept::default();
        assert_eq!((kept.after(0)["last"].as_u64(), numbers(&kept.after(7))), (Some(0), vec![]));
        for n in 1..=3 {
            keep(&kept, &format!("{{\"n\":{n}}}\n"));
        }
        keep(&kept, "not json");
        assert_eq!(numbers(&kept.after(0)), [1, 2, 3]);
        assert_eq!(numbers(&kept.after(2)), [3]);
        assert_eq!(numbers(&kept.after(u64::MAX)), [0; 0]);
        assert_eq!(kept.after(3)["last"], 3);
    }

    #[test]
    fn the_oldest_make_room() {
        let kept = Kept::default();
        for n in 1..=KEPT + 5 {
            keep(&kept, &format!("{{\"n\":{n}}}"));
        }
        let all = kept.after(0);
        assert_eq!((all["lost"].as_u64(), numbers(&all).len(), numbers(&all)[0]), (Some(5), KEPT, 6));
        let long = "x".repeat(KEPT_BYTES / 3);
        for n in 1..=4 {
            keep(&kept, &format!("{{\"n\":{n},\"x\":\"{long}\"}}"));
        }
        assert_eq!(numbers(&kept.after(0)), [3, 4]);
    }
}
