//! Routes that are looked through together: in order, or, where they are many, by their paths.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::matcher::{self, Matcher, Outcome, Pattern, Subject};
use super::order;
use crate::snapshot::table::Route;

/// From this number of routes on they are found by their paths.
const MANY: usize = 16;

/// Some routes, in order.
#[derive(Debug, Default)]
pub(super) struct Group {
    routes: Vec<Arc<Route>>,
    by_path: Option<Box<Paths>>,
}

/// The best route so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) route: &'a Arc<Route>,
    /// It would match with the trailing slash toggled.
    pub(super) is_redirect: bool,
}

impl Group {
    /// Without routes.
    pub(super) const EMPTY: Self = Self { routes: Vec::new(), by_path: None };

    /// Whether there are no routes.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The group without some of its routes and with others.
    pub(super) fn changed(&self, removed: &[&Arc<Route>], added: &[&Arc<Route>]) -> Self {
        let gone: HashSet<*const Route> = removed.iter().map(|route| Arc::as_ptr(route)).collect();
        let mut routes = Vec::with_capacity((self.routes.len() + added.len()).saturating_sub(gone.len()));
        routes.extend(self.routes.iter().filter(|route| !gone.contains(&Arc::as_ptr(route))).cloned());
        routes.extend(added.iter().map(|route| Arc::clone(route)));
        routes.sort_by(|a, b| order(a, b));
        let by_path = (routes.len() >= MANY).then(|| Box::new(Paths::of(&routes)));
        Self { routes, by_path }
    }

    /// The first route that matches, or `best`, if that comes before it.
    pub(super) fn find<'a>(&'a self, subject: &Subject<'_>, best: Option<Found<'a>>) -> Option<Found<'a>> {
        let end = best.map_or(self.routes.len(), |best| {
            // Most often there is nothing to compare with.
            self.routes.partition_point(|route| order(route, best.route).is_lt())
        });
        let found = match &self.by_path {
            None => self.first(0..end, subject),
            Some(paths) => {
                let mut first: Option<(usize, bool)> = None;
                for places in paths.candidates(subject.path) {
                    let end = first.map_or(end, |(index, _)| index);
                    let before = places.iter().map(|index| *index as usize).take_while(|index| *index < end);
                    first = self.first(before, subject).or(first);
                }
                first
            }
        };
        match found {
            Some((index, is_redirect)) => Some(Found { route: &self.routes[index], is_redirect }),
            None => best,
        }
    }

    /// All routes, in order.
    pub(super) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    fn first(&self, indices: impl Iterator<Item = usize>, subject: &Subject<'_>) -> Option<(usize, bool)> {
        for index in indices {
            match matcher::all(&self.routes[index].conditions.matchers, subject) {
                Outcome::No => {}
                Outcome::RedirectSlash => return Some((index, true)),
                Outcome::Yes => return Some((index, false)),
            }
        }
        None
    }
}

/// Routes, by index, by what their paths must be or begin with. An index stands wherever its route can match, and the
/// route's own matchers decide.
#[derive(Debug, Default)]
struct Paths {
    /// By the whole path without its trailing slashes.
    whole: HashMap<Box<str>, Vec<u32>>,
    /// By a prefix, sorted.
    prefixes: Vec<Prefix>,
    /// Those of which no path or prefix is known.
    others: Vec<u32>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    routes: Vec<u32>,
    /// The longest of the others that this one begins with.
    shorter: Option<u32>,
}

impl Paths {
    fn of(routes: &[Arc<Route>]) -> Self {
        let mut paths = Self::default();
        let mut prefixes: HashMap<&str, Vec<u32>> = HashMap::new();
        for (index, route) in (0_u32..).zip(routes) {
            let matchers = &route.conditions.matchers;
            if let Some(texts) = matchers.iter().find_map(whole) {
                for text in texts {
                    push(paths.whole.entry(text.trim_end_matches('/').into()).or_default(), index);
                }
            } else if let Some(texts) = matchers.iter().find_map(prefix) {
                for text in texts {
                    push(prefixes.entry(text).or_default(), index);
                }
            } else {
                paths.others.push(index);
            }
        }
        let mut sorted: Vec<_> = prefixes.into_iter().collect();
        sorted.sort_unstable();
        for (text, routes) in sorted {
            let mut shorter = paths.prefixes.len().checked_sub(1);
            while let Some(index) = shorter.filter(|index| !text.starts_with(&*paths.prefixes[*index].text)) {
                shorter = paths.prefixes[index].shorter.map(|index| index as usize);
            }
            let shorter = shorter.and_then(|index| u32::try_from(index).ok());
            paths.prefixes.push(Prefix { text: text.into(), routes, shorter });
        }
        paths
    }

    /// Lists, each ascending, which together hold every route that can match a path.
    fn candidates<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a [u32]> {
        let whole = self.whole.get(path.trim_end_matches('/')).map(Vec::as_slice);
        // Whatever of the prefixes the path begins with, the last one that is not after the path begins with it too.
        let last = self.prefixes.partition_point(|prefix| *prefix.text <= *path).checked_sub(1);
        let chain = std::iter::successors(last.map(|index| &self.prefixes[index]), |prefix| {
            prefix.shorter.map(|index| &self.prefixes[index as usize])
        });
        let prefixes = chain.filter(|prefix| path.starts_with(&*prefix.text)).map(|prefix| prefix.routes.as_slice());
        whole.into_iter().chain(prefixes).chain([self.others.as_slice()])
    }
}

fn push(list: &mut Vec<u32>, index: u32) {
    if list.last() != Some(&index) {
        list.push(index);
    }
}

/// The texts that a path has to be one of.
fn whole(matcher: &Matcher) -> Option<Vec<&str>> {
    match matcher {
        Matcher::Path { paths, .. } => exact(paths),
        _ => None,
    }
}

/// The texts that a path has to begin with one of.
fn prefix(matcher: &Matcher) -> Option<Vec<&str>> {
    match matcher {
        Matcher::PathPrefix(prefixes) => exact(prefixes),
        _ => None,
    }
}

fn exact(patterns: &[Pattern]) -> Option<Vec<&str>> {
    let mut texts = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        match pattern {
            Pattern::Exact(text) => texts.push(&**text),
            Pattern::Regexp(_) => return None,
        }
    }
    Some(texts)
}
