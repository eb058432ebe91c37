//! Taking the engine out of service for a while, without ending it: `POST /drain`, and back: `POST /undrain`.
//!
//! 1. For `request_accept_grace_timeout` everything goes on but `/ping`, which answers 503, as before a stop.
//! 2. The listeners are closed, so that clients are refused at once: listeners that are open and not accepted from would
//!    let them wait for nothing. Who was in a queue by then is served.
//! 3. Connections end with their next answer (`Connection: close`, GOAWAY). After `grace_timeout`, when it is unlikely
//!    that a request is on its way, idle ones are closed. Answers and tunnels take the time they need: nothing is cut.
//!
//! Snapshots are put in force meanwhile, and their listeners stay closed. An engine that has no snapshot yet begins with
//! its listeners closed.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::apply::Refused;
use super::{Answer, Control, refused};

/// What an operator wants of the engine.
#[derive(Debug, Default)]
pub(super) struct Drain {
    wanted: Cell<bool>,
    changed: Notify,
}

impl Drain {
    /// Whether the engine is to accept nothing.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }
}

/// Carries out what is wanted, for ever.
pub(super) async fn run(control: Rc<Control>) {
    loop {
        let changed = control.drain.changed.notified();
        if control.drain.is_wanted() {
            tokio::select! {
                () = control.empty() => {}
                () = changed => continue,
            }
            control.drain.changed.notified().await;
        } else {
            changed.await;
        }
    }
}

impl Control {
    /// `POST /drain`.
    pub(super) async fn take_out(&self) -> Answer {
        let mut applier = match self.in_charge().await {
            Ok(applier) => applier,
            Err(answer) => return answer,
        };
        if !self.drain.wanted.replace(true) {
            self.shared.unavailable.store(true, Ordering::SeqCst);
            tracing::info!("the node is drained");
            // Before the next snapshot comes, and binds.
            if !applier.listens() {
                applier.close().await;
            }
            self.drain.changed.notify_one();
        }
        (202, json!({}))
    }

    /// `POST /undrain`.
    pub(super) async fn bring_back(&self) -> Answer {
        let mut applier = match self.in_charge().await {
            Ok(applier) => applier,
            Err(answer) => return answer,
        };
        if self.drain.is_wanted() {
            if applier.is_closed()
                && let Err(problems) = applier.open()
            {
                return refused("the listeners cannot be opened again", &problems);
            }
            self.drain.wanted.set(false);
            self.shared.unavailable.store(false, Ordering::SeqCst);
            self.drain.changed.notify_one();
            tracing::info!("the node is in service again");
        }
        (200, json!({}))
    }

    async fn in_charge(&self) -> Result<tokio::sync::MutexGuard<'_, super::Applier>, Answer> {
        match self.changeable().await {
            Ok(applier) if !self.shared.draining.load(Ordering::SeqCst) => Ok(applier),
            _ => Err(self.applied(Err(Refused::Stopping))),
        }
    }

    /// Announces, closes, and has idle connections end; given up when something else is wanted.
    async fn empty(&self) {
        let (accepting, grace) = {
            let settings = &self.shared.tables.load().settings;
            (settings.request_accept_grace_timeout, settings.grace_timeout)
        };
        if !self.applier.lock().await.is_closed() {
            sleep(accepting).await;
            let mut applier = self.applier.lock().await;
            // What is wanted is only changed by who holds the applier.
            if !self.drain.is_wanted() {
                return;
            }
            applier.close().await;
            drop(applier);
            tracing::info!("the listeners are closed; what is open finishes");
        }
        sleep(grace).await;
        for worker in &self.workers {
            // A worker that is gone has no connections.
            let _ = worker.send(super::Order::EndIdle);
        }
    }
}
