//! `security_headers`: which hosts may be asked for, TLS that is asked for, and fields that browsers heed. As
//! `unrolled/secure` does it, which Traefik 1.7 uses.

use std::sync::Arc;

use super::edits::{Change, is_token, is_value};
use super::{By, Passage, Step};
use crate::error::Failure;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware as document;

/// `headers`, but for the custom ones.
#[derive(Debug)]
pub(crate) struct SecurityHeaders {
    document: document::SecurityHeaders,
    /// Fields of each answer.
    always: Vec<Change>,
    /// Those of answers over TLS.
    over_tls: Vec<Change>,
    ssl_host: Option<Arc<str>>,
}

impl SecurityHeaders {
    pub(super) fn build(document: &document::SecurityHeaders) -> Result<Self, String> {
        let it = document;
        for name in it.hosts_proxy_headers.iter().chain(it.ssl_proxy_headers.iter().map(|(name, _)| name)) {
            if !is_token(name) {
                return Err(format!("security_headers: \"{name}\" is not the name of a header"));
            }
        }
        if !crate::http::target::is_valid_host(it.ssl_host.as_bytes()) {
            return Err(format!("security_headers: ssl_host \"{}\" is not a host", it.ssl_host));
        }
        let mut always = Vec::new();
        let add = |list: &mut Vec<Change>, name: &str, value: &str| {
            if !is_value(value) {
                return Err(format!("security_headers: the value of {name} holds what a header may not"));
            }
            if !value.is_empty() {
                list.push(Change::set(name, value));
            }
            Ok(())
        };
        let or = |custom: &str, is_on: bool, usual: &str| match (custom, is_on) {
            ("", false) => String::new(),
            ("", true) => usual.to_owned(),
            (custom, _) => custom.to_owned(),
        };
        let mut over_tls = Vec::new();
        if it.sts_seconds != 0 && !it.is_development {
            let subdomains = if it.sts_include_subdomains { "; includeSubDomains" } else { "" };
            let preload = if it.sts_preload { "; preload" } else { "" };
            let value = format!("max-age={}{subdomains}{preload}", it.sts_seconds);
            let list = if it.force_sts_header { &mut always } else { &mut over_tls };
            add(list, "Strict-Transport-Security", &value)?;
        }
        add(&mut always, "X-Frame-Options", &or(&it.custom_frame_options_value, it.frame_deny, "DENY"))?;
        add(&mut always, "X-Content-Type-Options", &or("", it.content_type_nosniff, "nosniff"))?;
        let xss = or(&it.custom_browser_xss_value, it.browser_xss_filter, "1; mode=block");
        add(&mut always, "X-XSS-Protection", &xss)?;
        if !it.is_development {
            add(&mut over_tls, "Public-Key-Pins", &it.public_key)?;
        }
        add(&mut always, "Content-Security-Policy", &it.content_security_policy)?;
        add(&mut always, "Referrer-Policy", &it.referrer_policy)?;
        let ssl_host = (!it.ssl_host.is_empty()).then(|| Arc::from(it.ssl_host.as_str()));
        Ok(Self { document: document.clone(), always, over_tls, ssl_host })
    }

    pub(super) fn step(&self, passage: &mut Passage<'_>) -> Step<'_> {
        let it = &self.document;
        let told = it.hosts_proxy_headers.iter().filter_map(|name| passage.get(name.as_bytes()));
        let told = told.filter_map(|value| std::str::from_utf8(value).ok()).find(|value| !value.is_empty());
        let host = told.unwrap_or(passage.request.host());
        let is_known =
            it.allowed_hosts.is_empty() || it.allowed_hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
        if !is_known && !it.is_development {
            return Step::refuse(
                Failure::BadHost,
                Reply::plain(500, "Bad Host\n").with("X-Content-Type-Options", "nosniff"),
                By::Other,
            );
        }
        let is_ssl = passage.tls
            || it
                .ssl_proxy_headers
                .iter()
                .any(|(name, value)| passage.get(name.as_bytes()).unwrap_or_default() == value.as_bytes());
        let to = self.ssl_host.as_deref().unwrap_or(host);
        let is_plain = it.ssl_redirect && !is_ssl && !it.is_development;
        if is_plain || (it.ssl_force_host && to != host) {
            let status = if it.ssl_temporary_redirect { 307 } else { 301 };
            // The path is the one that the server would get: a prefix that was stripped is lost, as in Traefik 1.7.
            let location = format!("https://{to}{}{}", passage.path, passage.query());
            return Step::redirect(Reply::moved_to(status, &location, passage.request.method()), By::Other);
        }
        passage.finish.security.extend_from_slice(&self.always);
        if is_ssl {
            passage.finish.security.extend_from_slice(&self.over_tls);
            passage.finish.secure_host.clone_from(&self.ssl_host);
        }
        Step::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::{Asked, told};

    fn nothing() -> document::SecurityHeaders {
        serde_json::from_value(serde_json::json!({
            "allowed_hosts": [], "hosts_proxy_headers": [], "ssl_redirect": false, "ssl_temporary_redirect": false,
            "ssl_host": "", "ssl_force_host": false, "ssl_proxy_headers": [], "sts_seconds": 0,
            "sts_include_subdomains": false, "sts_preload": false, "force_sts_header": false, "frame_deny": false,
            "custom_frame_options_value": "", "content_type_nosniff": false, "browser_xss_filter": false,
            "custom_browser_xss_value": "", "content_security_policy": "", "public_key": "", "referrer_policy": "",
            "is_development": false
        }))
        .unwrap()
    }

    fn fields(document: &document::SecurityHeaders, asked: &Asked) -> Vec<String> {
        let mut passage = asked.passage();
        let made = SecurityHeaders::build(document).unwrap();
        assert!(matches!(made.step(&mut passage), Step::Continue));
        let text = |change: &Change| {
            let value = change.value.clone().unwrap_or_default();
            format!("{}: {}", String::from_utf8_lossy(&change.name), String::from_utf8_lossy(&value))
        };
        passage.finish.security.iter().map(text).collect()
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        assert!(fields(&nothing(), &Asked::get("https://a/")).is_empty());
    }

    #[test]
    fn fields_of_answers() {
        let all = document::SecurityHeaders {
            sts_seconds: 10,
            sts_include_subdomains: true,
            sts_preload: true,
            frame_deny: true,
            content_type_nosniff: true,
            browser_xss_filter: true,
            content_security_policy: "script-src 'self'".to_owned(),
            public_key: "pin".to_owned(),
            referrer_policy: "same-origin".to_owned(),
            ..nothing()
        };
        let plain = [
            "X-Frame-Options: DENY",
            "X-Content-Type-Options: nosniff",
            "X-XSS-Protection: 1; mode=block",
            "Content-Security-Policy: script-src 'self'",
            "Referrer-Policy: same-origin",
        ];
        let tls = ["Strict-Transport-Security: max-age=10; includeSubDomains; preload", "Public-Key-Pins: pin"];
        assert_eq!(fields(&all, &Asked::get("http://a/")), plain);
        assert_eq!(fields(&all, &Asked::get("https://a/")), [&plain[..], &tls[..]].concat());
        let forced = document::SecurityHeaders { sts_seconds: 10, force_sts_header: true, ..nothing() };
        assert_eq!(fields(&forced, &Asked::get("http://a/")), ["Strict-Transport-Security: max-age=10"]);
        let custom = document::SecurityHeaders {
            custom_frame_options_value: "SAMEORIGIN".to_owned(),
            custom_browser_xss_value: "0".to_owned(),
            frame_deny: true,
            is_development: true,
            sts_seconds: 10,
            ..nothing()
        };
        assert_eq!(fields(&custom, &Asked::get("https://a/")), ["X-Frame-Options: SAMEORIGIN", "X-XSS-Protection: 0"]);
    }

    fn answer(document: document::SecurityHeaders, asked: &Asked) -> Option<(u16, String, String)> {
        told(&SecurityHeaders::build(&document).unwrap().step(&mut asked.passage()))
    }

    #[test]
    fn hosts() {
        let list = || document::SecurityHeaders { allowed_hosts: vec!["A.example:8080".to_owned()], ..nothing() };
        assert!(answer(list(), &Asked::get("http://a.example:8080/")).is_none());
        assert_eq!(answer(list(), &Asked::get("http://a.example/")).unwrap().2, "Bad Host\n");
        let told = document::SecurityHeaders { hosts_proxy_headers: vec!["X-Host".to_owned()], ..list() };
        let asked = Asked::new("GET / HTTP/1.1\r\nHost: b\r\n", "X-Host: a.example:8080\r\n");
        assert!(answer(told, &asked).is_none());
        assert!(
            answer(document::SecurityHeaders { is_development: true, ..list() }, &Asked::get("http://b/")).is_none()
        );
    }

    #[test]
    fn redirects() {
        let redirect = || document::SecurityHeaders { ssl_redirect: true, ..nothing() };
        let asked = Asked {
            path: Some("/x".to_owned()),
            moved: super::super::Moved::Replaced,
            ..Asked::get("http://a:80/pre/x?q")
        };
        let (status, location, body) = answer(redirect(), &asked).unwrap();
        assert_eq!((status, location.as_str()), (301, "https://a:80/x?q"));
        assert_eq!(body, "<a href=\"https://a:80/x?q\">Moved Permanently</a>.\n\n");
        assert!(answer(redirect(), &Asked::get("https://a/")).is_none());
        let temporary =
            document::SecurityHeaders { ssl_temporary_redirect: true, ssl_host: "b".to_owned(), ..redirect() };
        let (status, location, _) = answer(temporary, &Asked::get("http://a/x")).unwrap();
        assert_eq!((status, location.as_str()), (307, "https://b/x"));
        let pair = ("X-Forwarded-Proto".to_owned(), "https".to_owned());
        let told = document::SecurityHeaders { ssl_proxy_headers: vec![pair], ..redirect() };
        let from_proxy = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", "X-Forwarded-Proto: https\r\n");
        assert!(answer(told, &from_proxy).is_none());
        assert!(answer(redirect(), &from_proxy).is_some());
        let force = document::SecurityHeaders { ssl_force_host: true, ssl_host: "b".to_owned(), ..nothing() };
        assert_eq!(answer(force, &Asked::get("https://a/")).unwrap().1, "https://b/");
    }
}
