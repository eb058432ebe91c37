//! Counters. Each worker has its own and is the only one that raises them; readers add them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use crate::error::{Cause, Kind};
use crate::snapshot::table::Service;
use crate::state::Shared;

/// Statuses that are counted, 100 to 999.
const STATUSES: usize = 900;
const KINDS: [(Kind, &str); 7] = [
    (Kind::Client, "client"),
    (Kind::ServerConnect, "server_connect"),
    (Kind::ServerTimeout, "server_timeout"),
    (Kind::ServerProtocol, "server_protocol"),
    (Kind::NoRoute, "no_route"),
    (Kind::NoServer, "no_server"),
    (Kind::Internal, "internal"),
];

/// A counter that one thread raises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. A load and a store, since nobody else writes.
    pub(crate) fn add(&self, number: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(number), Relaxed);
    }

    /// Takes one off, for gauges.
    pub(crate) fn take_one(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Its value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts. Aligned so that two workers' counters share no cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) accept_failed: Counter,
    pub(crate) open: Counter,
    pub(crate) panicked: Counter,
    pub(crate) http2_connections: Counter,
    pub(crate) http2_floods: Counter,
    pub(crate) requests: Counter,
    pub(crate) requests_open: Counter,
    pub(crate) duration_ns: Counter,
    pub(crate) response_bytes: Counter,
    by_status: Box<[Counter]>,
    failures: [Counter; KINDS.len()],
    causes: [Counter; Cause::NAMES.len()],
}

impl WorkerStats {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            accepted: Counter::default(),
            refused: Counter::default(),
            accept_failed: Counter::default(),
            open: Counter::default(),
            panicked: Counter::default(),
            http2_connections: Counter::default(),
            http2_floods: Counter::default(),
            requests: Counter::default(),
            requests_open: Counter::default(),
            duration_ns: Counter::default(),
            response_bytes: Counter::default(),
            by_status: (0..STATUSES).map(|_| Counter::default()).collect(),
            failures: Default::default(),
            causes: std::array::from_fn(|_| Counter::default()),
        }
    }

    /// Counts an answer by its status.
    pub(crate) fn status(&self, status: u16) {
        if let Some(counter) = self.by_status.get(usize::from(status).wrapping_sub(100)) {
            counter.add(1);
        }
    }

    /// Counts a failure.
    pub(crate) fn failure(&self, kind: Kind, cause: Cause) {
        if let Some(counter) = self.causes.get(cause as usize) {
            counter.add(1);
        }
        if let Some(index) = KINDS.iter().position(|(known, _)| *known == kind) {
            self.failures[index].add(1);
        }
    }
}

/// A counter for each worker, padded.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded<T>(T);

/// What is counted for an entry point.
#[derive(Debug)]
pub(crate) struct EntryPointStats {
    requests: Box<[Padded<Counter>]>,
}

impl EntryPointStats {
    /// All zero.
    pub(crate) fn new(workers: usize) -> Self {
        Self { requests: (0..workers).map(|_| Padded::default()).collect() }
    }

    /// Counts a request on a worker.
    pub(crate) fn request(&self, worker: usize) {
        self.requests[worker].0.add(1);
    }

    fn total(&self) -> u64 {
        self.requests.iter().map(|counter| counter.0.get()).sum()
    }
}

/// What is counted for a service.
#[derive(Debug)]
pub(crate) struct ServiceStats {
    counters: Box<[Padded<(Counter, Counter)>]>,
}

impl ServiceStats {
    /// All zero.
    pub(crate) fn new(workers: usize) -> Self {
        Self { counters: (0..workers).map(|_| Padded::default()).collect() }
    }

    /// Counts a request on a worker.
    pub(crate) fn request(&self, worker: usize, failed: bool) {
        let Padded((requests, failures)) = &self.counters[worker];
        requests.add(1);
        if failed {
            failures.add(1);
        }
    }

    fn total(&self, of: fn(&(Counter, Counter)) -> &Counter) -> u64 {
        self.counters.iter().map(|counters| of(&counters.0).get()).sum()
    }
}

/// The body of `GET /counters`.
pub(crate) fn report<'a>(
    shared: &Shared,
    entry_points: impl Iterator<Item = (&'a String, &'a EntryPointStats)>,
    services: impl Iterator<Item = &'a Service>,
) -> Value {
    let sum = |of: &dyn Fn(&WorkerStats) -> u64| shared.stats.iter().map(of).sum::<u64>();
    let by_status: Map<String, Value> = (0..STATUSES)
        .map(|index| (index, sum(&|stats| stats.by_status[index].get())))
        .filter(|(_, count)| *count > 0)
        .map(|(index, count)| ((index + 100).to_string(), json!(count)))
        .collect();
    let failures: Map<String, Value> = KINDS
        .iter()
        .enumerate()
        .map(|(index, (_, name))| ((*name).to_owned(), json!(sum(&|stats| stats.failures[index].get()))))
        .collect();
    let causes: Map<String, Value> = Cause::NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| ((*name).to_owned(), json!(sum(&|stats| stats.causes[index].get()))))
        .collect();
    let by_entry_point: Map<String, Value> =
        entry_points.map(|(name, stats)| (name.clone(), json!(stats.total()))).collect();
    let services: Map<String, Value> = services
        .map(|service| {
            let (requests, failures) = (service.stats.total(|pair| &pair.0), service.stats.total(|pair| &pair.1));
            (service.id.clone(), json!({"requests": requests, "failures": failures}))
        })
        .collect();
    json!({
        "connections": {
            "accepted": sum(&|stats| stats.accepted.get()),
            "refused": sum(&|stats| stats.refused.get()),
            "accept_failed": sum(&|stats| stats.accept_failed.get()),
            "open": sum(&|stats| stats.open.get()),
            "panicked": sum(&|stats| stats.panicked.get()),
        },
        "http2": {
            "accepted": sum(&|stats| stats.http2_connections.get()),
            "floods": sum(&|stats| stats.http2_floods.get()),
        },
        "requests": {
            "total": sum(&|stats| stats.requests.get()),
            "open": sum(&|stats| stats.requests_open.get()),
            "by_status": by_status,
            "by_entry_point": by_entry_point,
            "duration_seconds_total": sum(&|stats| stats.duration_ns.get()) as f64 / 1e9,
            "response_bytes_total": sum(&|stats| stats.response_bytes.get()),
        },
        "failures": failures,
        "causes": causes,
        "services": services,
    })
}
