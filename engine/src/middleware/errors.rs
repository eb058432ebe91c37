//! `errors`: pages of a service instead of answers of certain statuses.

use std::sync::Arc;

use crate::http::head::Request;
use crate::http::name::Name;
use crate::snapshot::middleware as document;
use crate::snapshot::table::Route;

/// Who a page is asked of: nobody, as in Traefik 1.7.
const HOST: &str = "0.0.0.0";

/// A page, and the statuses that get it.
#[derive(Debug)]
pub(crate) struct Page {
    statuses: Vec<(u16, u16)>,
    /// Where it is asked for: a route that nothing leads to.
    pub(crate) route: Arc<Route>,
    query: String,
}

impl Page {
    /// A page of the service to which `route` leads.
    pub(crate) fn build(document: &document::Page, route: Arc<Route>) -> Result<Self, String> {
        for (first, last) in &document.status {
            if first > last || !(100..=999).contains(first) || *last > 999 {
                return Err(format!("errors: {first}-{last} are no statuses"));
            }
        }
        let query = if document.query.is_empty() { "/" } else { &document.query };
        if !query.starts_with('/') || !query.bytes().all(|byte| byte > b' ' && byte < 0x7f && byte != b'#') {
            return Err(format!("errors: the query \"{query}\" is not a path"));
        }
        Ok(Self { statuses: document.status.clone(), route, query: query.to_owned() })
    }

    /// Whether an answer of this status gets the page. Those without a body cannot.
    pub(crate) fn is_for(&self, status: u16) -> bool {
        status >= 200
            && !matches!(status, 204 | 304 | 499)
            && self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// The request for the page.
    pub(crate) fn request(&self, request: &Request, status: u16) -> Request {
        let target = self.query.replace("{status}", &status.to_string());
        let method = if request.method() == "HEAD" { "HEAD" } else { "GET" };
        request.redirected(method, &target, HOST, |id, name| {
            let is = |known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
            !matches!(id, Name::Host | Name::ContentLength | Name::TransferEncoding | Name::Trailer | Name::Upgrade)
                // It is a page that is wanted, whole.
                && !is(&["expect", "range", "if-range", "if-match", "if-none-match"])
                && !is(&["if-modified-since", "if-unmodified-since"])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Framing;
    use bytes::Bytes;

    fn page(status: &[(u16, u16)], query: &str) -> Result<Page, String> {
        let route = crate::route::tests::route("r", 0, vec![]);
        let document = document::Page { status: status.to_vec(), service: "s".to_owned(), query: query.to_owned() };
        Page::build(&document, route)
    }

    #[test]
    fn statuses() {
        let made = page(&[(404, 404), (200, 299), (500, 599)], "").unwrap();
        for (status, expected) in [(404, true), (403, false), (500, true), (599, true), (200, true), (204, false)] {
            assert_eq!(made.is_for(status), expected, "{status}");
        }
        for bad in [(500, 400), (1, 2), (500, 1000)] {
            assert!(page(&[bad], "/").is_err(), "{bad:?}");
        }
        for bad in ["x", "/a b", "/a\r\nb", "/#x"] {
            assert!(page(&[], bad).unwrap_err().contains("query"), "{bad}");
        }
    }

    #[test]
    fn requests() {
        let text = "POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nCookie: c\r\nRange: x\r\nIf-None-Match: y\r\n\
                    Expect: 100-continue\r\n\r\n";
        let request = Request::parse(Bytes::from(text)).unwrap();
        let asked = page(&[], "/{status}.html?{status}").unwrap().request(&request, 503);
        assert_eq!((asked.method(), asked.host(), asked.framing), ("GET", HOST, Framing::None));
        assert_eq!(asked.path_and_query(), ("/503.html", Some("503")));
        assert_eq!(asked.fields.iter().map(|(_, name, _)| name).collect::<Vec<_>>(), [b"Cookie"]);
    }
}
