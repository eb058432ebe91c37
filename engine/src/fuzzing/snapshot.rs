//! Documents of snapshots.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::http::head::Request;
use crate::middleware::States;
use crate::route::Decision;
use crate::route::matcher::Subject;
use crate::snapshot::build::{Built, Kept, build};
use crate::snapshot::document::{changed, whole};
use crate::snapshot::table::{Route, Tables};
use crate::snapshot::{Problem, Snapshot};
use crate::tls::upstream::UpstreamTls;

/// A small snapshot with every field.
pub(super) const BASE: &str = include_str!("../../fuzz/seeds/snapshot/base.json");

/// A snapshot, and after a NUL, if there is one, a change of it, or another: what is built of it on top of the first is as
/// good as built of nothing.
pub fn documents(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Ok(first) = whole(parts.next().unwrap_or_default(), None) else { return };
    if asks_the_resolver(&first) {
        return;
    }
    let Some(first) = built(first, None) else { return };
    let Some(second) = parts.next() else { return };
    let known = Some(&first.sources.snapshot);
    let Ok(second) = changed(second, known).or_else(|_| whole(second, known)) else { return };
    if asks_the_resolver(&second) {
        return;
    }
    let alone = build_on(second.clone(), None);
    let on_top = build_on(second, Some(&first));
    assert_eq!(sorted(&alone), sorted(&on_top));
    if let (Ok(alone), Ok(on_top)) = (alone, on_top) {
        assert_eq!(alone.revision, on_top.revision);
        let services = |built: &Built| built.services.iter().map(|it| format!("{:?}", it.document)).collect::<Vec<_>>();
        assert_eq!(services(&alone), services(&on_top));
        let entry_points = |built: &Built| -> Vec<_> {
            built.entry_points.iter().map(|(address, it)| (*address, it.name.clone(), it.tls.is_some())).collect()
        };
        assert_eq!(entry_points(&alone), entry_points(&on_top));
    }
}

/// Whether an address is a name, which takes time and depends on the machine.
fn asks_the_resolver(snapshot: &Snapshot) -> bool {
    let is_literal = |address: &str| address.starts_with(':') || address.parse::<SocketAddr>().is_ok();
    !snapshot.entry_points.iter().all(|it| is_literal(&it.address))
}

/// What is wrong, in an order of its own.
fn sorted(result: &Result<Built, Vec<Problem>>) -> Vec<String> {
    let mut problems: Vec<_> =
        result.as_ref().err().into_iter().flatten().map(|problem| format!("{problem:?}")).collect();
    problems.sort();
    problems
}

/// What a snapshot builds, if nothing is wrong with it.
pub(super) fn built(snapshot: Snapshot, before: Option<&Built>) -> Option<Built> {
    match build_on(snapshot, before) {
        Ok(built) => Some(built),
        Err(problems) => {
            assert!(problems.iter().all(|problem| !problem.error.is_empty()) && !problems.is_empty());
            None
        }
    }
}

fn build_on(snapshot: Snapshot, before: Option<&Built>) -> Result<Built, Vec<Problem>> {
    // It takes much longer to make than everything else, and is taken over only where it fits.
    BASE_BUILT.with(|base| build_with(snapshot, before, Some(before.map_or(&base.upstream_tls, |it| &it.upstream_tls))))
}

fn build_with(
    snapshot: Snapshot,
    before: Option<&Built>,
    upstream_tls: Option<&Arc<UpstreamTls>>,
) -> Result<Built, Vec<Problem>> {
    let mut tables = Tables::empty();
    if let Some(before) = before {
        tables.services.clone_from(&before.services);
        tables.entry_points = (0..).zip(before.entry_points.iter().map(|(_, it)| it.clone())).collect();
    }
    let sources = before.map(|before| &before.sources);
    let entry_point_stats = &HashMap::new();
    let states = &States::default();
    build(snapshot, &Kept { tables: &tables, sources, upstream_tls, entry_point_stats, states, workers: 1 })
}

thread_local! {
    static BASE_BUILT: Built = base();
}

/// What [`BASE`] builds.
#[expect(clippy::expect_used, reason = "it is no input")]
fn base() -> Built {
    let base = whole(BASE.as_bytes(), None).expect("the base is a snapshot");
    build_with(base, None, None).expect("the base has no problem")
}

/// A route with a server.
#[expect(clippy::panic, reason = "it is no input")]
pub(super) fn base_route() -> Arc<Route> {
    let Ok(request) = Request::parse(Bytes::from_static(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) else {
        panic!("this is a request");
    };
    let peer = std::net::IpAddr::from([127, 0, 0, 1]);
    let subject = Subject { host: "a", method: "GET", path: "/", query: "", fields: &request.fields, peer };
    BASE_BUILT.with(|base| match base.entry_points[0].1.router.decide(&subject) {
        Decision::Route(route) => Arc::clone(route),
        other => panic!("the base routes everything: {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has problems is not compared.
    #[test]
    fn a_change_gets_through() {
        let both = include_bytes!("../../fuzz/seeds/snapshot/change").splitn(2, |byte| *byte == 0).collect::<Vec<_>>();
        let first = built(whole(both[0], None).unwrap(), None).unwrap();
        let second = changed(both[1], Some(&first.sources.snapshot)).unwrap();
        let second = build_on(second, Some(&first)).map_err(|problems| format!("{problems:?}")).unwrap();
        assert_eq!((second.revision, second.services[0].servers.len()), (2, 3));
    }
}
