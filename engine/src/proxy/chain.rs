//! A request's way through the middlewares of its entry point and its route, before a server gets it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::decide::Plan;
use super::relay::Rewritten;
use super::reply::Reply;
use super::{Client, Done, Session, forwarded};
use crate::error::Failure;
use crate::http::head::Request;
use crate::middleware::{By, Edits, Finish, Middleware, Moved, Passage, Step, Stop};
use crate::route::modify::Modifier;
use crate::snapshot::table::{EntryPoint, Route, Settings};

/// The way of a request that has middlewares on it.
pub(super) struct Way {
    /// Those of the entry point.
    middlewares: Arc<[Middleware]>,
    entry_point: String,
    port: u16,
    trusted: bool,
}

impl Way {
    /// `None` for most requests: there is nothing on their way.
    pub(super) fn of(
        entry_point: &EntryPoint,
        plan: &Result<Plan, Failure>,
        session: &Session,
        request: &Request,
    ) -> Option<Self> {
        let is_short = match plan {
            Ok(Plan::Ping(_)) => true,
            Ok(Plan::Forward { route, .. }) => entry_point.middlewares.is_empty() && route.middlewares.is_empty(),
            _ => entry_point.middlewares.is_empty(),
        };
        (!is_short).then(|| Self {
            middlewares: Arc::clone(&entry_point.middlewares),
            entry_point: entry_point.name.clone(),
            port: entry_point.port,
            trusted: forwarded::is_trusted(&entry_point.trust, session.peer.ip(), request),
        })
    }
}

impl Client<'_> {
    /// Has a request go through the middlewares on its way, and then do what is planned.
    pub(super) async fn chained(
        &mut self,
        request: &Request,
        plan: Result<Plan, Failure>,
        way: &Way,
        settings: &Settings,
    ) -> Done {
        let session = self.session;
        let mut passage = passage(request, session, way);
        let chain = &way.middlewares;
        let stop = if matches!(plan, Ok(Plan::Metrics)) {
            let mut guards: Vec<_> = chain.iter().filter(|it| it.guards_internals()).collect();
            // As in Traefik 1.7, here the white list comes first.
            guards.sort_by_key(|it| !matches!(it, Middleware::WhiteList(_)));
            self.pass(guards.into_iter(), &mut passage).await
        } else {
            self.pass(chain.iter(), &mut passage).await
        };
        if let Some(stop) = stop {
            self.record.answered_by(stop.by.text(&way.entry_point, true));
            return self.stopped(*stop, request).await;
        }
        match plan {
            Err(failure) => self.refuse(failure, Some(request)).await,
            Ok(Plan::Reply(reply) | Plan::Ping(reply)) => self.reply(&reply, Some(request)).await,
            Ok(Plan::Metrics) => {
                let text = session.worker.shared.metrics.scrape().await;
                self.reply(&Reply::metrics(text), Some(request)).await
            }
            Ok(Plan::Forward { route, rewritten, trusted }) => {
                passage.moved = moved(&route, &rewritten);
                if let Some(path) = &rewritten.path {
                    passage.path.clone_from(path);
                }
                if let Some(stop) = self.pass(route.middlewares.iter(), &mut passage).await {
                    self.record.routed(&session.worker, &route);
                    self.record.answered_by(stop.by.text(route.name(), false));
                    return self.stopped(*stop, request).await;
                }
                let edited = passage.edited();
                let trusted = trusted || edited.is_some();
                let request = edited.as_ref().unwrap_or(request);
                Box::pin(self.forward(request, &route, &rewritten, trusted, settings, &passage.finish)).await
            }
        }
    }

    /// Has a request go through a chain; `Some` if it ends there.
    async fn pass<'c>(
        &mut self,
        chain: impl Iterator<Item = &'c Middleware>,
        passage: &mut Passage<'_>,
    ) -> Option<Box<Stop>> {
        for middleware in chain {
            let step = match middleware.step(passage) {
                Step::Verify(verification) => {
                    let verified = self.unless_gone(async { Ok(verification.compute().await) }).await;
                    match verified {
                        Ok(is_right) => verification.conclude(is_right, passage),
                        Err(failure) => return Some(gone(failure)),
                    }
                }
                step => step,
            };
            self.record.is(passage.user.as_deref());
            if let Step::Stop(stop) = step {
                return Some(stop);
            }
        }
        None
    }

    /// Answers as a middleware says.
    async fn stopped(&mut self, stop: Stop, request: &Request) -> Done {
        let Stop { reply, failure, .. } = stop;
        let Some(failure) = failure else { return self.reply(&reply, Some(request)).await };
        tracing::debug!(peer = %self.session.peer, status = failure.status(), cause = %failure, "request refused");
        if Reply::failure(&failure).is_none() {
            return self.failed(failure, request, false).await;
        }
        let done = self.reply(&reply, Some(request)).await;
        Done { failure: done.failure.or(Some(failure)), ..done }
    }
}

/// There is nobody left to be told anything.
fn gone(failure: Failure) -> Box<Stop> {
    Box::new(Stop { reply: Reply::plain(failure.status(), ""), failure: Some(failure), by: By::Other })
}

fn passage<'a>(request: &'a Request, session: &'a Session, way: &'a Way) -> Passage<'a> {
    let peer: SocketAddr = session.peer;
    Passage {
        request,
        peer,
        tls: session.tls.is_some(),
        certificates: session.tls.as_ref().map_or(&[][..], |tls| &tls.certificates),
        entry_point: &way.entry_point,
        port: way.port,
        trusted: way.trusted,
        path: request.path_and_query().0.to_owned(),
        moved: Moved::No,
        edits: Edits::default(),
        finish: Finish::default(),
        user: None,
    }
}

/// What the route's modifiers have done.
fn moved(route: &Route, rewritten: &Rewritten) -> Moved {
    // Whoever takes a part of the path away tells the server about it.
    if !rewritten.fields.is_empty() {
        return Moved::Replaced;
    }
    let added = route.modifiers.iter().rev().find_map(|modifier| match modifier {
        Modifier::AddPrefix(prefix) => Some(prefix.clone()),
        _ => None,
    });
    added.map_or(Moved::No, Moved::Added)
}
