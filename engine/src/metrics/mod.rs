//! Metrics for Prometheus, with the names and labels of Traefik 1.7.
//!
//! Workers count ([`series`]); a thread of its own adds up and writes the text ([`render`]) when a scrape asks for it, so
//! that not even thousands of backends hold a worker up.

mod process;
mod render;
pub(crate) mod series;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::access_log::writer::Totals;
use crate::state::Shared;

/// What is counted beside the requests, and the way to the thread that writes it all down.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Snapshots that were to be put in force.
    pub(crate) reloads: Reloads,
    /// Lines of the access log.
    pub(crate) log: Arc<Totals>,
    started: SystemTime,
    scrapes: Sender<oneshot::Sender<Bytes>>,
    receiver: Mutex<Option<Receiver<oneshot::Sender<Bytes>>>>,
}

/// Snapshots that were to be put in force, and when that last went well or not: seconds since 1970, 0 for never.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    total: AtomicU64,
    failures: AtomicU64,
    last_success: AtomicU64,
    last_failure: AtomicU64,
}

impl Reloads {
    /// Counts one.
    pub(crate) fn count(&self, succeeded: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.total.fetch_add(1, Ordering::Relaxed);
        if succeeded {
            self.last_success.store(now, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.last_failure.store(now, Ordering::Relaxed);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (scrapes, receiver) = channel();
        Self {
            reloads: Reloads::default(),
            log: Arc::default(),
            started: SystemTime::now(),
            scrapes,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Metrics {
    /// Has the text written. `None` if its thread is gone.
    pub(crate) async fn scrape(&self) -> Option<Bytes> {
        let (done, is_done) = oneshot::channel();
        self.scrapes.send(done).ok()?;
        is_done.await.ok()
    }
}

/// Starts the thread that writes the text.
pub(crate) fn start(shared: &Arc<Shared>) -> std::io::Result<()> {
    let receiver = shared.metrics.receiver.lock().map_or(None, |mut receiver| receiver.take());
    let Some(receiver) = receiver else { return Ok(()) };
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        while let Ok(first) = receiver.recv() {
            // Whoever asked by now gets the same text: asking often costs no more than asking.
            let waiting: Vec<_> = std::iter::once(first).chain(receiver.try_iter()).collect();
            let text = Bytes::from(render::render(&shared));
            for done in waiting {
                let _ = done.send(text.clone());
            }
        }
    })?;
    Ok(())
}
