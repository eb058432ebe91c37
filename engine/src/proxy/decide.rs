//! What is to be done with a request: everything that needs no I/O.

use std::sync::Arc;

use bytes::BytesMut;

use super::forwarded;
use super::relay::Rewritten;
use super::reply::Reply;
use crate::error::Failure;
use crate::http::Malformed;
use crate::http::head::Request;
use crate::http::target::lookup_name;
use crate::route::Decision;
use crate::route::matcher::Subject;
use crate::route::modify;
use crate::route::path::decode;
use crate::snapshot::table::{EntryPoint, Route};
use crate::tls::peer::Identity;

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The engine answers.
    Reply(Reply),
    /// The engine answers for itself, not for a frontend.
    Ping(Reply),
    /// The engine tells what it has counted.
    Metrics,
    /// A server answers.
    Forward {
        route: Arc<Route>,
        rewritten: Rewritten,
        /// Whether the client's forwarded headers are believed.
        trusted: bool,
    },
}

/// Ping, metrics, route, roles, modifiers, trust: in this order.
pub(crate) fn decide(
    entry_point: &EntryPoint,
    request: &Request,
    peer: std::net::IpAddr,
    identity: Option<&Identity>,
    unavailable: bool,
) -> Result<Plan, Failure> {
    let (path, query) = request.path_and_query();
    if entry_point.ping && path == "/ping" && matches!(request.method(), "GET" | "HEAD") {
        return Ok(Plan::Ping(Reply::ping(unavailable)));
    }
    if entry_point.metrics && path == "/metrics" && matches!(request.method(), "GET" | "HEAD") {
        return Ok(Plan::Metrics);
    }
    if path == "*" {
        return Err(Failure::NoRoute);
    }
    let decoded = decode(path).ok_or(Failure::Request(Malformed::Syntax("invalid escape in the path")))?;
    let host = lookup_name(request.host());
    let subject = Subject {
        host: &host,
        method: request.method(),
        path: &decoded,
        query: query.unwrap_or_default(),
        fields: &request.fields,
        peer,
    };
    let route = match entry_point.router.decide(&subject) {
        Decision::NotFound => return Err(Failure::NoRoute),
        Decision::RedirectSlash => return Ok(Plan::Reply(Reply::moved(&toggled(path, query)))),
        Decision::Route(route) => route,
    };
    if !route.client_roles.is_empty() {
        let roles = identity.map_or(&[][..], |identity| &identity.roles);
        if !roles.iter().any(|role| route.client_roles.contains(role)) {
            return Err(Failure::Role);
        }
    }
    let mut fields = BytesMut::new();
    let path = if route.modifiers.is_empty() {
        None
    } else {
        Some(modify::apply(&route.modifiers, path, &mut fields).map_err(|_| Failure::NoRoute)?)
    };
    Ok(Plan::Forward {
        route: Arc::clone(route),
        rewritten: Rewritten { path, fields },
        trusted: forwarded::is_trusted(&entry_point.trust, peer),
    })
}

/// The same location with its trailing slash toggled. A path that starts with two slashes would read as a host.
fn toggled(path: &str, query: Option<&str>) -> String {
    let mut location = String::with_capacity(path.len() + 2);
    if path.starts_with("//") {
        location.push_str("/.");
    }
    match path.strip_suffix('/') {
        Some(without) => location.push_str(without),
        None => {
            location.push_str(path);
            location.push('/');
        }
    }
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    location
}

#[cfg(test)]
mod tests {
    use super::toggled;

    #[test]
    fn slashes() {
        assert_eq!(toggled("/a", None), "/a/");
        assert_eq!(toggled("/a%20b/", Some("q=/")), "/a%20b?q=/");
        assert_eq!(toggled("//evil.example/", None), "/.//evil.example");
    }
}
