//! The conditions of routes.

use std::borrow::Cow;

use regex::Regex;

use super::path::query_value;
use crate::http::head::Fields;

/// What a request is matched by.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// Lower case, without port; empty if none was told.
    pub(crate) host: &'a str,
    /// As sent.
    pub(crate) method: &'a str,
    /// Percent-decoded.
    pub(crate) path: &'a str,
    /// As sent, without the question mark.
    pub(crate) query: &'a str,
    /// The header fields.
    pub(crate) fields: &'a Fields,
}

/// What a matcher says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It does not match.
    No,
    /// It would with the path's trailing slash toggled.
    RedirectSlash,
    /// It matches.
    Yes,
}

/// A text to compare with, or an expression to search for.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// Equality, or a plain prefix.
    Exact(Box<str>),
    /// A search.
    Regexp(Regex),
}

/// A condition on the first value of a query parameter.
#[derive(Debug, Clone)]
pub(crate) enum QueryTest {
    /// It is there.
    Present,
    /// It is this.
    Exact(Box<str>),
    /// It contains a match.
    Regexp(Regex),
}

/// A condition. Values are alternatives, but the pairs of headers and query must all match.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    Host(Vec<Box<str>>),
    HostRegexp(Vec<Regex>),
    Path { paths: Vec<Pattern>, redirect_slash: bool },
    PathPrefix(Vec<Pattern>),
    Method(Vec<Box<str>>),
    Headers(Vec<(Box<str>, Box<str>)>),
    HeadersRegexp(Vec<(Box<str>, Regex)>),
    Query(Vec<(Box<str>, QueryTest)>),
}

/// Whether all matchers match. A redirect counts only if everything else matches.
pub(crate) fn all(matchers: &[Matcher], subject: &Subject<'_>) -> Outcome {
    let mut outcome = Outcome::Yes;
    for matcher in matchers {
        match matcher.test(subject) {
            Outcome::No => return Outcome::No,
            Outcome::RedirectSlash => outcome = Outcome::RedirectSlash,
            Outcome::Yes => {}
        }
    }
    outcome
}

impl Matcher {
    fn test(&self, subject: &Subject<'_>) -> Outcome {
        let matches = match self {
            Self::Host(hosts) => !subject.host.is_empty() && hosts.iter().any(|host| **host == *subject.host),
            Self::HostRegexp(patterns) => {
                !subject.host.is_empty() && patterns.iter().any(|pattern| pattern.is_match(subject.host))
            }
            Self::Path { paths, redirect_slash } => return path(paths, *redirect_slash, subject.path),
            Self::PathPrefix(prefixes) => prefixes.iter().any(|prefix| match prefix {
                Pattern::Exact(text) => subject.path.starts_with(&**text),
                Pattern::Regexp(pattern) => pattern.is_match(subject.path),
            }),
            Self::Method(methods) => methods.iter().any(|method| **method == *subject.method),
            Self::Headers(pairs) => {
                pairs.iter().all(|(name, value)| values(subject, name).any(|found| found == value.as_bytes()))
            }
            Self::HeadersRegexp(pairs) => pairs.iter().all(|(name, pattern)| {
                values(subject, name).any(|found| pattern.is_match(&String::from_utf8_lossy(found)))
            }),
            Self::Query(pairs) => pairs.iter().all(|(key, test)| match (query_value(subject.query, key), test) {
                (None, _) => false,
                (Some(_), QueryTest::Present) => true,
                (Some(value), QueryTest::Exact(text)) => *value == **text,
                (Some(value), QueryTest::Regexp(pattern)) => pattern.is_match(&value),
            }),
        };
        if matches { Outcome::Yes } else { Outcome::No }
    }
}

fn path(paths: &[Pattern], redirect_slash: bool, path: &str) -> Outcome {
    let is_one = |path: &str| {
        paths.iter().any(|pattern| match pattern {
            Pattern::Exact(text) => **text == *path,
            Pattern::Regexp(pattern) => pattern.is_match(path),
        })
    };
    if is_one(path) {
        return Outcome::Yes;
    }
    if redirect_slash && path != "/" {
        let toggled = match path.strip_suffix('/') {
            Some(without) => Cow::Borrowed(without),
            None => Cow::Owned(format!("{path}/")),
        };
        if is_one(&toggled) {
            return Outcome::RedirectSlash;
        }
    }
    Outcome::No
}

fn values<'a>(subject: &'a Subject<'_>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    subject
        .fields
        .iter()
        .filter(move |(_, found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, _, value)| value)
}
