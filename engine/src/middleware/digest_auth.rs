//! `digest_auth`: a name and a password that is not sent (RFC 2617), with MD5 and `qop=auth`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use md5::{Digest, Md5};

use super::basic_auth::{header_field, welcome};
use super::edits::is_value;
use super::{By, Passage, Step};
use crate::error::Failure;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware as document;

const REALM: &str = "traefik";
/// Nonces that are known at a time; those that were not used, or not for longest, are forgotten first.
const NONCES: usize = 4096;

/// `auth.digest`.
#[derive(Debug)]
pub(crate) struct DigestAuth {
    /// MD5 of `name:realm:password` in hexadecimal, by name.
    users: HashMap<String, Secret>,
    nonces: Arc<Nonces>,
    remove_header: bool,
    header_field: Option<Bytes>,
}

struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What was given out to be used, and the highest count with which it was.
pub(crate) struct Nonces {
    opaque: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The count, and when it was.
    by_nonce: HashMap<String, (u64, u64)>,
    clock: u64,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}

impl Default for Nonces {
    fn default() -> Self {
        Self { opaque: random(), known: Mutex::default() }
    }
}

impl Nonces {
    /// One that was never given out.
    fn fresh(&self) -> String {
        let nonce = random();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_nonce.len() >= NONCES {
            // Those that nobody has used yet go first.
            let mut times: Vec<_> = known.by_nonce.values().map(|(count, time)| (*count > 0, *time)).collect();
            // An eighth at a time, so that not each newcomer has all looked at.
            let (_, limit, _) = times.select_nth_unstable(NONCES / 8);
            let limit = *limit;
            known.by_nonce.retain(|_, (count, time)| (*count > 0, *time) > limit);
        }
        known.clock += 1;
        let clock = known.clock;
        known.by_nonce.insert(nonce.clone(), (0, clock));
        nonce
    }

    /// Whether a nonce is known and was not used with this count, or a higher one, before.
    fn counts(&self, nonce: &str, count: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clock += 1;
        let clock = known.clock;
        match known.by_nonce.get_mut(nonce) {
            Some((highest, time)) if *highest < count => {
                (*highest, *time) = (count, clock);
                true
            }
            _ => false,
        }
    }
}

fn random() -> String {
    let mut bytes = [0_u8; 18];
    // What could be guessed is refused by its count.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    BASE64URL_NOPAD.encode(&bytes)
}

fn md5(parts: &[&str]) -> String {
    HEXLOWER.encode(&Md5::digest(parts.join(":")))
}

impl DigestAuth {
    pub(super) fn build(document: &document::Auth, nonces: Arc<Nonces>) -> Result<Self, String> {
        let mut users = HashMap::with_capacity(document.users.0.len());
        for (index, text) in document.users.0.iter().enumerate() {
            let wrong = |error: &str| format!("digest_auth: users[{index}] {error}");
            let mut parts = text.split(':');
            let (Some(name), Some(realm), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong("is not name:realm:hash"));
            };
            if !is_value(name) {
                return Err(wrong("has a name that cannot stand in a header"));
            }
            // Users of other realms are nobody here, as in Traefik 1.7.
            if realm == REALM {
                users.insert(name.to_owned(), Secret(hash.trim().to_owned()));
            }
        }
        let header_field = header_field("digest_auth", &document.header_field)?;
        Ok(Self { users, nonces, remove_header: document.remove_header, header_field })
    }

    pub(super) fn step(&self, passage: &mut Passage<'_>) -> Step<'_> {
        match self.user(passage) {
            Some(user) => {
                welcome(passage, user, self.header_field.as_ref(), self.remove_header);
                Step::Continue
            }
            None => {
                let (nonce, opaque) = (self.nonces.fresh(), &self.nonces.opaque);
                let challenge = format!(
                    "Digest realm=\"{REALM}\", nonce=\"{nonce}\", opaque=\"{opaque}\", algorithm=\"MD5\", qop=\"auth\""
                );
                let reply = Reply::plain(401, "401 Unauthorized\n").with("WWW-Authenticate", &challenge);
                Step::refuse(Failure::Unauthorized, reply, By::Auth)
            }
        }
    }

    /// Who has proven to be who.
    fn user(&self, passage: &Passage<'_>) -> Option<String> {
        let told = Told::parse(passage.get(b"Authorization")?)?;
        let get = |name: &str| told.get(name);
        let algorithm = get("algorithm").unwrap_or("MD5");
        if get("opaque") != Some(&self.nonces.opaque) || algorithm != "MD5" || get("qop") != Some("auth") {
            return None;
        }
        let (user, uri, nonce, count) = (get("username")?, get("uri")?, get("nonce")?, get("nc")?);
        let now = format!("{}{}", passage.path, passage.query());
        let asked = format!("{}{}", passage.request.path_and_query().0, passage.query());
        // What the client knows is the path before any modifier. A part of it does, too, as in Traefik 1.7.
        let path = uri.split('?').next().unwrap_or_default();
        let fits = uri == now || uri == asked || (path.starts_with('/') && asked.split('?').next()?.starts_with(path));
        if !fits {
            return None;
        }
        let nobody = Secret(String::new());
        let secret = self.users.get(user).unwrap_or(&nobody);
        let of_request = md5(&[passage.request.method(), uri]);
        let expected = md5(&[&secret.0, nonce, count, get("cnonce").unwrap_or_default(), "auth", &of_request]);
        let response = get("response")?;
        verify_slices_are_equal(expected.as_bytes(), response.as_bytes()).ok()?;
        let count = u64::from_str_radix(count, 16).ok()?;
        (self.users.contains_key(user) && self.nonces.counts(nonce, count)).then(|| user.to_owned())
    }
}

/// The parameters of an `Authorization` field.
struct Told(Vec<(String, String)>);

impl Told {
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, mut rest) = text.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case("digest ") {
            return None;
        }
        let mut pairs = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return Some(Self(pairs));
            }
            let (name, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let (value, left) = match after.strip_prefix('"') {
                Some(quoted) => quoted_string(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim_end().to_owned(), &after[end..])
                }
            };
            pairs.push((name.trim().to_ascii_lowercase(), value));
            rest = left;
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads to the closing quote. Returns what is between, and what follows.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, it)) = chars.next() {
        match it {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            it => value.push(it),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Version;
    use crate::middleware::tests::{Asked, told};

    fn made() -> DigestAuth {
        let hash = md5(&["test", REALM, "pass"]);
        let users = vec![format!("test:traefik:{hash}"), format!("other:elsewhere:{hash}")];
        let users = crate::snapshot::Secret(users);
        let document = document::Auth { users, remove_header: true, header_field: "X-User".to_owned() };
        DigestAuth::build(&document, Arc::default()).unwrap()
    }

    fn challenge(auth: &DigestAuth) -> Told {
        let asked = Asked::get("http://a/x?y");
        let Step::Stop(stop) = auth.step(&mut asked.passage()) else { unreachable!("it was let in") };
        let head = String::from_utf8(stop.reply.head(Version::Http11, true).to_vec()).unwrap();
        let field = head.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
        Told::parse(field.as_bytes()).unwrap()
    }

    fn answer(challenge: &Told, user: &str, password: &str, uri: &str, count: u64) -> String {
        let get = |name| challenge.get(name).unwrap();
        let (nonce, opaque) = (get("nonce"), get("opaque"));
        let count = format!("{count:08x}");
        let own = md5(&[user, get("realm"), password]);
        let response = md5(&[&own, nonce, &count, "c", "auth", &md5(&["GET", uri])]);
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"traefik\", nonce=\"{nonce}\", uri=\"{uri}\", \
             opaque=\"{opaque}\", qop=auth, nc={count}, cnonce=\"c\", response=\"{response}\"\r\n"
        )
    }

    fn asked(target: &str, field: &str) -> Asked {
        Asked::new(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n"), field)
    }

    #[test]
    fn an_answer_counts_once() {
        let auth = made();
        let challenge = challenge(&auth);
        let first = asked("/x?y", &answer(&challenge, "test", "pass", "/x?y", 1));
        let mut passage = first.passage();
        assert!(told(&auth.step(&mut passage)).is_none());
        assert_eq!((passage.user.as_deref(), passage.get(b"Authorization")), (Some("test"), None));
        assert_eq!(passage.get(b"x-user"), Some(&b"test"[..]));
        assert_eq!(told(&auth.step(&mut first.passage())).unwrap().0, 401);
        let second = asked("/x?y", &answer(&challenge, "test", "pass", "/x?y", 2));
        assert!(told(&auth.step(&mut second.passage())).is_none());
    }

    #[test]
    fn the_path_is_the_one_that_the_client_asked_for() {
        let auth = made();
        let challenge = challenge(&auth);
        let field = answer(&challenge, "test", "pass", "/pre/x", 1);
        let stripped = Asked { path: Some("/x".to_owned()), ..asked("/pre/x", &field) };
        assert!(told(&auth.step(&mut stripped.passage())).is_none());
        let other = asked("/other", &answer(&challenge, "test", "pass", "/pre/x", 2));
        assert!(told(&auth.step(&mut other.passage())).is_some());
    }

    #[test]
    fn refused() {
        let auth = made();
        let challenge = challenge(&auth);
        let right = answer(&challenge, "test", "pass", "/", 9);
        for field in [
            answer(&challenge, "test", "wrong", "/", 1),
            answer(&challenge, "other", "pass", "/", 1),
            answer(&challenge, "nobody", "", "/", 1),
            right.replace("qop=auth", "qop=auth-int"),
            right.replace("nonce=\"", "nonce=\"x"),
            right.replace("opaque=\"", "opaque=\"x"),
            right.replace("uri=\"/\"", "uri=\"/x\""),
            right.replace("nc=", "nc=x"),
            "Authorization: Digest username=\"\r\n".to_owned(),
            "Authorization: Basic dGVzdDp0ZXN0\r\n".to_owned(),
        ] {
            let asked = asked("/", &field);
            assert!(told(&auth.step(&mut asked.passage())).is_some(), "{field}");
        }
        assert!(told(&auth.step(&mut asked("/", &right).passage())).is_none());
    }

    #[test]
    fn nonces_are_bounded() {
        let nonces = Nonces::default();
        let first = nonces.fresh();
        for number in 1..2 * NONCES {
            nonces.fresh();
            assert!(nonces.counts(&first, number as u64));
        }
        assert!(nonces.known.lock().unwrap().by_nonce.len() <= NONCES);
    }

    #[test]
    fn broken_users() {
        for user in ["a:b", "a:b:c:d", "a"] {
            let users = crate::snapshot::Secret(vec![user.to_owned()]);
            let document = document::Auth { users, remove_header: false, header_field: String::new() };
            let error = DigestAuth::build(&document, Arc::default()).unwrap_err();
            assert_eq!(error, "digest_auth: users[0] is not name:realm:hash");
        }
    }
}
