//! Worker threads: each with its own runtime, listeners, upstream connections and counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::access_log::Lines;
use crate::error::{Cause, Kind};
use crate::limit::Admitted;
use crate::pool::Pools;
use crate::proxy;
use crate::proxy::watch::Watches;
use crate::snapshot::table::{Settings, Slot};
use crate::state::Shared;
use crate::stats::WorkerStats;

/// How often idle connections to servers are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// How long nothing is accepted after it failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tasks that run before the sockets are looked at again. Under load a look finds as many ready as there are busy
/// connections; more looks only cost more system calls.
const TASKS_BETWEEN_LOOKS: u32 = 256;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// To accept connections; there may be several sockets for one slot.
    Listen(Slot, std::net::TcpListener),
    /// To accept no more, and to end the connections that were; answered when the listener is closed.
    Unlisten(Slot, oneshot::Sender<()>),
    /// To hand on what it has of the access log.
    Flush(oneshot::Sender<()>),
    /// Servers may have gone: their idle connections are closed.
    Sweep,
    /// To accept no more at all, and to end all connections.
    Drain,
    /// To end what has no end of its own: the time for ending by itself is over.
    Hurry,
    /// To accept no more at all for now, since another engine does, or since the node is drained: connections are to end
    /// with their next answer. Answered when all listeners are closed.
    Leave(oneshot::Sender<()>),
    /// To end the idle connections of listeners that were left.
    EndIdle,
}

/// Tells the connections of a listener that they are to end. Waiting for that costs no lock: each request does it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    passing: Cell<Passing>,
    waiting: RefCell<Slab<Waker>>,
}

/// How a gate stands; it only ever goes on to the next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Passing {
    #[default]
    Open,
    Leaving,
    Closed,
    Over,
}

impl Gate {
    /// Whether they are to end, at the latest with their next answer.
    pub(crate) fn is_closed(&self) -> bool {
        self.passing.get() != Passing::Open
    }

    /// Waits until they are to end where they can say so: a client that is told has no request under way that is lost.
    pub(crate) async fn leaving(&self) {
        self.reaches(Passing::Leaving).await;
    }

    /// Waits until they are to end, idle ones at once.
    pub(crate) async fn closed(&self) {
        self.reaches(Passing::Closed).await;
    }

    /// Waits until the time for ending is over.
    pub(crate) async fn over(&self) {
        self.reaches(Passing::Over).await;
    }

    async fn reaches(&self, passing: Passing) {
        let mut place = Place { gate: self, key: None };
        std::future::poll_fn(|cx| {
            if self.passing.get() >= passing {
                return Poll::Ready(());
            }
            place.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    fn set(&self, passing: Passing) {
        if self.passing.get() < passing {
            self.passing.set(passing);
            for (_, waker) in self.waiting.borrow().iter() {
                waker.wake_by_ref();
            }
        }
    }
}

/// A place among those who wait for a gate, given up when it is dropped.
struct Place<'a> {
    gate: &'a Gate,
    key: Option<usize>,
}

impl Place<'_> {
    fn wait(&mut self, waker: &Waker) {
        let mut waiting = self.gate.waiting.borrow_mut();
        match self.key {
            Some(key) => waiting[key].clone_from(waker),
            None => self.key = Some(waiting.insert(waker.clone())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.gate.waiting.borrow_mut().remove(key);
        }
    }
}

/// A worker's own state.
pub(crate) struct Worker {
    /// Which one it is.
    pub(crate) index: usize,
    /// What all share.
    pub(crate) shared: Arc<Shared>,
    /// Its idle connections to servers.
    pub(crate) pools: Pools,
    /// The exchanges that are under way.
    pub(crate) watches: Watches,
    /// Its lines of the access log.
    pub(crate) lines: Lines,
    settings: RefCell<Rc<Counted>>,
    listeners: RefCell<HashMap<Slot, Vec<Listening>>>,
    /// Gates of listeners that were closed for good, or left to another engine.
    left: RefCell<Vec<Rc<Gate>>>,
}

/// Settings whose users a worker counts by itself: a count that all workers change with every request would go to and fro
/// between their caches.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Settings>);

impl std::ops::Deref for Counted {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

struct Listening {
    gate: Rc<Gate>,
    closed: oneshot::Receiver<()>,
}

impl Worker {
    /// Its counters.
    pub(crate) fn stats(&self) -> &WorkerStats {
        &self.shared.stats[self.index]
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> Rc<Counted> {
        let tables = self.shared.tables.load();
        let mut settings = self.settings.borrow_mut();
        if !Arc::ptr_eq(&settings.0, &tables.settings) {
            *settings = Rc::new(Counted(Arc::clone(&tables.settings)));
        }
        Rc::clone(&settings)
    }
}

/// Starts a worker's thread. It runs until the sender of its orders is dropped.
pub(crate) fn start(index: usize, shared: Arc<Shared>) -> io::Result<mpsc::UnboundedSender<Order>> {
    let (orders, receiver) = mpsc::unbounded_channel();
    let (started, is_started) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let built = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(TASKS_BETWEEN_LOOKS)
            .build_local(Default::default());
        let (result, runtime) = match built {
            Ok(runtime) => (Ok(()), Some(runtime)),
            Err(error) => (Err(error), None),
        };
        // The thread that started this one waits for it.
        let _ = started.send(result);
        if let Some(runtime) = runtime {
            let running = AssertUnwindSafe(|| runtime.block_on(run(index, shared, receiver)));
            if std::panic::catch_unwind(running).is_err() {
                // Whoever supervises the engine starts a whole one; one without this worker would drop connections.
                std::process::exit(1);
            }
        }
    })?;
    is_started.recv().map_err(io::Error::other)??;
    Ok(orders)
}

async fn run(index: usize, shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let settings = Rc::new(Counted(Arc::clone(&shared.tables.load().settings)));
    let worker = Rc::new(Worker {
        index,
        shared,
        settings: RefCell::new(settings),
        pools: Pools::default(),
        watches: Watches::default(),
        lines: Lines::default(),
        listeners: RefCell::default(),
        left: RefCell::default(),
    });
    tokio::task::spawn_local(proxy::watch::run(Rc::clone(&worker)));
    let mut tick = tokio::time::interval(SWEEP);
    let mut hand_on = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut has_lines = false;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            _ = tick.tick() => Some(Order::Sweep),
            wait = worker.lines.begun(), if !has_lines => {
                hand_on.as_mut().reset(tokio::time::Instant::now() + wait);
                has_lines = true;
                continue;
            }
            () = hand_on.as_mut(), if has_lines => {
                has_lines = false;
                worker.lines.flush();
                continue;
            }
        };
        match order {
            None => return,
            Some(Order::Listen(slot, listener)) => listen(&worker, slot, listener),
            Some(Order::Unlisten(slot, done)) => {
                let removed = worker.listeners.borrow_mut().remove(&slot);
                for listening in removed.into_iter().flatten() {
                    listening.gate.set(Passing::Closed);
                    // Its end of the channel is dropped with the listener.
                    let _ = listening.closed.await;
                }
                let _ = done.send(());
            }
            Some(Order::Flush(done)) => {
                worker.lines.flush();
                let _ = done.send(());
            }
            Some(Order::Sweep) => {
                worker.pools.sweep(&worker.shared.tables.load().servers);
            }
            Some(Order::Drain) => {
                let listeners = worker.listeners.take();
                let mut left = worker.left.borrow_mut();
                left.extend(listeners.into_values().flatten().map(|listening| listening.gate));
                left.iter().for_each(|gate| gate.set(Passing::Closed));
                worker.shared.closed.notify_one();
            }
            Some(Order::Hurry) => worker.left.borrow().iter().for_each(|gate| gate.set(Passing::Over)),
            Some(Order::Leave(done)) => {
                // Whose connections have all ended is of no interest any more.
                worker.left.borrow_mut().retain(|gate| Rc::strong_count(gate) > 1);
                for listening in worker.listeners.take().into_values().flatten() {
                    listening.gate.set(Passing::Leaving);
                    let _ = listening.closed.await;
                    worker.left.borrow_mut().push(listening.gate);
                }
                let _ = done.send(());
            }
            Some(Order::EndIdle) => worker.left.borrow().iter().for_each(|gate| gate.set(Passing::Closed)),
        }
    }
}

fn listen(worker: &Rc<Worker>, slot: Slot, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a worker cannot listen");
            return;
        }
    };
    let (open, closed) = oneshot::channel();
    let gate = Rc::new(Gate::default());
    let listening = Listening { gate: Rc::clone(&gate), closed };
    worker.listeners.borrow_mut().entry(slot).or_default().push(listening);
    tokio::task::spawn_local(accept(Rc::clone(worker), slot, gate, listener, open));
}

async fn accept(worker: Rc<Worker>, slot: Slot, gate: Rc<Gate>, listener: TcpListener, _open: oneshot::Sender<()>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gate.leaving() => break,
        };
        match accepted {
            Ok((stream, peer)) => spawn(&worker, slot, &gate, stream, peer),
            // The client has left the queue already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                worker.stats().accept_failed.add(1);
                let descriptors = &worker.shared.descriptors;
                if descriptors.told.now() {
                    let files = descriptors.limit();
                    tracing::error!(%error, files, "cannot accept a connection; ulimit -n says how many files there may be");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Who is in the queue has been promised an answer by the kernel; closing it would reset them. The queue itself is
    // asked: the runtime does not know yet who came since it last looked.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            spawn(&worker, slot, &gate, stream, peer);
        }
    }
}

fn spawn(worker: &Rc<Worker>, slot: Slot, gate: &Rc<Gate>, stream: TcpStream, peer: SocketAddr) {
    let stats = worker.stats();
    stats.accepted.add(1);
    let Ok(admitted) = admit(worker, slot, &stream, peer) else {
        stats.refused.add(1);
        return refuse(&stream);
    };
    stats.open.add(1);
    let open = OpenConnection(Rc::clone(worker));
    let serving = Box::pin(proxy::serve(Rc::clone(worker), slot, Rc::clone(gate), stream, peer, admitted));
    tokio::task::spawn_local(async move { guard(&open.0, serving).await });
}

/// Runs `serving`; if it panics, that is counted, and nothing else is lost. It comes in a box: a future that is handed
/// from one to the next has a place in each of them.
pub(crate) async fn guard(worker: &Worker, mut serving: Pin<Box<impl Future<Output = ()>>>) {
    let caught =
        std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(())),
        });
    if caught.await.is_err() {
        worker.stats().panicked.add(1);
        worker.stats().failure(Kind::Internal, Cause::Panic);
    }
}

/// Whether a connection may stay. `Ok(None)` if its entry point is gone.
fn admit(worker: &Worker, slot: Slot, stream: &TcpStream, peer: SocketAddr) -> Result<Option<Admitted>, ()> {
    let tables = worker.shared.tables.load();
    let Some(entry_point) = tables.entry_points.get(&slot) else { return Ok(None) };
    let name = &entry_point.name;
    let descriptors = &worker.shared.descriptors;
    if !descriptors.admit(stream) {
        if descriptors.told.now() {
            let files = descriptors.limit();
            tracing::error!(
                entry_point = name,
                %peer,
                files,
                "connection refused: the files that may be open are used up, the rest is kept for servers; \
                 raise ulimit -n (LimitNOFILE= of a systemd unit)"
            );
        }
        return Err(());
    }
    let admitted = entry_point.connections.enter(entry_point.limits).and_then(|mut admitted| {
        // Behind a load balancer the client is known once the PROXY protocol has told.
        if entry_point.proxy_protocol.is_none() {
            admitted.of(peer.ip(), entry_point.limits)?;
        }
        Ok(admitted)
    });
    admitted.map(Some).map_err(|full| {
        if entry_point.connections.told.now() {
            tracing::warn!(entry_point = name, %peer, cause = %full, "connection refused");
        }
    })
}

/// Closes a connection whose client was not served. What it has sent is read first: closing over unread bytes would
/// reset the connection.
pub(crate) fn refuse(stream: &TcpStream) {
    let mut room = [0_u8; 4096];
    // Nothing, or an error, is as good.
    let _ = rustix::net::recv(stream, &mut room, rustix::net::RecvFlags::DONTWAIT);
}

/// Counts an open connection until it is dropped.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.stats().open.take_one();
        if self.0.shared.draining.load(Ordering::Relaxed) {
            self.0.shared.closed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Descriptors;

    /// A panic ends its connection, is counted and logged, and the worker goes on with the others.
    #[test]
    fn a_panic_costs_one_connection() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = tracing_subscriber::fmt().with_writer(std::sync::Mutex::new(file.reopen().unwrap())).finish();
        let log = tracing::subscriber::set_default(log);
        crate::log::panics();
        let runtime = tokio::runtime::Builder::new_current_thread().build_local(Default::default()).unwrap();
        let shared = Arc::new(Shared::new(1, Descriptors::new(1024)));
        let settings = RefCell::new(Rc::new(Counted(Arc::clone(&shared.tables.load().settings))));
        let worker = Rc::new(Worker {
            index: 0,
            shared: Arc::clone(&shared),
            settings,
            pools: Pools::default(),
            listeners: RefCell::default(),
            left: RefCell::default(),
            watches: Watches::default(),
            lines: Lines::default(),
        });
        let connection = |panics: bool| {
            worker.stats().open.add(1);
            let open = OpenConnection(Rc::clone(&worker));
            let serving = Box::pin(async move {
                tokio::task::yield_now().await;
                assert!(!panics, "a bug");
            });
            tokio::task::spawn_local(async move { guard(&open.0, serving).await })
        };
        runtime.block_on(async {
            let all: Vec<_> = [false, true, false].map(connection).into_iter().collect();
            for one in all {
                one.await.unwrap();
            }
        });
        let stats = &shared.stats[0];
        assert_eq!((stats.panicked.get(), stats.open.get()), (1, 0));
        let _ = std::panic::take_hook();
        drop(log);
        let lines = std::fs::read_to_string(file.path()).unwrap();
        assert!(lines.contains("ERROR") && lines.contains("internal error") && lines.contains("a bug"), "{lines}");
    }
}
