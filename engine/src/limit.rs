//! Limits of connections: of an entry point, of each of its clients, and of the file descriptors that they take.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Parts of the map of clients, each with a lock of its own.
const SHARDS: usize = 16;
/// A map that has room for so many clients keeps it.
const SMALL: usize = 64;

/// How many connections are let in. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// On the entry point.
    pub(crate) total: Option<u32>,
    /// From one client: an IPv4 address, or a /64 network of IPv6, which is what one customer usually has.
    pub(crate) per_client: Option<u32>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The entry point's.
    EntryPoint(u32),
    /// One client's.
    Client(u32),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryPoint(limit) => write!(f, "MaxConnections ({limit}) is reached"),
            Self::Client(limit) => write!(f, "MaxConnectionsPerClient ({limit}) is reached"),
        }
    }
}

/// The open connections of one entry point, counted by all workers together. They stay counted when a new snapshot
/// changes the limits; a client's share counts those that were accepted while it was limited.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicU32,
    clients: Box<[Mutex<HashMap<IpAddr, u32>>]>,
    hasher: RandomState,
    /// When a refusal was logged.
    pub(crate) told: Rarely,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: AtomicU32::new(0),
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            told: Rarely::default(),
        }
    }
}

impl Connections {
    /// Counts a connection, unless the entry point is full. What is returned counts it until it is dropped; who the
    /// client is may be told later.
    pub(crate) fn enter(self: &Arc<Self>, limits: Limits) -> Result<Admitted, Full> {
        let limit = limits.total.unwrap_or(u32::MAX);
        let entered = self.open.fetch_update(Relaxed, Relaxed, |open| (open < limit).then(|| open + 1));
        match entered {
            Ok(_) => Ok(Admitted { connections: Arc::clone(self), client: None }),
            Err(_) => Err(Full::EntryPoint(limit)),
        }
    }

    fn shard(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        // A count is whole even if a thread panicked beside it.
        self.clients[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
}

impl Admitted {
    /// Counts the connection as one of this client, unless it has too many.
    pub(crate) fn of(&mut self, address: IpAddr, limits: Limits) -> Result<(), Full> {
        let Some(limit) = limits.per_client else { return Ok(()) };
        let client = client(address);
        let mut shard = self.connections.shard(client);
        let count = shard.entry(client).or_default();
        if *count >= limit {
            return Err(Full::Client(limit));
        }
        *count += 1;
        drop(shard);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut shard = self.connections.shard(client);
        match shard.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                shard.remove(&client);
                // What an attack has taken is given back.
                if shard.capacity() > SMALL && shard.len() < shard.capacity() / 8 {
                    shard.shrink_to(SMALL);
                }
            }
        }
    }
}

/// Whose share an address counts for.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Says yes once a second at most: for log lines that an attacker could otherwise make by the thousand.
#[derive(Debug)]
pub(crate) struct Rarely {
    since: Instant,
    last: AtomicU64,
}

impl Default for Rarely {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Rarely {
    /// Whether it is time again.
    pub(crate) fn now(&self) -> bool {
        let second = self.since.elapsed().as_secs() + 1;
        self.last.fetch_update(Relaxed, Relaxed, |last| (second > last).then_some(second)).is_ok()
    }
}

/// The file descriptors of the process. The last of them are not for clients: the control socket and connections to
/// servers need some however many clients there are.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limit: u64,
    for_clients: u64,
    /// When their end was logged.
    pub(crate) told: Rarely,
}

impl Descriptors {
    /// `limit` is how many files the process may open (`ulimit -n`). An eighth is kept back, at least 32 and at most 4096.
    pub(crate) fn new(limit: u64) -> Self {
        let reserve = (limit / 8).clamp(32, 4096);
        Self { limit, for_clients: limit.saturating_sub(reserve), told: Rarely::default() }
    }

    /// How many files the process may open.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether a client's connection may stay. The system gives the lowest number that is free, so that a high one says
    /// how many are taken.
    pub(crate) fn admit(&self, stream: &impl AsRawFd) -> bool {
        u64::try_from(stream.as_raw_fd()).is_ok_and(|number| number < self.for_clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_point_has_an_end() {
        let connections = Arc::new(Connections::default());
        let limits = Limits { total: Some(2), per_client: None };
        let first = connections.enter(limits).unwrap();
        let _second = connections.enter(limits).unwrap();
        assert_eq!(connections.enter(limits).unwrap_err(), Full::EntryPoint(2));
        drop(first);
        assert!(connections.enter(limits).is_ok());
        assert!(connections.enter(Limits::default()).is_ok());
    }

    #[test]
    fn a_client_has_its_share() {
        let connections = Arc::new(Connections::default());
        let limits = Limits { total: None, per_client: Some(1) };
        let admit = |address| {
            let mut admitted = connections.enter(limits).unwrap();
            admitted.of(ip(address), limits).map(|()| admitted)
        };
        let one = admit("192.0.2.1").unwrap();
        assert_eq!(admit("::ffff:192.0.2.1").unwrap_err(), Full::Client(1));
        let _other = admit("192.0.2.2").unwrap();
        let _network = admit("2001:db8::1").unwrap();
        assert_eq!(admit("2001:db8::2:3:4:5").unwrap_err(), Full::Client(1));
        let _next = admit("2001:db8:0:1::1").unwrap();
        drop(one);
        assert!(admit("192.0.2.1").is_ok());
        assert_eq!(connections.open.load(Relaxed), 3);
    }

    #[test]
    fn what_an_attack_took_is_given_back() {
        let connections = Arc::new(Connections::default());
        let limits = Limits { total: None, per_client: Some(1) };
        let many: Vec<_> = (0..100_000_u32)
            .map(|number| {
                let mut admitted = connections.enter(limits).unwrap();
                admitted.of(IpAddr::from(number.to_be_bytes()), limits).unwrap();
                admitted
            })
            .collect();
        drop(many);
        for shard in &connections.clients {
            let shard = shard.lock().unwrap();
            assert!(shard.is_empty() && shard.capacity() <= 4 * SMALL, "{}", shard.capacity());
        }
    }

    #[test]
    fn threads_never_exceed_a_limit_together() {
        let connections = Arc::new(Connections::default());
        let limits = Limits { total: Some(5), per_client: Some(3) };
        let highest = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for number in 0..4_u8 {
                let (connections, highest) = (&connections, &highest);
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        if let Ok(mut admitted) = connections.enter(limits) {
                            let _ = admitted.of(IpAddr::from([127, 0, 0, number % 2]), limits);
                            highest.fetch_max(connections.open.load(Relaxed), Relaxed);
                        }
                    }
                });
            }
        });
        assert!(highest.into_inner() <= 5);
        assert_eq!(connections.open.load(Relaxed), 0);
        assert!(connections.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_line_a_second() {
        let rarely = Rarely::default();
        assert!(rarely.now());
        assert!(!rarely.now());
    }

    #[test]
    fn some_descriptors_are_not_for_clients() {
        for (limit, for_clients) in [(1024, 896), (20_000, 17_500), (1 << 20, (1 << 20) - 4096), (40, 8), (10, 0)] {
            assert_eq!(Descriptors::new(limit).for_clients, for_clients, "{limit}");
        }
    }
}
