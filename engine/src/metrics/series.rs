//! Counts of requests by status, method and protocol, of an entry point or a service.
//!
//! Each worker has a list of its own, and is the only one that appends to it and raises what is in it; who reads walks
//! the lists meanwhile. Nothing waits for anything. Most lists have two or three entries.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::http::head::{Request, tokens};
use crate::http::name::Name;
use crate::stats::{Counter, Padded};

/// Most entries in a worker's list. What would need more is counted with the code 0.
const MOST: usize = 1024;
/// Methods that are told apart. All others are one, since clients may invent as many as they like.
const METHODS: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "EXTENSION_METHOD"];
const PROTOCOLS: [&str; 3] = ["http", "websocket", "sse"];
const OTHER: u8 = METHODS.len() as u8 - 1;

/// Upper bounds of a histogram's buckets, rising.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bounds {
    /// In seconds, as configured.
    pub(crate) seconds: Box<[f64]>,
    nanoseconds: Box<[u64]>,
}

impl Bounds {
    /// Checks what the snapshot says.
    pub(crate) fn build(seconds: &[f64]) -> Result<Self, String> {
        let is_usable = |bound: &f64| bound.is_finite() && *bound > 0.0;
        if !seconds.iter().all(is_usable) || !seconds.is_sorted_by(|a, b| a < b) {
            return Err("the buckets of the metrics are not rising numbers above 0".to_owned());
        }
        let nanoseconds = seconds.iter().map(|bound| (bound * 1e9) as u64).collect();
        Ok(Self { seconds: seconds.into(), nanoseconds })
    }
}

/// What a request's series are told apart by, beside the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Labels {
    method: u8,
    protocol: u8,
}

impl Labels {
    /// The labels of a request.
    pub(crate) fn of(request: &Request) -> Self {
        let method = METHODS.iter().position(|known| *known == request.method());
        let is_events = |value| tokens(value).any(|kind| kind.starts_with(b"text/event-stream"));
        let protocol = if request.is_websocket() {
            1
        } else if request.fields.values(Name::Accept).any(is_events) {
            2
        } else {
            0
        };
        Self { method: method.map_or(OTHER, |index| index as u8), protocol }
    }

    /// `GET`, `EXTENSION_METHOD`
    pub(crate) fn method(self) -> &'static str {
        METHODS[usize::from(self.method)]
    }

    /// `http`, `websocket` or `sse`
    pub(crate) fn protocol(self) -> &'static str {
        PROTOCOLS[usize::from(self.protocol)]
    }
}

/// What an entry of a list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(u32);

impl Key {
    /// In the place of a status: requests that have not ended.
    const OPEN: u16 = u16::MAX;

    fn new(code: u16, labels: Labels) -> Self {
        Self(u32::from(code) << 16 | u32::from(labels.method) << 8 | u32::from(labels.protocol))
    }

    fn code(self) -> u16 {
        (self.0 >> 16) as u16
    }

    fn labels(self) -> Labels {
        Labels { method: (self.0 >> 8) as u8, protocol: self.0 as u8 }
    }
}

/// An entry of a list.
#[derive(Debug)]
struct Node {
    key: Key,
    count: Counter,
    nanoseconds: Counter,
    buckets: Box<[Counter]>,
    next: OnceLock<Box<Node>>,
}

/// The counts of one entry point or service.
#[derive(Debug)]
pub(crate) struct Series {
    bounds: Option<Arc<Bounds>>,
    lists: Box<[Padded<OnceLock<Box<Node>>>]>,
}

impl Series {
    /// All zero. Without bounds nothing is counted.
    pub(crate) fn new(workers: usize, bounds: Option<&Arc<Bounds>>) -> Self {
        Self { bounds: bounds.map(Arc::clone), lists: (0..workers).map(|_| Padded::default()).collect() }
    }

    /// Whether it counts what is to be counted: nothing, or with these bounds.
    pub(crate) fn fits(&self, bounds: Option<&Arc<Bounds>>) -> bool {
        bounds.is_none_or(|bounds| self.bounds.as_ref() == Some(bounds))
    }

    /// A request has begun.
    pub(crate) fn opened(&self, worker: usize, labels: Labels) {
        if let Some(node) = self.node(worker, Key::new(Key::OPEN, labels)) {
            node.count.add(1);
        }
    }

    /// A request that had begun here has ended.
    pub(crate) fn closed(&self, worker: usize, labels: Labels, status: u16, duration: Duration) {
        if let Some(node) = self.node(worker, Key::new(Key::OPEN, labels)) {
            node.count.take_one();
        }
        let Some(bounds) = &self.bounds else { return };
        let node = self.node(worker, Key::new(status, labels));
        if let Some(node) = node.or_else(|| self.node(worker, Key::new(0, labels))) {
            let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            node.count.add(1);
            node.nanoseconds.add(nanoseconds);
            if let Some(index) = bounds.nanoseconds.iter().position(|bound| nanoseconds <= *bound) {
                node.buckets[index].add(1);
            }
        }
    }

    /// The entry of a key; `None` if there are too many.
    fn node(&self, worker: usize, key: Key) -> Option<&Node> {
        let mut place = &self.lists[worker].0;
        let mut length = 0;
        loop {
            match place.get() {
                Some(node) if node.key == key => return Some(node),
                Some(node) => place = &node.next,
                // What stands for all others is always let in.
                None if length >= MOST && !matches!(key.code(), 0 | Key::OPEN) => return None,
                None => {
                    let buckets = match key.code() {
                        Key::OPEN => 0,
                        _ => self.bounds.as_ref().map_or(0, |bounds| bounds.nanoseconds.len()),
                    };
                    return Some(place.get_or_init(|| Box::new(Node::new(key, buckets))));
                }
            }
            length += 1;
        }
    }

    /// Adds what was counted on all workers to `sums`.
    pub(crate) fn add_to(&self, sums: &mut Sums) {
        for list in &self.lists {
            let mut place = &list.0;
            while let Some(node) = place.get() {
                sums.add(node);
                place = &node.next;
            }
        }
    }
}

impl Node {
    fn new(key: Key, buckets: usize) -> Self {
        Self {
            key,
            count: Counter::default(),
            nanoseconds: Counter::default(),
            buckets: (0..buckets).map(|_| Counter::default()).collect(),
            next: OnceLock::new(),
        }
    }
}

/// What was counted, added up.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// Requests that have not ended, by method and protocol.
    pub(crate) open: BTreeMap<(&'static str, &'static str), u64>,
    /// Those that have, by status, method and protocol.
    pub(crate) ended: BTreeMap<(u16, &'static str, &'static str), Ended>,
}

/// Requests that have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How many.
    pub(crate) count: u64,
    /// How long they took together.
    pub(crate) nanoseconds: u64,
    /// How many fell into each bucket; those that took longer are in none.
    pub(crate) buckets: Vec<u64>,
}

impl Sums {
    fn add(&mut self, node: &Node) {
        let labels = node.key.labels();
        if node.key.code() == Key::OPEN {
            *self.open.entry((labels.method(), labels.protocol())).or_default() += node.count.get();
            return;
        }
        let ended = self.ended.entry((node.key.code(), labels.method(), labels.protocol())).or_default();
        ended.buckets.resize(node.buckets.len(), 0);
        let mut in_buckets = 0;
        for (sum, bucket) in ended.buckets.iter_mut().zip(&node.buckets) {
            let count = bucket.get();
            in_buckets += count;
            *sum += count;
        }
        ended.nanoseconds += node.nanoseconds.get();
        // A request may end between the two readings: a histogram's count is never below its last bucket.
        ended.count += node.count.get().max(in_buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn labels(head: &str) -> (&'static str, &'static str) {
        let labels = Labels::of(&Request::parse(Bytes::from(head.to_owned())).unwrap());
        (labels.method(), labels.protocol())
    }

    #[test]
    fn labels_of_requests() {
        assert_eq!(labels("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ("GET", "http"));
        assert_eq!(labels("FOO / HTTP/1.1\r\nHost: a\r\n\r\n"), ("EXTENSION_METHOD", "http"));
        assert_eq!(labels("get / HTTP/1.1\r\nHost: a\r\n\r\n"), ("EXTENSION_METHOD", "http"));
        let websocket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(labels(websocket), ("GET", "websocket"));
        let events = "POST / HTTP/1.1\r\nHost: a\r\nAccept: text/html, text/event-stream;q=1\r\n\r\n";
        assert_eq!(labels(events), ("POST", "sse"));
    }

    #[test]
    fn workers_are_added_up() {
        let bounds = Arc::new(Bounds::build(&[0.1, 1.0]).unwrap());
        let series = Series::new(2, Some(&bounds));
        let labels = Labels { method: 0, protocol: 0 };
        for (worker, status, milliseconds) in [(0, 200, 100), (1, 200, 101), (1, 200, 5_000), (0, 404, 1)] {
            series.opened(worker, labels);
            series.closed(worker, labels, status, Duration::from_millis(milliseconds));
        }
        series.opened(1, labels);
        let mut sums = Sums::default();
        series.add_to(&mut sums);
        assert_eq!(sums.open, BTreeMap::from([(("GET", "http"), 1)]));
        let found = Ended { count: 3, nanoseconds: 5_201_000_000, buckets: vec![1, 1] };
        let missing = Ended { count: 1, nanoseconds: 1_000_000, buckets: vec![1, 0] };
        assert_eq!(sums.ended, BTreeMap::from([((200, "GET", "http"), found), ((404, "GET", "http"), missing)]));
    }

    #[test]
    fn too_many_statuses_are_one() {
        let bounds = Arc::new(Bounds::build(&[]).unwrap());
        let series = Series::new(1, Some(&bounds));
        for method in [0, 1] {
            for status in 100..1000 {
                let labels = Labels { method, protocol: 0 };
                series.opened(0, labels);
                series.closed(0, labels, status, Duration::ZERO);
            }
        }
        let mut sums = Sums::default();
        series.add_to(&mut sums);
        assert_eq!(sums.ended.values().map(|ended| ended.count).sum::<u64>(), 1800);
        assert!(sums.ended.len() <= MOST + 2);
        assert!(sums.ended.contains_key(&(0, "POST", "http")));
        assert!(sums.open.values().all(|open| *open == 0));
    }

    #[test]
    fn bounds_have_to_rise() {
        assert!(Bounds::build(&[0.1, 0.3]).is_ok() && Bounds::build(&[]).is_ok());
        for bad in [&[0.3, 0.1][..], &[0.1, 0.1], &[0.0], &[-1.0], &[f64::INFINITY], &[f64::NAN]] {
            assert!(Bounds::build(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_fits() {
        let (some, other) = (Arc::new(Bounds::build(&[1.0]).unwrap()), Arc::new(Bounds::build(&[2.0]).unwrap()));
        let (off, on) = (Series::new(1, None), Series::new(1, Some(&some)));
        assert!(off.fits(None) && on.fits(None) && on.fits(Some(&some)));
        assert!(!off.fits(Some(&some)) && !on.fits(Some(&other)));
    }

    /// `cargo test --release -- --ignored --nocapture what_counting_costs`
    #[test]
    #[ignore = "a measurement"]
    fn what_counting_costs() {
        let bounds = Arc::new(Bounds::build(&[0.1, 0.3, 1.2, 5.0]).unwrap());
        let (entry_point, service) = (Series::new(2, Some(&bounds)), Series::new(2, Some(&bounds)));
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n";
        let request = Request::parse(Bytes::from(request)).unwrap();
        let rounds = 10_000_000;
        let begun = std::time::Instant::now();
        for _ in 0..rounds {
            let labels = Labels::of(std::hint::black_box(&request));
            entry_point.opened(0, labels);
            service.opened(0, labels);
            service.closed(0, labels, 200, Duration::from_millis(1));
            entry_point.closed(0, labels, 200, Duration::from_millis(1));
        }
        println!("{:?} a request", begun.elapsed() / rounds);
    }
}
