//! `forward_auth`: another server says whether a request may go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;

use super::edits::is_token;
use super::{Passage, tells_origin};
use crate::http::head::Answer;
use crate::http::name::{Name, resembles_framing};
use crate::http::write;
use crate::pool::connect::{ClientTls, Target};
use crate::snapshot::middleware as document;
use crate::snapshot::table::Server;
use crate::snapshot::url::{self, Scheme, Url};
use crate::tls::upstream;

/// How long the server may take for its whole answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// `auth.forward`.
#[derive(Debug)]
pub(crate) struct ForwardAuth {
    /// Who is asked.
    pub(crate) server: Arc<Server>,
    /// `http://host:port`, and the path with its query.
    base: String,
    target: String,
    trust: bool,
    response_headers: Vec<Bytes>,
}

impl ForwardAuth {
    pub(super) fn build(document: &document::ForwardAuth) -> Result<Self, String> {
        let address = document.address.as_str();
        let wrong = || format!("forward_auth: the address \"{address}\" is not http://host[:port]/path or https://...");
        let Url::Tcp { host, port, host_header, scheme } = url::parse(address).map_err(|_| wrong())? else {
            return Err(wrong());
        };
        let tls = match scheme {
            Scheme::Http => None,
            Scheme::H2c => return Err(wrong()),
            Scheme::Https => {
                let config = match &document.tls {
                    Some(tls) => {
                        let identity = (tls.cert_pem.as_str(), tls.key_pem.0.as_str());
                        upstream::config(&tls.ca_pem, identity, tls.insecure_skip_verify)
                    }
                    None => upstream::config("", ("", ""), false),
                };
                let config = config.map_err(|error| format!("forward_auth: tls: {error}"))?;
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                Some(ClientTls { config: Arc::clone(&config), http1: config, name })
            }
        };
        if let Some(name) = document.response_headers.iter().find(|name| !is_token(name)) {
            return Err(format!("forward_auth: \"{name}\" is not the name of a header"));
        }
        let start = address.find("://").map_or(0, |scheme| scheme + 3);
        let path = address[start..].find(['/', '?', '#']).map_or(address.len(), |path| start + path);
        let target = address[path..].split('#').next().unwrap_or_default();
        let is_clean = |byte: u8| byte > b' ' && byte < 0x7f;
        if !target.bytes().all(is_clean) {
            return Err(wrong());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let names = document.response_headers.iter().map(|name| Bytes::copy_from_slice(name.as_bytes()));
        Ok(Self {
            server: Arc::new(Server {
                id: Server::next_id(),
                url: address.to_owned(),
                target: Target::Tcp { host, port, tls, h2c: false },
                host_header,
            }),
            base: address[..path].to_owned(),
            target: format!("{slash}{target}"),
            trust: document.trust_forward_header,
            response_headers: names.collect(),
        })
    }

    /// The head of the request that asks. It has no body.
    pub(crate) fn head(&self, passage: &Passage<'_>, rewritten: &[u8]) -> BytesMut {
        let request = passage.request;
        let mut out = BytesMut::with_capacity(1024);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write::field(&mut out, b"Host", self.server.host_header.as_bytes());
        let ends_here = |id: Name, name: &[u8]| {
            id.is_hop_by_hop()
                || matches!(id, Name::Host | Name::ContentLength | Name::Trailer)
                || resembles_framing(name)
                || name.eq_ignore_ascii_case(b"expect")
                || (tells_origin(id) && !(self.trust && passage.trusted && passes_along(id)))
                || matches!(id, Name::ForwardedFor)
        };
        for (id, name, value) in request.fields.iter() {
            let is_named = request.names_fields && request.fields.is_named_in_connection(name);
            if !ends_here(id, name) && !is_named && passage.edits.get(name).is_none() {
                write::field(&mut out, name, value);
            }
        }
        for (name, value) in passage.edits.iter().filter(|(name, _)| !ends_here(Name::of(name), name)) {
            write::field(&mut out, name, value);
        }
        let told = |name: &'static str| {
            let values = passage.values(name);
            self.trust.then_some(values).filter(|values| values.iter().any(|value| !value.is_empty()))
        };
        let mut from = told("X-Forwarded-For").map_or_else(Vec::new, |values| values.join(&b", "[..]));
        if !from.is_empty() {
            from.extend_from_slice(b", ");
        }
        from.extend_from_slice(passage.peer.ip().to_canonical().to_string().as_bytes());
        write::field(&mut out, b"X-Forwarded-For", &from);
        let mut tell = |name: &'static str, own: &[u8]| {
            // What is told already was passed along.
            if told(name).is_none() && !own.is_empty() {
                write::field(&mut out, name.as_bytes(), own);
            }
        };
        tell("X-Forwarded-Method", request.method().as_bytes());
        tell("X-Forwarded-Proto", if passage.tls { b"https" } else { b"http" });
        tell("X-Forwarded-Host", request.host().as_bytes());
        tell("X-Forwarded-Uri", format!("{}{}", passage.path, passage.query()).as_bytes());
        out.extend_from_slice(rewritten);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Takes over what the answer says about a request that may go on.
    pub(crate) fn admit(&self, passage: &mut Passage<'_>, answer: &Answer) {
        for name in &self.response_headers {
            let fields = answer.fields.iter().filter(|(_, known, _)| known.eq_ignore_ascii_case(name));
            let values = fields.map(|(_, _, value)| Bytes::copy_from_slice(value)).collect();
            passage.edits.put(name.clone(), values);
        }
    }

    /// The answer of a request that may not go on: the server's, with a `Location` that leads there from anywhere.
    pub(crate) fn refusal(&self, answer: Answer) -> Answer {
        let is_location = |name: &[u8]| name.eq_ignore_ascii_case(b"Location");
        let location = answer.fields.iter().find(|(_, name, _)| is_location(name)).map(|(_, _, value)| value.to_vec());
        let Some(location) = location else { return answer };
        let absolute = self.absolute(&String::from_utf8_lossy(&location));
        let added = [(&b"Location"[..], absolute.as_bytes())];
        answer.edited(|_, name| !is_location(name), added.into_iter())
    }

    /// A reference as it is meant at the address (RFC 3986 section 5.2).
    fn absolute(&self, reference: &str) -> String {
        let end = reference.find(['/', '?', '#']).unwrap_or(reference.len());
        if reference.is_empty() || reference[..end].contains(':') {
            return reference.to_owned();
        }
        let path = self.target.split('?').next().unwrap_or_default();
        if reference.starts_with("//") {
            let scheme = self.base.split("//").next().unwrap_or_default();
            return format!("{scheme}{reference}");
        }
        match reference.as_bytes().first() {
            Some(b'/') => format!("{}{reference}", self.base),
            Some(b'?') => format!("{}{path}{reference}", self.base),
            Some(b'#') => format!("{}{}{reference}", self.base, self.target),
            _ => {
                let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
                let (relative, rest) = reference.split_at(reference.find(['?', '#']).unwrap_or(reference.len()));
                format!("{}{}{rest}", self.base, without_dots(&format!("{folder}{relative}")))
            }
        }
    }
}

/// Whether a trusted field reaches the server as the client sent it; the others are written anew.
fn passes_along(id: Name) -> bool {
    matches!(
        id,
        Name::ForwardedMethod
            | Name::ForwardedProto
            | Name::ForwardedPort
            | Name::ForwardedHost
            | Name::ForwardedUri
            | Name::ForwardedServer
            | Name::RealIp
    )
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if matches!(last, "." | "..") {
        parts.push("");
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::edits::Change;
    use crate::middleware::tests::Asked;

    fn auth(address: &str, trust: bool) -> Result<ForwardAuth, String> {
        let response_headers = vec!["X-User".to_owned(), "X-Missing".to_owned()];
        let address = address.to_owned();
        ForwardAuth::build(&document::ForwardAuth { address, trust_forward_header: trust, response_headers, tls: None })
    }

    const CLAIMS: &str = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Uri: /told\r\n\
                          X-Forwarded-Port: 9\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nCookie: c\r\n\
                          Content-Length: 3\r\nExpect: 100-continue\r\n";

    fn head(auth: &ForwardAuth, asked: &Asked) -> Vec<String> {
        let mut passage = asked.passage();
        passage.edits.make(&Change::set("X-Set", "1"));
        let text = String::from_utf8(auth.head(&passage, b"X-Forwarded-Prefix: /pre\r\n").to_vec()).unwrap();
        let mut lines: Vec<String> = text.trim_end().split("\r\n").map(str::to_owned).collect();
        lines[1..].sort();
        lines
    }

    #[test]
    fn what_is_asked() {
        let asked = Asked::new("POST /pre/x?q HTTP/1.1\r\nHost: a:80\r\n", CLAIMS);
        let asked = Asked { path: Some("/x".to_owned()), ..asked };
        let own = |more: &[&str]| {
            let mut lines: Vec<String> =
                ["Cookie: c", "Host: auth:81", "X-Forwarded-Method: POST", "X-Forwarded-Prefix: /pre", "X-Set: 1"]
                    .iter()
                    .chain(more)
                    .map(|line| (*line).to_owned())
                    .collect();
            lines.sort();
            lines.insert(0, "GET /check?x HTTP/1.1".to_owned());
            lines
        };
        let without = own(&[
            "X-Forwarded-For: 10.0.0.1",
            "X-Forwarded-Host: a:80",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Uri: /x?q",
        ]);
        assert_eq!(head(&auth("http://auth:81/check?x", false).unwrap(), &asked), without);
        let with = own(&[
            "X-Forwarded-For: 1.1.1.1, 10.0.0.1",
            "X-Forwarded-Host: a:80",
            "X-Forwarded-Port: 9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Uri: /told",
        ]);
        let trusting = auth("http://auth:81/check?x", true).unwrap();
        assert_eq!(head(&trusting, &asked), with);
        // What the entry point does not believe is not there.
        assert_eq!(head(&trusting, &Asked { trusted: false, ..asked }), without);
    }

    fn answer(text: &str) -> Answer {
        Answer::parse(Bytes::from(text.to_owned()), "GET").unwrap()
    }

    #[test]
    fn what_is_taken_over() {
        let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", "X-User: mine\r\nX-Missing: mine\r\nX-Other: mine\r\n");
        let mut passage = asked.passage();
        let yes = answer("HTTP/1.1 200 OK\r\nx-user: a\r\nX-User: b\r\nX-Other: c\r\n\r\n");
        auth("http://auth/", false).unwrap().admit(&mut passage, &yes);
        let request = passage.edited().unwrap();
        let fields: Vec<_> = request.fields.iter().map(|(_, name, value)| (name, value)).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"Host", b"a"), (b"X-Other", b"mine"), (b"X-User", b"a"), (b"X-User", b"b")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn locations() {
        let auth = auth("https://auth:81/a/b?c", false).unwrap();
        for (location, expected) in [
            ("http://other/x", "http://other/x"),
            ("/login?x#y", "https://auth:81/login?x#y"),
            ("login", "https://auth:81/a/login"),
            ("../login?to=/../x", "https://auth:81/login?to=/../x"),
            ("?x", "https://auth:81/a/b?x"),
            ("#x", "https://auth:81/a/b?c#x"),
            ("//other/x", "https://other/x"),
            ("..", "https://auth:81/"),
        ] {
            let told = auth.refusal(answer(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nX: 1\r\n\r\n")));
            let mut fields = told.fields.iter().map(|(_, _, value)| String::from_utf8_lossy(value).into_owned());
            assert_eq!((fields.next().unwrap().as_str(), fields.next().unwrap().as_str()), ("1", expected));
            assert_eq!((told.status, told.reason()), (302, &b"Found"[..]));
        }
    }

    #[test]
    fn addresses() {
        for bad in ["", "auth", "ftp://auth/", "unix:/x", "h2c://auth/", "http://auth/a b", "http://"] {
            assert!(auth(bad, false).unwrap_err().contains("forward_auth: the address"), "{bad}");
        }
        assert_eq!(auth("http://auth", false).unwrap().target, "/");
        assert_eq!(auth("http://auth?x", false).unwrap().target, "/?x");
    }
}
