//! Limits of time for exchanges: how long a request and its answer may take, and how long nothing may move.
//!
//! An exchange has no timer of its own: it notes what it waits for, and the worker looks at all of them every now and
//! then. That costs a request some tens of nanoseconds, whatever is limited, and no call of the clock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::snapshot::table::Settings;
use crate::worker::Worker;

/// Longest and shortest time between two looks.
const TICK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));
/// A limit is looked at so often that it is exceeded by this part of it at most (or by a second, if that is less).
const FRACTION: u32 = 8;
/// Watches of ended exchanges that are kept for others.
const SPARE: usize = 64;

/// What an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Waits {
    /// For the server's answer, or for more of it: it may think as long as it likes.
    #[default]
    Server,
    /// For more of the request.
    Request,
    /// For the server to take what there is of the request.
    ServerTakes,
    /// For the client to take what there is of the answer.
    ClientTakes,
}

/// Which limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Read,
    Write,
    Stall,
}

/// What an exchange tells the worker about itself.
#[derive(Debug, Default)]
struct Watch {
    /// Its place among the active ones.
    index: Cell<usize>,
    waits: Cell<Waits>,
    /// Rises whenever something was moved.
    moved: Cell<u64>,
    is_read: Cell<bool>,
    read_by: Cell<Option<Instant>>,
    written_by: Cell<Option<Instant>>,
    stall: Cell<Option<Duration>>,
    /// What was seen at the last look, and since when it has been so.
    seen: Cell<Option<(Waits, u64, Instant)>>,
    late: Cell<Option<Late>>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    fn is_late(&self, now: Instant) -> Option<Late> {
        let passed = |limit: &Cell<Option<Instant>>| limit.get().is_some_and(|limit| limit <= now);
        if !self.is_read.get() && passed(&self.read_by) {
            return Some(Late::Read);
        }
        if passed(&self.written_by) {
            return Some(Late::Write);
        }
        let stall = self.stall.get()?;
        let (waits, moved) = (self.waits.get(), self.moved.get());
        match self.seen.get() {
            Some((seen, before, since)) if (seen, before) == (waits, moved) => {
                (waits != Waits::Server && now.saturating_duration_since(since) >= stall).then_some(Late::Stall)
            }
            _ => {
                self.seen.set(Some((waits, moved, now)));
                None
            }
        }
    }
}

/// The exchanges of a worker that are under way.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    active: RefCell<Vec<Rc<Watch>>>,
    spare: RefCell<Vec<Rc<Watch>>>,
}

impl Watches {
    /// Watches an exchange whose head is there, until what is returned is dropped. The request began at `began`: when
    /// its first byte came, or, for the first of a connection, when the connection did. `None` stands for now.
    pub(crate) fn enter(&self, settings: &Settings, began: Option<Instant>) -> Watched<'_> {
        let watch = self.spare.borrow_mut().pop().unwrap_or_default();
        let by = |limit: Option<Duration>, began: Option<Instant>| {
            limit.and_then(|limit| began.unwrap_or_else(Instant::now).checked_add(limit))
        };
        watch.waits.set(Waits::Server);
        watch.is_read.set(true);
        watch.read_by.set(by(settings.read_timeout, began));
        watch.written_by.set(by(settings.write_timeout, None));
        watch.stall.set(settings.stall_timeout);
        watch.seen.set(None);
        watch.late.set(None);
        let mut active = self.active.borrow_mut();
        watch.index.set(active.len());
        active.push(Rc::clone(&watch));
        Watched { watches: self, watch }
    }

    /// Looks at all of them, and wakes those that are late.
    fn look(&self, now: Instant) {
        for watch in self.active.borrow().iter() {
            let late = watch.is_late(now);
            // Nothing else wakes an upload that stands still when its client leaves.
            if late.is_some() || watch.waits.get() == Waits::ServerTakes {
                watch.late.set(late);
                if let Some(waker) = watch.waker.borrow().as_ref() {
                    waker.wake_by_ref();
                }
            }
        }
    }

    fn leave(&self, watch: &Rc<Watch>) {
        watch.waker.replace(None);
        let mut active = self.active.borrow_mut();
        let index = watch.index.get();
        let left = active.swap_remove(index);
        if let Some(moved) = active.get(index) {
            moved.index.set(index);
        }
        if active.capacity() > SPARE && active.len() < active.capacity() / 8 {
            active.shrink_to(SPARE);
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(left);
        }
    }
}

/// An exchange under way, as the exchange itself sees it.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    watches: &'a Watches,
    watch: Rc<Watch>,
}

impl Watched<'_> {
    /// Notes what is waited for. `moved` is a count that has risen if anything was moved since it was noted last;
    /// `is_read` says that the whole request has come.
    pub(crate) fn note(&self, waits: Waits, moved: u64, is_read: bool) {
        self.watch.waits.set(waits);
        self.watch.moved.set(moved);
        self.watch.is_read.set(is_read);
    }

    /// Notes that the server is waited for, whatever was before.
    pub(crate) fn note_server(&self) {
        self.watch.waits.set(Waits::Server);
    }

    /// Limits nothing any more but that something moves.
    pub(crate) fn lift(&self) {
        self.watch.read_by.set(None);
        self.watch.written_by.set(None);
    }

    /// Waits until it is to end, and tells why.
    pub(crate) async fn late(&self) -> Failure {
        poll_fn(|cx| match self.poll(cx) {
            Ok(()) => Poll::Pending,
            Err(failure) => Poll::Ready(failure),
        })
        .await
    }

    /// Why it is to end, if it is; the task is woken when that changes.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let (waits, is_read) = (self.watch.waits.get(), self.watch.is_read.get());
        // It may have gone on since it was looked at.
        let late = self.watch.late.take().filter(|late| match late {
            Late::Read => !is_read,
            Late::Write => true,
            Late::Stall => waits != Waits::Server,
        });
        if let Some(late) = late {
            // Whoever is told about it is not to be interrupted for the same reason.
            self.lift();
            return Err(match (late, waits) {
                (Late::Read, _) | (Late::Write, Waits::Request) => Failure::BodyTimeout,
                (Late::Write, Waits::ClientTakes) => Failure::ClientTimeout,
                (Late::Write, _) => Failure::AnswerTimeout,
                (Late::Stall, Waits::Request) => Failure::BodyStalled,
                (Late::Stall, Waits::ClientTakes) => Failure::ClientStalled,
                (Late::Stall, _) => Failure::ServerStalled,
            });
        }
        let mut waker = self.watch.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Ok(())
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watches.leave(&self.watch);
    }
}

/// Looks at a worker's exchanges for ever.
pub(crate) async fn run(worker: Rc<Worker>) {
    loop {
        let tick = tick(&worker.shared.tables.load().settings);
        tokio::time::sleep(tick).await;
        worker.watches.look(Instant::now());
    }
}

fn tick(settings: &Settings) -> Duration {
    let limits = [settings.read_timeout, settings.write_timeout, settings.stall_timeout];
    let least = limits.into_iter().flatten().min().map(|limit| limit / FRACTION);
    least.unwrap_or(TICK.0).clamp(TICK.1, TICK.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::table::Tables;

    fn settings(read: u64, write: u64, stall: u64) -> Settings {
        let time = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        let mut tables = Tables::empty();
        let settings = std::sync::Arc::get_mut(&mut tables.settings).unwrap();
        settings.read_timeout = time(read);
        settings.write_timeout = time(write);
        settings.stall_timeout = time(stall);
        std::sync::Arc::into_inner(tables.settings).unwrap()
    }

    /// What an exchange is told after looks at these seconds, each after it noted this.
    fn told(settings: &Settings, looks: &[(u64, Waits, u64, bool)]) -> Option<String> {
        let watches = Watches::default();
        let begin = Instant::now();
        let watched = watches.enter(settings, Some(begin));
        let cx = Context::from_waker(Waker::noop());
        for (seconds, waits, moved, is_read) in looks {
            watched.note(*waits, *moved, *is_read);
            watches.look(begin + Duration::from_secs(*seconds) + Duration::from_millis(500));
            if let Err(failure) = watched.poll(&cx) {
                return Some(format!("{seconds}: {failure:?}"));
            }
        }
        None
    }

    #[test]
    fn limits() {
        use Waits::{ClientTakes, Request, Server, ServerTakes};
        let read = settings(10, 0, 0);
        assert_eq!(told(&read, &[(9, Request, 1, false), (10, Request, 2, false)]).unwrap(), "10: BodyTimeout");
        assert_eq!(told(&read, &[(9, Request, 1, false), (99, Server, 2, true)]), None);
        let write = settings(0, 10, 0);
        assert_eq!(told(&write, &[(9, Server, 1, true), (10, Server, 2, true)]).unwrap(), "10: AnswerTimeout");
        assert_eq!(told(&write, &[(10, ClientTakes, 2, true)]).unwrap(), "10: ClientTimeout");
        assert_eq!(told(&write, &[(10, Request, 2, false)]).unwrap(), "10: BodyTimeout");
        let stall = settings(0, 0, 10);
        let stalls = |waits| {
            told(&stall, &[(1, waits, 1, true), (2, waits, 2, true), (11, waits, 2, true), (12, waits, 2, true)])
        };
        assert_eq!(stalls(Server), None);
        assert_eq!(stalls(Request).unwrap(), "12: BodyStalled");
        assert_eq!(stalls(ServerTakes).unwrap(), "12: ServerStalled");
        assert_eq!(stalls(ClientTakes).unwrap(), "12: ClientStalled");
        assert_eq!(told(&stall, &[(1, ClientTakes, 1, true), (5, Server, 1, true), (99, ClientTakes, 1, true)]), None);
        assert_eq!(told(&settings(0, 0, 0), &[(1, ClientTakes, 1, false), (9999, ClientTakes, 1, false)]), None);
    }

    #[test]
    fn they_come_and_go_in_any_order() {
        let watches = Watches::default();
        let settings = settings(1, 1, 1);
        let mut all: Vec<_> = (0..1000).map(|_| watches.enter(&settings, None)).collect();
        while all.len() > 1 {
            drop(all.swap_remove(all.len() / 2));
            let active = watches.active.borrow();
            assert_eq!(active.len(), all.len());
            assert!(active.iter().enumerate().all(|(index, watch)| watch.index.get() == index));
        }
        assert!(watches.active.borrow().capacity() <= SPARE);
        assert!(watches.spare.borrow().len() <= SPARE);
    }

    #[test]
    fn ticks() {
        assert_eq!(tick(&settings(0, 0, 60)), Duration::from_secs(1));
        assert_eq!(tick(&settings(0, 0, 0)), Duration::from_secs(1));
        assert_eq!(tick(&settings(4, 0, 60)), Duration::from_millis(500));
    }
}
