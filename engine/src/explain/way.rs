//! The middlewares on a request's way, as far as what they do can be told without doing it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Question;
use crate::error::Failure;
use crate::http::head::Request;
use crate::middleware::{Edits, Finish, Middleware, Moved, Passage, Step};
use crate::proxy::chain::moved;
use crate::proxy::decide::Plan;
use crate::proxy::forwarded::is_trusted;
use crate::snapshot::Snapshot;
use crate::snapshot::middleware as document;
use crate::snapshot::table::EntryPoint;

/// What was found on the way.
#[derive(Default)]
pub(super) struct Way {
    /// Each middleware, in the order in which the request comes to them; the last one may answer.
    pub(super) steps: Vec<Value>,
    pub(super) stop: Option<Stopped>,
}

/// An answer of a middleware.
pub(super) struct Stopped {
    pub(super) status: u16,
    pub(super) location: Option<String>,
}

/// Has the request go through the middlewares, as [`crate::proxy::chain`] does. Those that remember something, ask somebody
/// or know secrets are not asked, and taken to let it pass.
pub(super) fn walk(
    question: &Question,
    request: &Request,
    entry_point: &EntryPoint,
    plan: &Result<Plan, Failure>,
    snapshot: &Snapshot,
) -> Way {
    let mut way = Way::default();
    if matches!(plan, Ok(Plan::Ping(_))) {
        return way;
    }
    let mut passage = Passage {
        request,
        peer: SocketAddr::new(question.client_ip, 0),
        tls: question.tls,
        certificates: &[],
        entry_point: &entry_point.name,
        port: entry_point.port,
        trusted: is_trusted(&entry_point.trust, question.client_ip),
        path: request.path_and_query().0.to_owned(),
        moved: Moved::No,
        edits: Edits::default(),
        finish: Finish::default(),
        user: None,
    };
    let documents = snapshot.entry_points.iter().find(|it| it.name == entry_point.name);
    let documents = documents.map(|it| &*it.middlewares).unwrap_or_default();
    let mut chain: Vec<_> = documents.iter().zip(&*entry_point.middlewares).collect();
    if matches!(plan, Ok(Plan::Metrics)) {
        chain.retain(|(_, middleware)| middleware.guards_internals());
        chain.sort_by_key(|(_, middleware)| !matches!(middleware, Middleware::WhiteList(_)));
    }
    for (document, middleware) in chain {
        if !way.step("entry_point", document, middleware, &mut passage) {
            return way;
        }
    }
    let Ok(Plan::Forward { route, rewritten, .. }) = plan else { return way };
    passage.moved = moved(route, rewritten);
    if let Some(path) = &rewritten.path {
        passage.path.clone_from(path);
    }
    let documents = snapshot.routes.iter().find(|it| it.id == route.id);
    let mut middlewares = route.middlewares.iter();
    for document in documents.map(|it| &*it.middlewares).unwrap_or_default() {
        // They look at answers, and are kept elsewhere.
        if matches!(document, document::Middleware::Errors(_)) {
            way.steps.push(told("route", document, "passes"));
            continue;
        }
        let Some(middleware) = middlewares.next() else { break };
        if !way.step("route", document, middleware, &mut passage) {
            return way;
        }
    }
    way
}

impl Way {
    /// Has one middleware look at the request; whether that goes on.
    fn step(
        &mut self,
        place: &str,
        document: &document::Middleware,
        middleware: &Middleware,
        passage: &mut Passage<'_>,
    ) -> bool {
        if !middleware.is_plain() {
            self.steps.push(told(place, document, "not_asked"));
            return true;
        }
        match middleware.step(passage) {
            Step::Stop(stop) => {
                let (status, location) = (stop.reply.status, stop.reply.location().map(str::to_owned));
                let mut step = told(place, document, "answers");
                step["status"] = json!(status);
                step["location"] = json!(location);
                self.steps.push(step);
                self.stop = Some(Stopped { status, location });
                false
            }
            Step::Continue | Step::Verify(_) | Step::Ask(_) => {
                self.steps.push(told(place, document, "passes"));
                true
            }
        }
    }
}

fn told(place: &str, document: &document::Middleware, result: &str) -> Value {
    // Only its type: there may be secrets in the rest.
    let kind = serde_json::to_value(document).ok().and_then(|mut it| it.get_mut("type").map(Value::take));
    json!({"at": place, "type": kind, "result": result})
}
