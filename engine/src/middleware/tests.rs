//! What the tests of all middlewares need.

use std::net::SocketAddr;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use super::*;

/// A request for a middleware to look at.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    pub(super) trusted: bool,
    pub(super) moved: Moved,
    pub(super) path: Option<String>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Asked {
    pub(super) fn new(start: &str, fields: &str) -> Self {
        let request = Request::parse(Bytes::from(format!("{start}{fields}\r\n"))).unwrap();
        let peer = "10.0.0.1:1234".parse().unwrap();
        Self { request, peer, tls: false, trusted: true, moved: Moved::No, path: None, certificates: vec![] }
    }

    pub(super) fn get(url: &str) -> Self {
        let rest = url.split_once("://").unwrap().1;
        let slash = rest.find('/').unwrap();
        let tls = url.starts_with("https");
        Self { tls, ..Self::new(&format!("GET {} HTTP/1.1\r\nHost: {}\r\n", &rest[slash..], &rest[..slash]), "") }
    }

    pub(super) fn from(self, peer: &str) -> Self {
        Self { peer: SocketAddr::new(peer.parse().unwrap(), 1), ..self }
    }

    pub(super) fn passage(&self) -> Passage<'_> {
        Passage {
            request: &self.request,
            peer: self.peer,
            tls: self.tls,
            certificates: &self.certificates,
            entry_point: "http",
            port: if self.tls { 443 } else { 80 },
            trusted: self.trusted,
            path: self.path.clone().unwrap_or_else(|| self.request.path_and_query().0.to_owned()),
            moved: self.moved.clone(),
            edits: Edits::default(),
            finish: Finish::default(),
            user: None,
        }
    }
}

/// Status, `Location` and body of an answer of a middleware's own; `None` if the request goes on.
pub(super) fn told(step: &Step<'_>) -> Option<(u16, String, String)> {
    let Step::Stop(stop) = step else { return None };
    let head = String::from_utf8(stop.reply.head(crate::http::Version::Http11, true).to_vec()).unwrap();
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default().to_owned();
    Some((stop.reply.status, location, String::from_utf8(stop.reply.body().to_vec()).unwrap()))
}
