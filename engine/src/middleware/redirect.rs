//! `redirect_entry_point`, `redirect_regex`: to another URL.

use std::fmt::Write as _;

use regex::{Captures, Regex};

use super::{By, Moved, Passage, Step};
use crate::http::name::Name;
use crate::http::target::split_port;
use crate::proxy::reply::Reply;
use crate::regexp;
use crate::snapshot::middleware as document;

/// `redirect`.
#[derive(Debug)]
pub(crate) struct Redirect {
    to: To,
    permanent: bool,
}

#[derive(Debug)]
enum To {
    EntryPoint { scheme: &'static str, port: Option<u16> },
    Regex { regex: Regex, replacement: Vec<Part> },
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// With `$1` and `${name}` in it.
    Text(String),
    Field(Field),
}

/// What of the request can stand in a replacement, as `{{ .Request.Host }}`.
#[derive(Debug, PartialEq, Eq)]
enum Field {
    Host,
    Method,
    Path,
    Query,
    Uri,
    RemoteAddr,
    Header(String),
}

impl Redirect {
    pub(super) fn to_entry_point(document: &document::RedirectEntryPoint) -> Result<Self, String> {
        let scheme = match document.scheme.as_str() {
            "http" => "http",
            "https" => "https",
            other => return Err(format!("redirect_entry_point: the scheme \"{other}\" is neither http nor https")),
        };
        Ok(Self { to: To::EntryPoint { scheme, port: document.port }, permanent: document.permanent })
    }

    pub(super) fn by_regex(document: &document::RedirectRegex) -> Result<Self, String> {
        let regex = regexp::compile(&document.regex).map_err(|error| format!("redirect_regex: {error}"))?;
        let replacement = template(&document.replacement)?;
        Ok(Self { to: To::Regex { regex, replacement }, permanent: document.permanent })
    }

    pub(super) fn step(&self, passage: &Passage<'_>) -> Step<'_> {
        match self.location(passage) {
            None => Step::Continue,
            Some(location) => {
                let status = match (passage.request.method(), self.permanent) {
                    ("GET", false) => 302,
                    ("GET", true) => 301,
                    (_, false) => 307,
                    (_, true) => 308,
                };
                Step::redirect(Reply::redirect(status, &location), By::Redirect)
            }
        }
    }

    /// Where to, if that is not where it is.
    fn location(&self, passage: &Passage<'_>) -> Option<String> {
        // Whoever says it: as in Traefik 1.7 nobody has to be trusted for that.
        let told = passage.edits.get(b"X-Forwarded-Proto").and_then(|values| values.first()).map(|value| &value[..]);
        let told = told.or_else(|| passage.request.fields.first(Name::ForwardedProto));
        let scheme = if passage.tls || told == Some(b"https") { "https" } else { "http" };
        let host = passage.request.host();
        let location = match &self.to {
            To::EntryPoint { scheme: to, port } => {
                let (name, own) = split_port(host.as_bytes());
                let usual = if *to == "https" { 443 } else { 80 };
                let own = own.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
                let at = own.unwrap_or(usual);
                // Where it is already, behind a proxy that speaks TLS too, it would be sent in circles; and so it would
                // on the entry point itself.
                let is_there = scheme == *to && (port.is_none_or(|port| at == port || passage.port == port));
                if is_there || name.is_empty() {
                    return None;
                }
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{to}://{}{port}{}{}", &host[..name.len()], passage.path, passage.query())
            }
            To::Regex { regex, replacement } => {
                let url = format!("{scheme}://{host}{}{}", passage.path, passage.query());
                if !regex.is_match(&url) {
                    return None;
                }
                let location =
                    regex.replace_all(&url, |captures: &Captures<'_>| expand(replacement, captures, passage));
                if *location == url {
                    return None;
                }
                location.into_owned()
            }
        };
        Some(escaped(&moved_back(&location, passage)))
    }
}

/// The location with the path that the client asked for, if modifiers have changed it: it comes through them again.
fn moved_back(location: &str, passage: &Passage<'_>) -> String {
    let start = location.find("://").map_or(0, |scheme| scheme + 3);
    let path = location[start..].find(['/', '?', '#']).map_or(location.len(), |path| start + path);
    let end = location[path..].find(['?', '#']).map_or(location.len(), |end| path + end);
    let (before, after) = (&location[..path], &location[end..]);
    match &passage.moved {
        Moved::No => location.to_owned(),
        Moved::Replaced => format!("{before}{}{after}", passage.request.path_and_query().0),
        Moved::Added(prefix) => format!("{before}{}{after}", location[path..end].replacen(prefix.as_str(), "", 1)),
    }
}

/// A location as it can stand in a field.
fn escaped(location: &str) -> String {
    let mut out = String::with_capacity(location.len());
    for byte in location.bytes() {
        if byte <= b' ' || byte >= 0x7f {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

fn expand(parts: &[Part], captures: &Captures<'_>, passage: &Passage<'_>) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => captures.expand(text, &mut out),
            Part::Field(field) => field.write(passage, &mut out),
        }
    }
    out
}

impl Field {
    /// The field access as Go's `http.Request` has it.
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.trim().trim_start_matches("- ").trim_end_matches(" -").trim() {
            ".Request.Host" | ".Request.URL.Host" => Self::Host,
            ".Request.Method" => Self::Method,
            ".Request.URL.Path" => Self::Path,
            ".Request.URL.RawQuery" => Self::Query,
            ".Request.RequestURI" => Self::Uri,
            ".Request.RemoteAddr" => Self::RemoteAddr,
            other => {
                let header = other.strip_prefix(".Request.Header.Get").map(str::trim);
                let name = header.and_then(|header| header.strip_prefix('"')?.strip_suffix('"'));
                match name {
                    Some(name) if super::edits::is_token(name) => Self::Header(name.to_owned()),
                    _ => {
                        return Err(format!(
                            "redirect_regex: the replacement's {{{{{text}}}}} is none of .Request.Host, \
                             .Request.Method, .Request.URL.Path, .Request.URL.RawQuery, .Request.RequestURI, \
                             .Request.RemoteAddr and .Request.Header.Get \"X\""
                        ));
                    }
                }
            }
        })
    }

    fn write(&self, passage: &Passage<'_>, out: &mut String) {
        let request = passage.request;
        match self {
            Self::Host => out.push_str(request.host()),
            Self::Method => out.push_str(request.method()),
            Self::Path => out.push_str(&crate::route::path::decode(&passage.path).unwrap_or_default()),
            Self::Query => out.push_str(request.path_and_query().1.unwrap_or_default()),
            Self::Uri => {
                out.push_str(&passage.path);
                out.push_str(&passage.query());
            }
            Self::RemoteAddr => out.push_str(&passage.peer.to_string()),
            Self::Header(name) => {
                out.push_str(&String::from_utf8_lossy(passage.get(name.as_bytes()).unwrap_or_default()));
            }
        }
    }
}

/// Splits a replacement at what is between `{{` and `}}`.
fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after
            .split_once("}}")
            .ok_or_else(|| format!("redirect_regex: the replacement \"{text}\" has {{{{ without }}}}"))?;
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Field(Field::parse(field)?));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::{Asked, told};

    fn to_entry_point(scheme: &str, port: Option<u16>, permanent: bool) -> Redirect {
        let document = document::RedirectEntryPoint { scheme: scheme.to_owned(), port, permanent };
        Redirect::to_entry_point(&document).unwrap()
    }

    fn by_regex(regex: &str, replacement: &str) -> Result<Redirect, String> {
        let (regex, replacement) = (regex.to_owned(), replacement.to_owned());
        Redirect::by_regex(&document::RedirectRegex { regex, replacement, permanent: false })
    }

    fn location(redirect: &Redirect, asked: &Asked) -> String {
        told(&redirect.step(&asked.passage())).map_or_else(String::new, |told| told.1)
    }

    #[test]
    fn to_an_entry_point() {
        let https = to_entry_point("https", Some(443), false);
        for (url, expected) in [
            ("http://a.example/", "https://a.example:443/"),
            ("http://a.example:80/x//y/?q=%20&b", "https://a.example:443/x//y/?q=%20&b"),
            ("http://a_b:8000//", "https://a_b:443//"),
            ("http://[::1]:80/api//", "https://[::1]:443/api//"),
            ("https://a.example/", ""),
        ] {
            assert_eq!(location(&https, &Asked::get(url)), expected, "{url}");
        }
        assert_eq!(location(&to_entry_point("http", Some(88), false), &Asked::get("http://a:80/")), "http://a:88/");
        assert_eq!(location(&to_entry_point("http", Some(80), false), &Asked::get("https://a:443/")), "http://a:80/");
        let told = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", "X-Forwarded-Proto: https\r\n");
        assert_eq!(location(&https, &told), "");
    }

    #[test]
    fn statuses_and_bodies() {
        for (method, permanent, status, body) in [
            ("GET", false, 302, "Found"),
            ("GET", true, 301, "Moved Permanently"),
            ("HEAD", false, 307, "Temporary Redirect"),
            ("POST", true, 308, "Permanent Redirect"),
        ] {
            let asked = Asked::new(&format!("{method} / HTTP/1.1\r\nHost: a\r\n"), "");
            let redirect = to_entry_point("https", Some(443), permanent);
            let told = told(&redirect.step(&asked.passage())).unwrap();
            assert_eq!((told.0, told.2.as_str()), (status, body));
        }
    }

    #[test]
    fn by_expressions() {
        let redirect = by_regex("^http://([^/]+)/old/(.*)", "https://new.$1/${2}?h={{ .Request.Host }}").unwrap();
        assert_eq!(location(&redirect, &Asked::get("http://a/old/x?y")), "https://new.a/x?y?h=a");
        assert_eq!(location(&redirect, &Asked::get("http://a/other")), "");
        let same = by_regex("^http://a/(.*)", "http://a/$1").unwrap();
        assert_eq!(location(&same, &Asked::get("http://a/x")), "");
        let header = by_regex(".*", "http://b/{{.Request.Header.Get \"X-A\"}}{{ .Request.RequestURI }}").unwrap();
        let asked = Asked::new("GET /x?y HTTP/1.1\r\nHost: a\r\n", "X-A: v \u{e9}{{x\r\n");
        assert_eq!(location(&header, &asked), "http://b/v%20%C3%A9{{x/x?y");
    }

    #[test]
    fn what_a_replacement_cannot_say() {
        for bad in ["{{", "{{ .Request }}", "{{ if .Request.Host }}", "{{ .Request.Header.Get X }}"] {
            assert!(by_regex(".*", bad).unwrap_err().contains("replacement"), "{bad}");
        }
        assert!(by_regex("(", "x").unwrap_err().starts_with("redirect_regex: regular expression \"(\""));
    }

    #[test]
    fn a_path_that_modifiers_changed_comes_back() {
        let redirect = by_regex("^http://a/(.*)", "https://b/new/$1").unwrap();
        let asked = || Asked::get("http://a/pre/x%2Fy//?q");
        let replaced = Asked { moved: Moved::Replaced, path: Some("/x%2Fy//".to_owned()), ..asked() };
        assert_eq!(location(&redirect, &replaced), "https://b/pre/x%2Fy//?q");
        let added = Asked { moved: Moved::Added("/new".to_owned()), path: Some("/add/x".to_owned()), ..asked() };
        assert_eq!(location(&redirect, &added), "https://b/add/x?q");
    }
}
