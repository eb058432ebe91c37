//! Which route a request takes: of those whose matchers all match, the first in order.
//!
//! A router is never changed: another one is made of it, and shares with it what stays the same.

mod group;
mod hosts;
pub(crate) mod matcher;
pub(crate) mod modify;
pub(crate) mod path;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use group::{Found, Group};
use hosts::Hosts;
use matcher::{HostRegexp, Matcher, Outcome, Subject};

use crate::snapshot::table::Route;

/// What the routes of an entry point say to a request.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    /// This route takes it.
    Route(&'a Arc<Route>),
    /// It is to be asked again with its trailing slash toggled.
    RedirectSlash,
    /// No route matches.
    NotFound,
}

/// What every route says to a request whose host it does not rule out. Both in the order in which routes are tried.
#[derive(Debug, Default)]
pub(crate) struct Opinions<'a> {
    /// Those that match, and whether only with the path's trailing slash toggled. The first one takes the request.
    pub(crate) matching: Vec<(&'a Arc<Route>, bool)>,
    /// Those that do not, and which of their matchers is the first to say so, as the snapshot counts them.
    pub(crate) missing: Vec<(&'a Arc<Route>, usize)>,
}

/// When a route matches, in the form in which it is looked up.
#[derive(Debug)]
pub(crate) struct Conditions {
    /// Where the route is found.
    places: Vec<Place>,
    /// Which of the snapshot's matchers the places stand for, if they do for a whole one.
    placed: Option<u32>,
    /// What is left to be tested there.
    matchers: Vec<Matcher>,
}

/// Where a route is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    /// Under this host.
    Host(Arc<str>),
    /// Under each host that ends with a dot and this.
    Suffix(Arc<str>),
    /// Under each host.
    Any,
}

impl Conditions {
    /// All of `matchers` have to match.
    pub(crate) fn new(mut matchers: Vec<Matcher>) -> Self {
        let exact = matchers.iter().position(|matcher| matches!(matcher, Matcher::Host(_)));
        let mut places = Vec::new();
        if let Some(Matcher::Host(hosts)) = exact.map(|position| matchers.remove(position)) {
            places.extend(hosts.iter().map(|host| Place::Host(Arc::from(&**host))));
        } else {
            let patterns = matchers.iter().find_map(|matcher| match matcher {
                Matcher::HostRegexp(patterns) if patterns.iter().all(|one| place(one) != Place::Any) => Some(patterns),
                _ => None,
            });
            match patterns {
                Some(patterns) => places.extend(patterns.iter().map(place)),
                None => places.push(Place::Any),
            }
        }
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        Self { places, placed: exact.and_then(|position| u32::try_from(position).ok()), matchers }
    }

    /// Where the matcher that is here at `index` is in the snapshot.
    fn in_snapshot(&self, index: usize) -> usize {
        index + usize::from(self.placed.is_some_and(|placed| index >= placed as usize))
    }
}

/// The place of a pattern: that of the text with which every host ends that it matches.
fn place(pattern: &HostRegexp) -> Place {
    match (&pattern.end, pattern.is_whole) {
        (end, true) => Place::Host(Arc::from(&**end)),
        (end, false) => match end.split_once('.') {
            Some((_, suffix)) if !suffix.is_empty() => Place::Suffix(Arc::from(suffix)),
            _ => Place::Any,
        },
    }
}

/// How two routes are ordered: by priority, the highest first, then by id.
fn order(a: &Route, b: &Route) -> Ordering {
    b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id))
}

/// The routes of an entry point. Those of a host are found by it, whatever the number of hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Router {
    by_host: Hosts,
    by_suffix: Hosts,
    any_host: Arc<Group>,
}

/// What happens to one place.
#[derive(Default)]
struct Edit<'a> {
    removed: Vec<&'a Arc<Route>>,
    added: Vec<&'a Arc<Route>>,
}

impl Router {
    /// The router without the routes of `removed`, which it has, and with those of `added`.
    pub(crate) fn changed<'a>(
        &self,
        removed: impl Iterator<Item = &'a Arc<Route>>,
        added: impl Iterator<Item = &'a Arc<Route>>,
    ) -> Self {
        let mut edits: HashMap<&Place, Edit<'a>> = HashMap::new();
        for route in removed {
            for place in &route.conditions.places {
                edits.entry(place).or_default().removed.push(route);
            }
        }
        for route in added {
            for place in &route.conditions.places {
                edits.entry(place).or_default().added.push(route);
            }
        }
        let mut changed = self.clone();
        for (place, edit) in edits {
            match place {
                Place::Host(host) => changed.by_host.edit(host, &edit.removed, &edit.added),
                Place::Suffix(suffix) => changed.by_suffix.edit(suffix, &edit.removed, &edit.added),
                Place::Any => changed.any_host = Arc::new(self.any_host.changed(&edit.removed, &edit.added)),
            }
        }
        changed
    }

    /// What the routes say that the request's host does not rule out; the first that matches is the one that
    /// [`Router::decide`] finds. Looks at all of them: not for requests that are served.
    pub(crate) fn opinions(&self, subject: &Subject<'_>) -> Opinions<'_> {
        let mut groups = vec![&*self.any_host];
        if !subject.host.is_empty() {
            groups.extend(self.by_host.get(subject.host));
            groups.extend(self.by_suffix.suffixes(subject.host).filter_map(|suffix| self.by_suffix.get(suffix)));
        }
        let mut routes: Vec<_> = groups.into_iter().flat_map(Group::routes).collect();
        routes.sort_by(|a, b| order(a, b));
        // One with several places can be in two of the groups.
        routes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let mut opinions = Opinions::default();
        for route in routes {
            let Conditions { matchers, .. } = &*route.conditions;
            match matcher::verdict(matchers, subject) {
                Ok(outcome) => opinions.matching.push((route, outcome == Outcome::RedirectSlash)),
                Err(index) if matcher::admits_host(matchers, subject) => {
                    opinions.missing.push((route, route.conditions.in_snapshot(index)));
                }
                Err(_) => {}
            }
        }
        opinions
    }

    /// The first route that matches.
    pub(crate) fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        let mut found: Option<Found<'_>> = None;
        if !subject.host.is_empty() {
            if let Some(group) = self.by_host.get(subject.host) {
                found = group.find(subject, found);
            }
            for suffix in self.by_suffix.suffixes(subject.host) {
                if let Some(group) = self.by_suffix.get(suffix) {
                    found = group.find(subject, found);
                }
            }
        }
        match self.any_host.find(subject, found) {
            None => Decision::NotFound,
            Some(Found { is_redirect: true, .. }) => Decision::RedirectSlash,
            Some(Found { route, .. }) => Decision::Route(route),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
