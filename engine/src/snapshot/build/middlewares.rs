//! Chains of middlewares.

use std::sync::Arc;

use super::{Kept, Services};
use crate::middleware::{Middleware, Page, Place};
use crate::route::Conditions;
use crate::snapshot;
use crate::snapshot::middleware as document;
use crate::snapshot::table::{Route, Service};

/// A route's chain, or all that is wrong with it.
pub(super) fn of_route(route: &snapshot::Route, kept: &Kept<'_>) -> Result<Arc<[Middleware]>, Vec<String>> {
    let place = Place {
        chain: &route.chain,
        index: 0,
        entry_points: &route.entry_points,
        states: kept.states,
        is_entry_points: false,
    };
    chain(&route.middlewares, &place)
}

/// An entry point's chain, or all that is wrong with it.
pub(super) fn of_entry_point(
    entry_point: &snapshot::EntryPoint,
    kept: &Kept<'_>,
) -> Result<Arc<[Middleware]>, Vec<String>> {
    let place = Place {
        chain: "",
        index: 0,
        entry_points: std::slice::from_ref(&entry_point.name),
        states: kept.states,
        is_entry_points: true,
    };
    chain(&entry_point.middlewares, &place)
}

/// What clients of a route get instead of answers of certain statuses, or all that is wrong with that. `Ok(None)` if a
/// service could not be built, which has been told.
pub(super) fn pages(route: &snapshot::Route, services: &Services<'_>) -> Result<Option<Arc<[Page]>>, Vec<String>> {
    let errors = route.middlewares.iter().filter_map(|document| match document {
        document::Middleware::Errors(errors) => Some(&errors.pages),
        _ => None,
    });
    let (mut pages, mut problems, mut is_whole) = (Vec::new(), Vec::new(), true);
    for document in errors.flatten() {
        match services.by_id.get(document.service.as_str()) {
            None => problems.push(format!("errors: there is no service {}", document.service)),
            Some(None) => is_whole = false,
            Some(Some(service)) => match Page::build(document, to_service(service)) {
                Ok(page) => pages.push(page),
                Err(error) => problems.push(error),
            },
        }
    }
    if problems.is_empty() { Ok(is_whole.then(|| pages.into())) } else { Err(problems) }
}

/// A route to a service that no request takes by itself.
fn to_service(service: &Arc<Service>) -> Arc<Route> {
    Arc::new(Route {
        id: service.id.clone(),
        priority: 0,
        conditions: Arc::new(Conditions::new(Vec::new())),
        modifiers: Arc::from([]),
        service: Arc::clone(service),
        pass_host_header: true,
        client_roles: Vec::new(),
        forward_client_identity: false,
        middlewares: Arc::from([]),
        pages: Arc::from([]),
    })
}

fn chain(documents: &[document::Middleware], place: &Place<'_>) -> Result<Arc<[Middleware]>, Vec<String>> {
    let mut chain = Vec::with_capacity(documents.len());
    let mut errors = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        if matches!(document, document::Middleware::Errors(_)) && !place.is_entry_points {
            continue;
        }
        match Middleware::build(document, &Place { index, ..*place }) {
            Ok(middleware) => chain.push(middleware),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(chain.into()) } else { Err(errors) }
}
