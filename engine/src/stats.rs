//! Counters. Each worker has its own and is the only one that raises them; readers add them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use crate::error::{Cause, Kind};
use crate::metrics::series::{Bounds, Series};
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
pub(crate) struct Padded<T>(pub(crate) T);

/// What is counted for an entry point.
#[derive(Debug)]
pub(crate) struct EntryPointStats {
    requests: Box<[Padded<Counter>]>,
    /// What the metrics show.
    pub(crate) series: Series,
}

impl EntryPointStats {
    /// All zero; `bounds` if metrics are asked for.
    pub(crate) fn new(workers: usize, bounds: Option<&Arc<Bounds>>) -> Self {
        Self { requests: (0..workers).map(|_| Padded::default()).collect(), series: Series::new(workers, bounds) }
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
    counters: Box<[Padded<ServiceCounters>]>,
    /// What the metrics show.
    pub(crate) series: Series,
}

#[derive(Debug, Default)]
struct ServiceCounters {
    requests: Counter,
    failures: Counter,
    retries: Counter,
}

impl ServiceStats {
    /// All zero; `bounds` if metrics are asked for.
    pub(crate) fn new(workers: usize, bounds: Option<&Arc<Bounds>>) -> Self {
        Self { counters: (0..workers).map(|_| Padded::default()).collect(), series: Series::new(workers, bounds) }
    }

    /// Counts a request on a worker, and its attempts after the first.
    pub(crate) fn request(&self, worker: usize, failed: bool, retries: u32) {
        let Padded(counters) = &self.counters[worker];
        counters.requests.add(1);
        if failed {
            counters.failures.add(1);
        }
        if retries > 0 {
            counters.retries.add(u64::from(retries));
        }
    }

    /// Attempts after the first.
    pub(crate) fn retries(&self) -> u64 {
        self.total(|counters| &counters.retries)
    }

    fn total(&self, of: fn(&ServiceCounters) -> &Counter) -> u64 {
        self.counters.iter().map(|counters| of(&counters.0).get()).sum()
    }
}

/// What all workers have counted.
pub(crate) fn sum(shared: &Shared, of: impl Fn(&WorkerStats) -> u64) -> u64 {
    shared.stats.iter().map(of).sum()
}

/// The failures, by the names of their causes.
pub(crate) fn causes(shared: &Shared) -> impl Iterator<Item = (&'static str, u64)> {
    Cause::NAMES.iter().enumerate().map(|(index, name)| (*name, sum(shared, |stats| stats.causes[index].get())))
}

/// The failures, by the names of their kinds.
pub(crate) fn failures(shared: &Shared) -> impl Iterator<Item = (&'static str, u64)> {
    KINDS.iter().enumerate().map(|(index, (_, name))| (*name, sum(shared, |stats| stats.failures[index].get())))
}

/// The body of `GET /counters`.
pub(crate) fn report<'a>(
    shared: &Shared,
    entry_points: impl Iterator<Item = (&'a String, &'a EntryPointStats)>,
    services: impl Iterator<Item = &'a Service>,
) -> Value {
    let sum = |of: &dyn Fn(&WorkerStats) -> u64| sum(shared, of);
    let by_status: Map<String, Value> = (0..STATUSES)
        .map(|index| (index, sum(&|stats| stats.by_status[index].get())))
        .filter(|(_, count)| *count > 0)
        .map(|(index, count)| ((index + 100).to_string(), json!(count)))
        .collect();
    let failures: Map<String, Value> = failures(shared).map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let causes: Map<String, Value> = causes(shared).map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let by_entry_point: Map<String, Value> =
        entry_points.map(|(name, stats)| (name.clone(), json!(stats.total()))).collect();
    let services: Map<String, Value> = services
        .map(|service| {
            let (requests, failures) = (service.stats.total(|it| &it.requests), service.stats.total(|it| &it.failures));
            let down = service.servers.iter().enumerate().filter(|(index, _)| !service.is_up(*index));
            let down: Vec<&str> = down.map(|(_, server)| server.url.as_str()).collect();
            (service.id.clone(), json!({"requests": requests, "failures": failures, "down": down}))
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
        "access_log": {"written": shared.metrics.log.written(), "dropped": shared.metrics.log.dropped()},
        "services": services,
    })
}
