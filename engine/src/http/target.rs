//! Request targets and hosts (RFC 9112 section 3.2, RFC 3986 section 3.2.2).

use std::borrow::Cow;
use std::ops::Range;

use super::Malformed;

/// The parts of a request target, as ranges of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The authority of an absolute-form target; it takes the place of the Host field.
    pub(crate) authority: Option<Range<usize>>,
    /// Path and query as sent; empty for an absolute form without a path, which means `/`.
    pub(crate) path_and_query: Range<usize>,
}

/// Splits the target of a request with this method.
pub(crate) fn parse(method: &str, target: &str) -> Result<Target, Malformed> {
    if method == "CONNECT" {
        return Err(Malformed::NotImplemented("CONNECT"));
    }
    if target.contains('#') {
        return Err(Malformed::Syntax("fragment in the request target"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target { authority: None, path_and_query: 0..target.len() });
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .ok_or(Malformed::Syntax("request target is neither a path nor a URL"))?;
    let rest = &target[scheme.len()..];
    let length = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = scheme.len()..scheme.len() + length;
    if length == 0 || !is_valid_host(target[authority.clone()].as_bytes()) {
        return Err(Malformed::Syntax("invalid authority in the request target"));
    }
    Ok(Target { path_and_query: authority.end..target.len(), authority: Some(authority) })
}

/// Whether `host` is `uri-host [":" port]`. Empty is valid: a client whose target has no authority sends that.
pub(crate) fn is_valid_host(host: &[u8]) -> bool {
    let (name, port) = split_port(host);
    let valid_name = match name.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").is_some_and(|literal| {
            std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }),
        None => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte)),
    };
    let valid_port = port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    valid_name && valid_port && !(name.is_empty() && port.is_some())
}

/// Splits `host[:port]`; the brackets of an IPv6 address stay.
pub(crate) fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', host) {
        Some(colon) if !host[colon..].contains(&b']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    }
}

/// The name by which routes are looked up: lower case, no port, no brackets.
pub(crate) fn lookup_name(host: &str) -> Cow<'_, str> {
    let (name, _) = split_port(host.as_bytes());
    let name = &host[..name.len()];
    let name = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let target = parse("GET", "http://A.example:80/x?y").unwrap();
        assert_eq!(target, Target { authority: Some(7..19), path_and_query: 19..23 });
        assert_eq!(parse("GET", "HTTPS://a").unwrap().path_and_query, 9..9);
        assert!(parse("OPTIONS", "*").is_ok());
        for (method, bad) in [
            ("GET", "*"),
            ("GET", "x"),
            ("GET", "http:///x"),
            ("GET", "http://u@h/"),
            ("GET", "/#f"),
            ("GET", "ftp://h/"),
        ] {
            assert!(matches!(parse(method, bad), Err(Malformed::Syntax(_))), "{bad}");
        }
        assert!(matches!(parse("CONNECT", "a:443"), Err(Malformed::NotImplemented(_))));
    }

    #[test]
    fn hosts() {
        for good in ["", "a", "a.example:8080", "a_b", "[::1]", "[::1]:80", "127.0.0.1:", "xn--a"] {
            assert!(is_valid_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "a@b", "a:b", "a:123456", "[::1", "[x]", "::1", "a:1:2", ":80", "a\"", "b\u{e9}"] {
            assert!(!is_valid_host(bad.as_bytes()), "{bad}");
        }
        assert_eq!(lookup_name("A.Example:8080"), "a.example");
        assert_eq!(lookup_name("[::1]:80"), "::1");
    }
}
