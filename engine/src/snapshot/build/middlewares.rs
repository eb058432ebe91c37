//! Chains of middlewares.

use std::sync::Arc;

use super::Kept;
use crate::middleware::{Middleware, Place};
use crate::snapshot;
use crate::snapshot::middleware as document;

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

fn chain(documents: &[document::Middleware], place: &Place<'_>) -> Result<Arc<[Middleware]>, Vec<String>> {
    let mut chain = Vec::with_capacity(documents.len());
    let mut errors = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        match Middleware::build(document, &Place { index, ..*place }) {
            Ok(middleware) => chain.push(middleware),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(chain.into()) } else { Err(errors) }
}
