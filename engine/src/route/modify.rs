//! Changes of the path on its way to a server.
//!
//! The escaped form is the truth: what is left of it is sent byte for byte. Patterns look at the decoded form.

use bytes::BytesMut;
use regex::Regex;

use super::path::{decode, encode, raw_offset};
use crate::http::write;

/// A change of the path.
#[derive(Debug)]
pub(crate) enum Modifier {
    StripPrefixRegex {
        patterns: Vec<Regex>,
        /// Where none applies the path stays as it is.
        optional: bool,
    },
    StripPrefix {
        prefixes: Vec<Box<str>>,
        optional: bool,
    },
    AddPrefix(String),
    ReplacePathRegex {
        pattern: Regex,
        replacement: String,
    },
    ReplacePath(String),
}

/// No prefix of a strip modifier applies; the request is answered 404.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NothingToStrip;

/// Applies `modifiers` to an escaped path. Header fields that tell the server about it are written to `fields`.
pub(crate) fn apply(modifiers: &[Modifier], raw: &str, fields: &mut BytesMut) -> Result<String, NothingToStrip> {
    let mut raw = raw.to_owned();
    for modifier in modifiers {
        // Only valid escapes come here and only valid ones are made.
        let decoded = decode(&raw).unwrap_or_default().into_owned();
        raw = match modifier {
            Modifier::StripPrefixRegex { patterns, optional } => {
                let found =
                    patterns.iter().find_map(|pattern| pattern.find(&decoded).filter(|found| found.start() == 0));
                match found {
                    Some(found) => strip(&raw, &decoded, found.as_str(), fields),
                    None if *optional => raw,
                    None => return Err(NothingToStrip),
                }
            }
            Modifier::StripPrefix { prefixes, optional } => {
                match prefixes.iter().find(|prefix| decoded.starts_with(&***prefix)) {
                    Some(found) => strip(&raw, &decoded, found, fields),
                    None if *optional => raw,
                    None => return Err(NothingToStrip),
                }
            }
            Modifier::AddPrefix(prefix) => rooted(&format!("{prefix}{raw}")),
            Modifier::ReplacePathRegex { pattern, replacement } if pattern.is_match(&decoded) => {
                tell(fields, b"X-Replaced-Path", &decoded, &raw);
                rooted(&encode(&pattern.replace_all(&decoded, replacement)))
            }
            Modifier::ReplacePathRegex { .. } => raw,
            Modifier::ReplacePath(path) => {
                tell(fields, b"X-Replaced-Path", &decoded, &raw);
                path.clone()
            }
        };
    }
    Ok(raw)
}

/// The escaped form of a path or prefix that was configured.
pub(crate) fn configured(text: &str) -> String {
    encode(text)
}

/// As [`configured`], with a slash at its start.
pub(crate) fn configured_path(text: &str) -> String {
    rooted(&encode(text))
}

fn rooted(raw: &str) -> String {
    if raw.starts_with('/') { raw.to_owned() } else { format!("/{raw}") }
}

fn strip(raw: &str, decoded: &str, prefix: &str, fields: &mut BytesMut) -> String {
    let escaped = encode(prefix);
    tell(fields, b"X-Forwarded-Prefix", if prefix.is_empty() { "/" } else { prefix }, &escaped);
    let rest = match raw_offset(raw, prefix) {
        Some(offset) => raw[offset..].to_owned(),
        None => encode(&decoded[prefix.len()..]),
    };
    format!("/{}", rest.trim_start_matches('/'))
}

/// Adds a field with a decoded path, or with its escaped form if it holds what a field value may not.
fn tell(fields: &mut BytesMut, name: &[u8], decoded: &str, escaped: &str) {
    let value = if decoded.chars().any(char::is_control) || decoded.trim() != decoded { escaped } else { decoded };
    write::field(fields, name, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(modifiers: &[Modifier], path: &str) -> Option<(String, String)> {
        let mut fields = BytesMut::new();
        let path = apply(modifiers, path, &mut fields).ok()?;
        Some((path, String::from_utf8(fields.to_vec()).unwrap()))
    }

    fn strip_prefix(prefixes: &[&str]) -> Modifier {
        let prefixes = prefixes.iter().map(|prefix| Box::from(prefix.trim_end_matches('/'))).collect();
        Modifier::StripPrefix { prefixes, optional: false }
    }

    #[test]
    fn strip_prefixes() {
        for (prefixes, path, expected, told) in [
            (&["/pre"][..], "/prefix/x", "/fix/x", "/pre"),
            (&["/pre"], "/pre//x", "/x", "/pre"),
            (&["/pre"], "/pre", "/", "/pre"),
            (&["/pre"], "/pre/", "/", "/pre"),
            (&["/api/"], "/api/x", "/x", "/api"),
            (&["/a/b", "/a"], "/a/b/c", "/c", "/a/b"),
            (&["/a b"], "/a%20b/%2Fz", "/%2Fz", "/a b"),
            (&["/a"], "/%61/x%20y", "/x%20y", "/a"),
            (&["/"], "/x", "/x", "/"),
        ] {
            let (path, fields) = run(&[strip_prefix(prefixes)], path).unwrap();
            assert_eq!((path.as_str(), fields.as_str()), (expected, &*format!("X-Forwarded-Prefix: {told}\r\n")));
        }
        assert_eq!(run(&[strip_prefix(&["/pre"])], "//pre/x"), None);
        let optional = [Modifier::StripPrefix { prefixes: vec!["/pre".into()], optional: true }];
        assert_eq!(run(&optional, "/pre/x").unwrap().0, "/x");
        assert_eq!(run(&optional, "/x%2F").unwrap(), ("/x%2F".into(), String::new()));
    }

    #[test]
    fn strip_patterns() {
        let modifier =
            |optional| [Modifier::StripPrefixRegex { patterns: vec![Regex::new("/v[0-9]+").unwrap()], optional }];
        assert_eq!(run(&modifier(false), "/v12/x").unwrap(), ("/x".into(), "X-Forwarded-Prefix: /v12\r\n".into()));
        assert_eq!(run(&modifier(false), "/x/v12"), None);
        assert_eq!(run(&modifier(true), "/x/v12").unwrap(), ("/x/v12".into(), String::new()));
    }

    #[test]
    fn add_and_replace() {
        let add = || Modifier::AddPrefix(configured("/add"));
        assert_eq!(run(&[add()], "/a%2Fb").unwrap().0, "/add/a%2Fb");
        let replace = || Modifier::ReplacePath(configured_path("/new path"));
        let (path, fields) = run(&[add(), replace()], "/old").unwrap();
        assert_eq!((path.as_str(), fields.as_str()), ("/new%20path", "X-Replaced-Path: /add/old\r\n"));
        let regex = |pattern: &str, replacement: &str| Modifier::ReplacePathRegex {
            pattern: Regex::new(pattern).unwrap(),
            replacement: replacement.into(),
        };
        let (path, fields) = run(&[regex("^/api/(.*)", "/v2/${1}")], "/api/x").unwrap();
        assert_eq!((path.as_str(), fields.as_str()), ("/v2/x", "X-Replaced-Path: /api/x\r\n"));
        assert_eq!(run(&[regex("^/no", "/")], "/x%2F").unwrap(), ("/x%2F".into(), String::new()));
    }

    #[test]
    fn told_paths_cannot_inject_fields() {
        let (_, fields) = run(&[Modifier::ReplacePath("/".into())], "/a%0d%0aX-Evil:%201").unwrap();
        assert_eq!(fields, "X-Replaced-Path: /a%0d%0aX-Evil:%201\r\n");
        let patterns = vec![Regex::new("(?s)^/.*").unwrap()];
        let modifier = [Modifier::StripPrefixRegex { patterns, optional: false }];
        let (_, fields) = run(&modifier, "/a%0d%0aX-Evil:%201").unwrap();
        assert_eq!(fields, "X-Forwarded-Prefix: /a%0D%0AX-Evil:%201\r\n");
    }
}
