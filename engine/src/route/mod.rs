//! Which route a request takes: the first, in the snapshot's order, whose matchers all match.

pub(crate) mod matcher;
pub(crate) mod modify;
pub(crate) mod path;

use std::collections::HashMap;
use std::sync::Arc;

use matcher::{Matcher, Outcome, Subject};

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

/// A route with its conditions.
#[derive(Debug)]
struct Entry {
    /// Without the host matcher that `Router::by_host` stands for.
    matchers: Vec<Matcher>,
    route: Arc<Route>,
}

/// The routes of an entry point. Those with exact hosts are found by the host, whatever the number of hosts.
#[derive(Debug, Default)]
pub(crate) struct Router {
    entries: Vec<Entry>,
    by_host: HashMap<Box<str>, Vec<u32>>,
    any_host: Vec<u32>,
}

impl Router {
    /// Adds a route after those that are there.
    pub(crate) fn push(&mut self, mut matchers: Vec<Matcher>, route: Arc<Route>) {
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        match matchers.iter().position(|matcher| matches!(matcher, Matcher::Host(_))) {
            Some(position) => {
                if let Matcher::Host(hosts) = matchers.remove(position) {
                    for host in hosts {
                        let indices = self.by_host.entry(host).or_default();
                        if indices.last() != Some(&index) {
                            indices.push(index);
                        }
                    }
                }
            }
            None => self.any_host.push(index),
        }
        self.entries.push(Entry { matchers, route });
    }

    /// The first route that matches.
    pub(crate) fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        let with_host = self.by_host.get(subject.host).filter(|_| !subject.host.is_empty());
        for index in merge(with_host.map_or(&[], Vec::as_slice), &self.any_host) {
            let entry = &self.entries[index as usize];
            match matcher::all(&entry.matchers, subject) {
                Outcome::No => {}
                Outcome::RedirectSlash => return Decision::RedirectSlash,
                Outcome::Yes => return Decision::Route(&entry.route),
            }
        }
        Decision::NotFound
    }
}

/// Two ascending lists as one.
fn merge<'a>(mut a: &'a [u32], mut b: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    std::iter::from_fn(move || match (a.split_first(), b.split_first()) {
        (Some((first, rest)), other) if other.is_none_or(|(second, _)| first < second) => {
            a = rest;
            Some(*first)
        }
        (_, Some((second, rest))) => {
            b = rest;
            Some(*second)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
