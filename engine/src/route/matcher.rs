//! The conditions of routes.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

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
    /// Who sends it.
    pub(crate) peer: IpAddr,
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

/// An expression to search for in a host.
#[derive(Debug, Clone)]
pub(crate) struct HostRegexp {
    /// The expression.
    pub(crate) regex: Regex,
    /// What every host that it matches ends with; may be empty.
    pub(crate) end: Box<str>,
    /// Whether that is all of the host.
    pub(crate) is_whole: bool,
}

impl HostRegexp {
    /// Finds out what the hosts that `regex` matches end with. They are in lower case and ASCII.
    pub(crate) fn new(regex: Regex) -> Self {
        let (end, is_whole) = regex_syntax::parse(regex.as_str()).map(|parsed| ending(&parsed)).unwrap_or_default();
        Self { regex, end: end.into(), is_whole }
    }

    fn is_match(&self, host: &str) -> bool {
        host.ends_with(&*self.end) && self.regex.is_match(host)
    }
}

/// The plain text at the end of an expression that is anchored there, and whether it is the whole expression.
fn ending(parsed: &Hir) -> (String, bool) {
    let parts = match parsed.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(parsed),
    };
    let mut parts = parts.iter().rev();
    if parts.next().is_none_or(|last| !matches!(last.kind(), HirKind::Look(Look::End))) {
        return (String::new(), false);
    }
    let mut reversed = String::new();
    for part in parts {
        match part.kind() {
            HirKind::Look(Look::Start) => return (reversed.chars().rev().collect(), true),
            HirKind::Literal(literal) if literal.0.is_ascii() => {
                reversed.extend(literal.0.iter().rev().map(|byte| char::from(*byte)));
            }
            HirKind::Class(class) => match only(class) {
                Some(byte) => reversed.push(char::from(byte)),
                None => break,
            },
            _ => break,
        }
    }
    (reversed.chars().rev().collect(), false)
}

/// The only character of a host that a class holds: an ASCII letter in both cases is one.
fn only(class: &Class) -> Option<u8> {
    let mut found = None;
    for byte in (0..=0x7f_u8).filter(|byte| !byte.is_ascii_uppercase()) {
        let holds = match class {
            Class::Unicode(class) => {
                class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
            }
            Class::Bytes(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte)),
        };
        if holds && found.replace(byte).is_some() {
            return None;
        }
    }
    found
}

/// A condition. Values are alternatives, but the pairs of headers and query must all match.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    Host(Vec<Box<str>>),
    HostRegexp(Vec<HostRegexp>),
    Path { paths: Vec<Pattern>, redirect_slash: bool },
    PathPrefix(Vec<Pattern>),
    Method(Vec<Box<str>>),
    Headers(Vec<(Box<str>, Box<str>)>),
    HeadersRegexp(Vec<(Box<str>, Regex)>),
    Query(Vec<(Box<str>, QueryTest)>),
    ClientIp(Vec<IpNet>),
    Not(Box<Matcher>),
}

/// Whether all matchers match. A redirect counts only if everything else matches.
pub(crate) fn all(matchers: &[Matcher], subject: &Subject<'_>) -> Outcome {
    verdict(matchers, subject).unwrap_or(Outcome::No)
}

/// As [`all`], or the index of the first matcher that does not match.
pub(crate) fn verdict(matchers: &[Matcher], subject: &Subject<'_>) -> Result<Outcome, usize> {
    let mut outcome = Outcome::Yes;
    for (index, matcher) in matchers.iter().enumerate() {
        match matcher.test(subject) {
            Outcome::No => return Err(index),
            Outcome::RedirectSlash => outcome = Outcome::RedirectSlash,
            Outcome::Yes => {}
        }
    }
    Ok(outcome)
}

/// Whether none of the matchers rules the request's host out.
pub(crate) fn admits_host(matchers: &[Matcher], subject: &Subject<'_>) -> bool {
    matchers.iter().filter(|matcher| matcher.is_about_hosts()).all(|matcher| matcher.test(subject) == Outcome::Yes)
}

impl Matcher {
    fn is_about_hosts(&self) -> bool {
        match self {
            Self::Host(_) | Self::HostRegexp(_) => true,
            Self::Not(matcher) => matcher.is_about_hosts(),
            _ => false,
        }
    }

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
            Self::ClientIp(ranges) => {
                let address = subject.peer.to_canonical();
                ranges.iter().any(|range| range.contains(&address))
            }
            // A path that only its trailing slash keeps from matching is another path.
            Self::Not(matcher) => matcher.test(subject) != Outcome::Yes,
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
