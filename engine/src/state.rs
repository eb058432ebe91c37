//! What all threads share.

use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::limit::Descriptors;
use crate::metrics::Metrics;
use crate::snapshot::table::Tables;
use crate::stats::WorkerStats;

/// What all threads share. Workers only read it, but for their own counters.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The tables in force.
    pub(crate) tables: ArcSwap<Tables>,
    /// The counters, by worker.
    pub(crate) stats: Box<[WorkerStats]>,
    /// Whether the engine is stopping.
    pub(crate) draining: AtomicBool,
    /// Whether pings say that this node is not to be used: it stops, or it was drained.
    pub(crate) unavailable: AtomicBool,
    /// The file descriptors that there may be.
    pub(crate) descriptors: Descriptors,
    /// What is counted beside the requests.
    pub(crate) metrics: Metrics,
    /// Told whenever a worker that drains has closed a connection.
    pub(crate) closed: Notify,
}

impl Shared {
    /// The state of an engine that was not told anything yet.
    pub(crate) fn new(workers: usize, descriptors: Descriptors) -> Self {
        Self {
            tables: ArcSwap::from_pointee(Tables::empty()),
            stats: (0..workers).map(|_| WorkerStats::new()).collect(),
            draining: AtomicBool::new(false),
            unavailable: AtomicBool::new(false),
            descriptors,
            metrics: Metrics::default(),
            closed: Notify::new(),
        }
    }
}
