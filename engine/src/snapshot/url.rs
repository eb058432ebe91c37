//! The URLs of servers.

use std::path::PathBuf;

/// Where a server is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Url {
    /// `http://`, `https://` or `h2c://`. `host` is without brackets, `host_header` is host and port as they were written.
    Tcp { host: String, port: u16, host_header: String, scheme: Scheme },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// What is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTP/1.1.
    Http,
    /// TLS, and in it what both sides prefer.
    Https,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3).
    H2c,
}

/// Parses the URL of a server. A path in an http(s) URL is ignored.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let wrong =
        || format!("\"{text}\" is not http://host[:port], https://host[:port], h2c://host[:port] or unix:/path");
    if let Some(path) = text.strip_prefix("unix:") {
        let is_absolute = path.starts_with('/') && !path.contains('\0');
        return is_absolute.then(|| Url::Unix(PathBuf::from(path))).ok_or_else(wrong);
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "h2c" => Scheme::H2c,
        _ => return Err(wrong()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !crate::http::target::is_valid_host(authority.as_bytes()) {
        return Err(wrong());
    }
    let (name, port) = crate::http::target::split_port(authority.as_bytes());
    let name = &authority[..name.len()];
    let host = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
    let port = match port.unwrap_or_default() {
        b"" if scheme == Scheme::Https => 443,
        b"" => 80,
        _ => authority[name.len() + 1..].parse().map_err(|_| wrong())?,
    };
    if host.is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok(Url::Tcp { host: host.to_owned(), port, host_header: authority.to_owned(), scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let tcp = |host: &str, port, host_header: &str, scheme| {
            Ok(Url::Tcp { host: host.into(), port, host_header: host_header.into(), scheme })
        };
        assert_eq!(parse("http://10.0.0.7:8080"), tcp("10.0.0.7", 8080, "10.0.0.7:8080", Scheme::Http));
        assert_eq!(parse("https://a_b.example/ignored?x"), tcp("a_b.example", 443, "a_b.example", Scheme::Https));
        assert_eq!(parse("http://[::1]:1"), tcp("::1", 1, "[::1]:1", Scheme::Http));
        assert_eq!(parse("h2c://a:50051"), tcp("a", 50051, "a:50051", Scheme::H2c));
        assert_eq!(parse("unix:/run/x.sock"), Ok(Url::Unix("/run/x.sock".into())));
        for bad in ["", "http://", "ftp://x", "unix:x", "unix:", "http://a:0", "http://a:99999", "http://u@h", "a:80"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
