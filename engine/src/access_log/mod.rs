//! The access log: a line for each request, as Traefik 1.7 writes it.
//!
//! A worker appends the line to a buffer of its own ([`Lines`]) and hands the buffer on when it is full or some time has
//! passed; a thread writes it ([`writer`]). Nothing on a worker waits for that.

mod clock;
mod common;
mod escape;
pub(crate) mod fields;
mod json;
pub(crate) mod line;
pub(crate) mod writer;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use clock::Clock;
use fields::{Format, Layout};
use line::Entry;
use writer::Sink;

/// A buffer is handed on at this size, whatever else holds.
const BATCH: usize = 64 * 1024;
/// How long a line may stay in a worker's buffer: that several requests share one hand-over.
const SHORTLY: Duration = Duration::from_millis(100);
/// The same if the operator asked for buffering.
const BUFFERED: Duration = Duration::from_secs(1);

/// What is logged how, and where to.
#[derive(Debug)]
pub(crate) struct AccessLog {
    /// What and how.
    pub(crate) layout: Layout,
    /// Where to.
    pub(crate) sink: Arc<Sink>,
}

impl AccessLog {
    /// The number of a request that has ended, from 1 on.
    pub(crate) fn next_count(&self) -> u64 {
        self.sink.totals.next()
    }

    /// Whether lines hold heads' fields other than the two that the common format shows.
    pub(crate) fn wants_heads(&self) -> bool {
        self.layout.format == Format::Json && !self.layout.headers.are_dropped()
    }
}

/// A worker's lines that were not handed on yet.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: RefCell<Buffer>,
    wait: Cell<Duration>,
    begun: Notify,
}

#[derive(Debug)]
struct Buffer {
    sink: Option<Arc<Sink>>,
    bytes: Vec<u8>,
    count: u64,
    clock: Option<Clock>,
}

impl Buffer {
    fn hand_on(&mut self) {
        if let Some(sink) = &self.sink
            && self.count > 0
        {
            let next = Vec::with_capacity(self.bytes.capacity().min(BATCH + 4096));
            sink.send(std::mem::replace(&mut self.bytes, next), self.count);
            self.count = 0;
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            buffer: RefCell::new(Buffer { sink: None, bytes: Vec::new(), count: 0, clock: None }),
            wait: Cell::new(SHORTLY),
            begun: Notify::new(),
        }
    }
}

impl Lines {
    /// Appends a line.
    pub(crate) fn push(&self, log: &AccessLog, entry: &Entry<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.sink.as_ref().is_some_and(|sink| Arc::ptr_eq(sink, &log.sink)) {
            buffer.hand_on();
            buffer.sink = Some(Arc::clone(&log.sink));
        }
        let buffer = &mut *buffer;
        let clock = buffer.clock.get_or_insert_with(Clock::new);
        match log.layout.format {
            Format::Common => common::write(&mut buffer.bytes, &log.layout, clock, entry),
            Format::Json => json::write(&mut buffer.bytes, &log.layout, clock, entry),
        }
        buffer.count += 1;
        let buffering = u64::from(log.layout.buffering);
        if buffer.bytes.len() >= BATCH || (buffering > 0 && buffer.count >= buffering) {
            buffer.hand_on();
        } else if buffer.count == 1 {
            self.wait.set(if buffering > 0 { BUFFERED } else { SHORTLY });
            self.begun.notify_one();
        }
    }

    /// Waits for a first line, and tells how long it may stay.
    pub(crate) async fn begun(&self) -> Duration {
        self.begun.notified().await;
        self.wait.get()
    }

    /// Hands on what is there. Afterwards nothing here keeps a file open.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        buffer.hand_on();
        buffer.sink = None;
    }
}

#[cfg(test)]
mod tests;
