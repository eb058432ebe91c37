//! Connections to servers: idle ones, and those of HTTP/2, which several exchanges share. Each worker has its own.

pub(crate) mod connect;
pub(crate) mod multiplex;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState as Hasher;

use crate::io::Conn;
use crate::snapshot::table::Server;

/// How long a connection may lie idle.
const IDLE: Duration = Duration::from_secs(90);

#[derive(Debug)]
struct Idle {
    conn: Conn,
    since: Instant,
}

/// The connections of a worker, by server.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// Idle ones of HTTP/1, the one used last at the back.
    by_server: RefCell<HashMap<u64, VecDeque<Idle>, Hasher>>,
    /// Those of HTTP/2.
    pub(crate) multiplexed: multiplex::Set,
}

impl Pools {
    /// A connection to `server` that was alive when last looked at. `surely` asks the socket itself.
    pub(crate) fn take(&self, server: &Server, surely: bool) -> Option<Conn> {
        let mut by_server = self.by_server.borrow_mut();
        let pool = by_server.get_mut(&server.id)?;
        while let Some(mut idle) = pool.pop_back() {
            let quiet = if surely { idle.conn.is_quiet_now() } else { idle.conn.is_quiet() };
            if quiet && idle.since.elapsed() < IDLE {
                return Some(idle.conn);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange is complete. At most `limit` are kept, the oldest goes.
    pub(crate) fn put(&self, server: &Server, mut conn: Conn, limit: usize) {
        if limit == 0 || !conn.buffer.is_empty() {
            return;
        }
        conn.rest();
        let mut by_server = self.by_server.borrow_mut();
        let pool = by_server.entry(server.id).or_default();
        pool.push_back(Idle { conn, since: Instant::now() });
        if pool.len() > limit {
            pool.pop_front();
        }
    }

    /// Closes what has been idle for long, what the server has closed, and what belongs to servers not in `alive`.
    pub(crate) fn sweep(&self, alive: &HashSet<u64>) {
        self.multiplexed.sweep(alive, IDLE);
        self.by_server.borrow_mut().retain(|server, pool| {
            pool.retain_mut(|idle| idle.since.elapsed() < IDLE && idle.conn.is_quiet());
            alive.contains(server) && !pool.is_empty()
        });
    }
}
