//! Clients that stay with a server, by a cookie that names it (`stickiness` in Traefik 1.7).

use bytes::Bytes;

use crate::http::head::Request;
use crate::http::name::is_token;

/// How clients are kept to their servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sticky {
    name: String,
    /// What follows the value in `Set-Cookie`.
    attributes: String,
}

impl Sticky {
    /// A cookie of this name; `same_site` is `none`, `lax`, `strict` or empty.
    pub(crate) fn new(name: &str, secure: bool, http_only: bool, same_site: &str) -> Result<Self, String> {
        // RFC 6265 section 4.1.1
        if !is_token(name.as_bytes()) {
            return Err(format!("\"{name}\" cannot be the name of a cookie"));
        }
        let mut attributes = "; Path=/".to_owned();
        if http_only {
            attributes.push_str("; HttpOnly");
        }
        if secure {
            attributes.push_str("; Secure");
        }
        attributes.push_str(match same_site {
            "" => "",
            "none" => "; SameSite=None",
            "lax" => "; SameSite=Lax",
            "strict" => "; SameSite=Strict",
            other => return Err(format!("same_site \"{other}\" is not none, lax or strict")),
        });
        Ok(Self { name: name.to_owned(), attributes })
    }

    /// The server that a request's cookie names.
    pub(crate) fn wanted<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        let fields = request.fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case(b"cookie"));
        let pairs = fields.flat_map(|(_, _, value)| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        let mut values = pairs.filter_map(|pair| pair.strip_prefix(self.name.as_bytes())?.strip_prefix(b"="));
        values.next().map(|value| value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(value))
    }

    /// The value of `Set-Cookie` that names the server for the next requests.
    pub(crate) fn value(&self, server: &str) -> Bytes {
        format!("{}={server}{}", self.name, self.attributes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cookies: &str) -> Option<Vec<u8>> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{cookies}\r\n");
        let request = Request::parse(Bytes::from(text)).unwrap();
        Sticky::new("_ab", false, false, "").unwrap().wanted(&request).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let url = Some(b"http://10.0.0.1:80".to_vec());
        assert_eq!(wanted("Cookie: x=1; _ab=http://10.0.0.1:80; y=2\r\n"), url);
        assert_eq!(wanted("Cookie: x=1\r\ncookie: _ab=\"http://10.0.0.1:80\"\r\n"), url);
        assert_eq!(wanted("Cookie: x_ab=1; _abc=2; _ab\r\n"), None);
        assert_eq!(wanted(""), None);
    }

    #[test]
    fn attributes() {
        let sticky = Sticky::new("_ab", true, true, "lax").unwrap();
        assert_eq!(sticky.value("http://a"), "_ab=http://a; Path=/; HttpOnly; Secure; SameSite=Lax");
        assert!(Sticky::new("a b", false, false, "").is_err());
        assert!(Sticky::new("a", false, false, "Laxer").is_err());
    }
}
