//! Putting a snapshot in force: checked, built and bound beside what is there, then swapped, or refused whole.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::handover::{Inherited, Sockets};
use super::replaced::Replaced;
use crate::access_log::AccessLog;
use crate::access_log::fields::Layout;
use crate::access_log::writer::Sink;
use crate::listen;
use crate::log::Level;
use crate::middleware::States;
use crate::service::check::Checker;
use crate::snapshot::build::{Built, Kept, Sources, build};
use crate::snapshot::document::{self, Unusable};
use crate::snapshot::table::{EntryPoint, Slot, Tables};
use crate::snapshot::{Kind, Problem, Snapshot};
use crate::state::Shared;
use crate::stats::EntryPointStats;
use crate::tls::upstream::UpstreamTls;
use crate::worker::Order;

/// Why a snapshot is not in force.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The document is no snapshot, or no change of one.
    Malformed(String),
    /// It is a change of another snapshot than the one in force.
    OtherBase(String),
    /// It has problems, or its addresses cannot be bound.
    Problems(Vec<Problem>),
    /// The engine is stopping.
    Stopping,
}

/// A bound address.
#[derive(Debug)]
struct Listener {
    slot: Slot,
    shown: Listening,
    /// As configured: the port may be 0.
    address: SocketAddr,
    /// The workers' sockets once more, for an engine that takes over. A socket is open until both are dropped.
    sockets: Vec<std::net::TcpListener>,
}

/// What `/status` shows of an entry point that is bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Listening {
    entry_point: String,
    address: SocketAddr,
    tls: bool,
    ping: bool,
}

/// Puts snapshots in force, one after the other.
pub(crate) struct Applier {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    level: Level,
    listeners: HashMap<String, Listener>,
    sources: Option<Sources>,
    replaced: Replaced,
    checker: Checker,
    upstream_tls: Option<Arc<UpstreamTls>>,
    entry_point_stats: HashMap<String, Arc<EntryPointStats>>,
    states: States,
    next_slot: Slot,
    inherited: Inherited,
    /// Whether nothing is listened on: the entry points of snapshots are in force for the connections that there are.
    closed: bool,
}

/// The sockets of a new listener: the workers', and the ones that are kept.
type Bound = (Vec<std::net::TcpListener>, Vec<std::net::TcpListener>);

impl Applier {
    /// With nothing in force, but perhaps with sockets of another engine, for the first snapshot.
    pub(crate) fn new(
        shared: Arc<Shared>,
        workers: Vec<mpsc::UnboundedSender<Order>>,
        level: Level,
        inherited: Vec<Sockets>,
    ) -> Self {
        let inherited = inherited.into_iter().map(|it| (key(it.address, &it.entry_point), it.sockets)).collect();
        Self {
            shared,
            workers,
            level,
            listeners: HashMap::new(),
            sources: None,
            replaced: Replaced::default(),
            checker: Checker::default(),
            upstream_tls: None,
            entry_point_stats: HashMap::new(),
            states: States::default(),
            next_slot: 0,
            inherited,
            closed: false,
        }
    }

    /// The sockets of all listeners, for an engine that takes over.
    pub(crate) fn sockets(&self) -> io::Result<Vec<Sockets>> {
        let of = |listener: &Listener| {
            Ok(Sockets {
                address: listener.address,
                entry_point: listener.shown.entry_point.clone(),
                sockets: listener.sockets.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<_>>()?,
            })
        };
        self.listeners.values().filter(|listener| !listener.sockets.is_empty()).map(of).collect()
    }

    /// Gives up the listeners; the workers are told elsewhere.
    pub(crate) fn release(&mut self) {
        self.listeners.clear();
    }

    /// Whether nothing is listened on, whatever snapshots come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether anything is listened on.
    pub(crate) fn listens(&self) -> bool {
        self.listeners.values().any(|listener| !listener.sockets.is_empty())
    }

    /// Closes the listeners, and those of later snapshots too, until [`Self::open`]. Connections stay: they are to end
    /// with their next answer. When this returns, all that waited in the queues are accepted.
    pub(crate) async fn close(&mut self) {
        self.closed = true;
        for listener in self.listeners.values_mut() {
            listener.sockets.clear();
        }
        let mut acknowledged = Vec::new();
        for worker in &self.workers {
            let (done, is_done) = oneshot::channel();
            let _ = worker.send(Order::Leave(done));
            acknowledged.push(is_done);
        }
        for is_done in acknowledged {
            // A worker that is gone has closed its listeners.
            let _ = is_done.await;
        }
    }

    /// Listens again, on all addresses of the snapshot in force or on none.
    pub(crate) fn open(&mut self) -> Result<(), Vec<Problem>> {
        let mut bound = HashMap::new();
        let mut problems = Vec::new();
        for (key, listener) in &self.listeners {
            let sockets = listen::bind(listener.address, self.workers.len(), false);
            match sockets.and_then(both) {
                Ok(both) => {
                    bound.insert(key.clone(), both);
                }
                Err(error) => problems.push(unbound(&listener.shown.entry_point, listener.address, &error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.closed = false;
        for (key, (sockets, kept)) in bound {
            let Some(listener) = self.listeners.get_mut(&key) else { continue };
            if let Some(address) = kept.first().and_then(|socket| socket.local_addr().ok()) {
                listener.shown.address = address;
            }
            listener.sockets = kept;
            for (worker, socket) in self.workers.iter().zip(sockets) {
                let _ = worker.send(Order::Listen(listener.slot, socket));
            }
        }
        Ok(())
    }

    /// Entry points and where they listen, by name.
    pub(crate) fn listeners(&self) -> Vec<Listening> {
        if self.closed {
            return Vec::new();
        }
        let mut list: Vec<_> = self.listeners.values().map(|listener| listener.shown.clone()).collect();
        list.sort();
        list
    }

    /// The counters of all entry points that there ever were.
    pub(crate) fn entry_point_stats(&self) -> &HashMap<String, Arc<EntryPointStats>> {
        &self.entry_point_stats
    }

    /// Everything that is wrong with a snapshot, but for what only binding shows. `Err` if it is none.
    pub(crate) fn check(&self, document: &[u8]) -> Result<Vec<Problem>, String> {
        Ok(self.build(document::whole(document, self.in_force())?).err().unwrap_or_default())
    }

    /// Puts a snapshot in force. When this returns, new requests are served from it and its listeners are bound.
    pub(crate) async fn apply(&mut self, document: &[u8]) -> Result<u64, Refused> {
        let snapshot = document::whole(document, self.in_force()).map_err(Refused::Malformed)?;
        self.replace(snapshot).await
    }

    /// Puts in force what a change makes of the snapshot in force.
    pub(crate) async fn change(&mut self, document: &[u8]) -> Result<u64, Refused> {
        let snapshot = document::changed(document, self.in_force()).map_err(|error| match error {
            Unusable::OtherBase(error) => Refused::OtherBase(error),
            Unusable::Malformed(error) => Refused::Malformed(error),
        })?;
        self.replace(snapshot).await
    }

    /// The snapshot in force.
    pub(crate) fn in_force(&self) -> Option<&Snapshot> {
        self.sources.as_ref().map(|sources| &sources.snapshot)
    }

    async fn replace(&mut self, snapshot: Snapshot) -> Result<u64, Refused> {
        if self.shared.draining.load(Ordering::SeqCst) {
            return Err(Refused::Stopping);
        }
        let result = self.put_in_force(snapshot).await;
        self.shared.metrics.reloads.count(result.is_ok());
        result
    }

    async fn put_in_force(&mut self, snapshot: Snapshot) -> Result<u64, Refused> {
        let mut built = self.build(snapshot).map_err(Refused::Problems)?;
        built.settings.access_log = self.access_log(built.access_log.take()).map_err(Refused::Problems)?;
        let bound = self.bind(&built.entry_points).map_err(Refused::Problems)?;
        let revision = built.revision;
        self.swap(built, bound).await;
        tracing::info!(revision, "snapshot in force");
        Ok(revision)
    }

    /// Opens the access log, unless it is open already.
    fn access_log(&self, wanted: Option<(Layout, String)>) -> Result<Option<Arc<AccessLog>>, Vec<Problem>> {
        let Some((layout, path)) = wanted else { return Ok(None) };
        let sink = match self.log_sink().filter(|sink| sink.path() == path) {
            Some(sink) => sink,
            None => Sink::open(&path, &self.shared.metrics.log).map_err(|error| {
                let error = format!("the access log {path} cannot be opened: {}", explain(&error));
                vec![Problem { kind: Kind::Settings, id: String::new(), error }]
            })?,
        };
        Ok(Some(Arc::new(AccessLog { layout, sink })))
    }

    /// Where the access log goes now.
    pub(crate) fn log_sink(&self) -> Option<Arc<Sink>> {
        self.shared.tables.load().settings.access_log.as_ref().map(|log| Arc::clone(&log.sink))
    }

    fn build(&self, snapshot: Snapshot) -> Result<Built, Vec<Problem>> {
        let tables = self.shared.tables.load();
        build(
            snapshot,
            &Kept {
                tables: &tables,
                sources: self.sources.as_ref(),
                upstream_tls: self.upstream_tls.as_ref(),
                entry_point_stats: &self.entry_point_stats,
                states: &self.states,
                workers: self.workers.len(),
            },
        )
    }

    /// Binds the addresses that are not listened on yet; all of them or none. Nothing is bound while all is closed.
    fn bind(&self, entry_points: &[(SocketAddr, EntryPoint)]) -> Result<HashMap<String, Bound>, Vec<Problem>> {
        if self.closed {
            return Ok(HashMap::new());
        }
        let wanted: HashSet<String> = entry_points.iter().map(|(address, it)| key(*address, &it.name)).collect();
        let port = |socket: &std::net::TcpListener| socket.local_addr().ok().map(|address| address.port());
        let going: HashSet<u16> = (self.listeners.iter().map(|(key, it)| (key, &it.sockets)))
            .chain(&self.inherited)
            .filter(|(key, _)| !wanted.contains(*key))
            .filter_map(|(_, sockets)| sockets.first().and_then(port))
            .collect();
        let mut bound = HashMap::new();
        let mut problems = Vec::new();
        for (address, entry_point) in entry_points {
            let key = key(*address, &entry_point.name);
            if self.listeners.contains_key(&key) {
                continue;
            }
            let sockets = match self.inherited.get(&key) {
                Some(inherited) => listen::inherit(inherited, self.workers.len()),
                None => listen::bind(*address, self.workers.len(), going.contains(&address.port())),
            };
            match sockets.and_then(both) {
                Ok(both) => {
                    bound.insert(key, both);
                }
                Err(error) => problems.push(unbound(&entry_point.name, *address, &error)),
            }
        }
        if problems.is_empty() { Ok(bound) } else { Err(problems) }
    }

    /// Swaps the tables, then opens and closes listeners. Nothing here can fail.
    async fn swap(&mut self, built: Built, mut bound: HashMap<String, Bound>) {
        let servers = built.servers();
        let mut listeners = HashMap::new();
        let mut entry_points = HashMap::default();
        let mut opened = Vec::new();
        for (address, entry_point) in built.entry_points {
            let key = key(address, &entry_point.name);
            let (slot, local, sockets) = match self.listeners.remove(&key) {
                Some(listener) => (listener.slot, listener.shown.address, listener.sockets),
                None => {
                    let slot = self.next_slot;
                    self.next_slot += 1;
                    let (sockets, kept) = bound.remove(&key).unwrap_or_default();
                    let local = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
                    opened.push((slot, sockets));
                    (slot, local, kept)
                }
            };
            let stats = Arc::clone(&entry_point.stats);
            self.entry_point_stats.insert(entry_point.name.clone(), stats);
            let shown = Listening {
                entry_point: entry_point.name.clone(),
                address: local,
                tls: entry_point.tls.is_some(),
                ping: entry_point.ping,
            };
            listeners.insert(key, Listener { slot, shown, address, sockets });
            entry_points.insert(slot, entry_point);
        }
        let closed = std::mem::replace(&mut self.listeners, listeners);
        let closed: Vec<Slot> = closed.into_values().map(|listener| listener.slot).collect();
        // They are in use now, or were not wanted.
        self.inherited.clear();
        self.upstream_tls = Some(built.upstream_tls);
        if let Err(error) = self.level.reload(built.settings.log_level) {
            tracing::warn!(%error, "cannot change the log level");
        }
        self.checker.watch(&built.services);
        let old = self.shared.tables.swap(Arc::new(Tables {
            revision: Some(built.revision),
            settings: Arc::new(built.settings),
            entry_points,
            servers,
            services: built.services,
        }));
        self.replaced.add(old, self.sources.replace(built.sources));
        for (slot, sockets) in opened {
            // An engine with more workers may have left more sockets.
            for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
                let _ = worker.send(Order::Listen(slot, socket));
            }
        }
        let mut acknowledged = Vec::new();
        for worker in &self.workers {
            for slot in &closed {
                let (done, is_done) = oneshot::channel();
                let _ = worker.send(Order::Unlisten(*slot, done));
                acknowledged.push(is_done);
            }
            let _ = worker.send(Order::Sweep);
        }
        for is_done in acknowledged {
            // A worker that is gone has closed its listeners.
            let _ = is_done.await;
        }
    }
}

/// What identifies a listener across snapshots: its address, or, if the system chooses the port, its entry point.
fn key(address: SocketAddr, entry_point: &str) -> String {
    match address.port() {
        0 => format!("{address} {entry_point}"),
        _ => address.to_string(),
    }
}

/// The workers' sockets, and the ones that are kept.
fn both(sockets: Vec<std::net::TcpListener>) -> io::Result<Bound> {
    let kept = sockets.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<_>>()?;
    Ok((sockets, kept))
}

fn unbound(entry_point: &str, address: SocketAddr, error: &io::Error) -> Problem {
    let error = format!("entry point {entry_point}: {address}: {}", explain(error));
    Problem { kind: Kind::EntryPoint, id: entry_point.to_owned(), error }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
