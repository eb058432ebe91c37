//! `basic_auth`: a name and a password (RFC 7617), against hashes as `htpasswd` makes them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::BASE64;
use md5::{Digest, Md5};
use tokio::sync::Semaphore;

use super::edits::{is_token, is_value};
use super::{By, Passage, Step};
use crate::error::Failure;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware as document;

/// Credentials that were found right and are remembered.
const REMEMBERED: usize = 4096;

/// How many hashes are computed at a time, so that who guesses passwords cannot take all processors.
static COMPUTING: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new((processors / 2).max(1))
});

/// `auth.basic`.
#[derive(Debug)]
pub(crate) struct BasicAuth {
    users: HashMap<String, Arc<Hash>>,
    /// Compared with if there is no such user, so that names cannot be told by the time that an answer takes.
    decoy: Option<Arc<Hash>>,
    verified: Arc<Verified>,
    remove_header: bool,
    header_field: Option<Bytes>,
}

/// What is known of a password.
enum Hash {
    Sha1([u8; 20]),
    /// `$1$` and `$apr1$`: the whole text, which begins with this.
    Md5 {
        magic: &'static str,
        text: String,
    },
    Bcrypt(String),
}

impl std::fmt::Debug for Hash {
    /// Without what is secret in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl BasicAuth {
    pub(super) fn build(document: &document::Auth, verified: Arc<Verified>) -> Result<Self, String> {
        let mut users = HashMap::with_capacity(document.users.0.len());
        for (index, text) in document.users.0.iter().enumerate() {
            let wrong = |error: &str| format!("basic_auth: users[{index}] {error}");
            let parts = text.split_once(':').filter(|(_, hash)| !hash.contains(':'));
            let (name, hash) = parts.ok_or_else(|| wrong("is not name:hash"))?;
            if !is_value(name) {
                return Err(wrong("has a name that cannot stand in a header"));
            }
            users.insert(name.to_owned(), Arc::new(Hash::parse(hash.trim()).map_err(|error| wrong(&error))?));
        }
        let slowest = users.values().find(|hash| matches!(***hash, Hash::Bcrypt(_)));
        let decoy = slowest.or_else(|| users.values().next()).cloned();
        let header_field = header_field("basic_auth", &document.header_field)?;
        Ok(Self { users, decoy, verified, remove_header: document.remove_header, header_field })
    }

    pub(super) fn step<'c>(&'c self, passage: &mut Passage<'_>) -> Step<'c> {
        let Some((name, password)) = passage.get(b"Authorization").and_then(credentials) else {
            return refused();
        };
        let (hash, is_known) = match self.users.get(&name) {
            Some(hash) => (hash, true),
            None => match &self.decoy {
                Some(hash) => (hash, false),
                None => return refused(),
            },
        };
        let verification = Verification { auth: self, hash, name, password, is_known };
        if let Hash::Sha1(_) = **hash {
            let is_right = hash.admits(&verification.password);
            return verification.conclude(is_right, passage);
        }
        if verification.is_remembered() {
            return verification.conclude(true, passage);
        }
        Step::Verify(verification)
    }
}

/// Name and password of an `Authorization` field.
fn credentials(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let plain = BASE64.decode(rest.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &plain)?;
    let name = std::str::from_utf8(&plain[..colon]).ok()?.to_owned();
    Some((name, plain[colon + 1..].to_vec()))
}

/// The field that tells the server who the user is, as it was configured.
pub(super) fn header_field(what: &str, name: &str) -> Result<Option<Bytes>, String> {
    if !name.is_empty() && !is_token(name) {
        return Err(format!("{what}: the header_field \"{name}\" is not the name of a header"));
    }
    Ok((!name.is_empty()).then(|| Bytes::copy_from_slice(name.as_bytes())))
}

/// What is done with the request of a user who has proven to be one.
pub(super) fn welcome(passage: &mut Passage<'_>, user: String, header_field: Option<&Bytes>, remove_header: bool) {
    if remove_header {
        passage.edits.put(Bytes::from_static(b"Authorization"), Vec::new());
    }
    if let Some(field) = header_field {
        passage.edits.put(field.clone(), vec![Bytes::copy_from_slice(user.as_bytes())]);
    }
    passage.user = Some(user);
}

fn refused<'c>() -> Step<'c> {
    let reply = Reply::plain(401, "401 Unauthorized\n").with("WWW-Authenticate", "Basic realm=\"traefik\"");
    Step::refuse(Failure::Unauthorized, reply, By::Auth)
}

/// A password that is to be compared with a hash, which takes long.
#[derive(Debug)]
pub(crate) struct Verification<'c> {
    auth: &'c BasicAuth,
    hash: &'c Arc<Hash>,
    name: String,
    password: Vec<u8>,
    is_known: bool,
}

impl<'c> Verification<'c> {
    /// Computes the hash on another thread.
    pub(crate) async fn compute(&self) -> bool {
        let (hash, password) = (Arc::clone(self.hash), self.password.clone());
        // The semaphore is never closed.
        let Ok(permit) = COMPUTING.acquire().await else { return false };
        if self.is_remembered() {
            return true;
        }
        let computed = tokio::task::spawn_blocking(move || {
            // Who leaves meanwhile does not make room for another guess.
            let _permit = permit;
            hash.admits(&password)
        });
        computed.await.unwrap_or(false)
    }

    /// What becomes of the request, if the password `is_right`.
    pub(crate) fn conclude(self, is_right: bool, passage: &mut Passage<'_>) -> Step<'c> {
        if !is_right || !self.is_known {
            return refused();
        }
        if !matches!(**self.hash, Hash::Sha1(_)) {
            self.auth.verified.remember(self.auth.verified.tag(&self.name, &self.password));
        }
        welcome(passage, self.name, self.auth.header_field.as_ref(), self.auth.remove_header);
        Step::Continue
    }

    fn is_remembered(&self) -> bool {
        let verified = &self.auth.verified;
        self.is_known && verified.knows(&verified.tag(&self.name, &self.password))
    }
}

/// Credentials that were found right, as digests under a key that nobody knows.
pub(crate) struct Verified {
    key: hmac::Key,
    known: Mutex<Known>,
}

/// Digests, and in which order they came.
#[derive(Default)]
struct Known {
    set: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verified")
    }
}

impl Default for Verified {
    fn default() -> Self {
        let mut secret = [0_u8; 32];
        // Without randomness the digests are still not the passwords.
        let _ = aws_lc_rs::rand::fill(&mut secret);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), known: Mutex::default() }
    }
}

impl Verified {
    fn tag(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(name.as_bytes());
        // No name has one.
        context.update(b":");
        context.update(password);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn knows(&self, tag: &[u8; 32]) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).set.contains(tag)
    }

    fn remember(&self, tag: [u8; 32]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.set.insert(tag) {
            known.order.push_back(tag);
            if known.order.len() > REMEMBERED
                && let Some(oldest) = known.order.pop_front()
            {
                known.set.remove(&oldest);
            }
        }
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            let bytes = BASE64.decode(encoded.as_bytes()).ok().and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
            return bytes.map(Self::Sha1).ok_or_else(|| "has a broken {SHA} hash".to_owned());
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let is_whole = rest.split_once('$').is_some_and(|(_, hash)| hash.len() == 22);
                let made = is_whole.then(|| Self::Md5 { magic, text: text.to_owned() });
                return made.ok_or_else(|| format!("has a broken {magic} hash"));
            }
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|magic| text.starts_with(magic)) {
            let is_whole = text.parse::<bcrypt::HashParts>().is_ok();
            return is_whole
                .then(|| Self::Bcrypt(text.to_owned()))
                .ok_or_else(|| "has a broken bcrypt hash".to_owned());
        }
        Err("has a hash that is none of $apr1$, $1$, {SHA} and bcrypt ($2a$, $2b$, $2x$, $2y$)".to_owned())
    }

    fn admits(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha1(hash) => {
                verify_slices_are_equal(digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref(), hash).is_ok()
            }
            Self::Md5 { magic, text } => {
                let salt = text[magic.len()..].split('$').next().unwrap_or_default();
                verify_slices_are_equal(md5_crypt(password, magic, salt).as_bytes(), text.as_bytes()).is_ok()
            }
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
        }
    }
}

/// MD5-crypt, as FreeBSD has it (`$1$`) and Apache (`$apr1$`).
fn md5_crypt(password: &[u8], magic: &str, salt: &str) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let salt = &salt.as_bytes()[..salt.len().min(8)];
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for start in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - start).min(16)]);
    }
    let mut length = password.len();
    while length > 0 {
        outer.update(if length & 1 == 1 { &[0][..] } else { &password[..1] });
        length >>= 1;
    }
    let mut hash = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { &hash[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round & 1 == 1 { &hash[..] } else { password });
        hash = next.finalize();
    }
    let mut out = format!("{magic}{}$", String::from_utf8_lossy(salt));
    let mut put = |mut bits: usize, count: usize| {
        for _ in 0..count {
            out.push(char::from(ALPHABET[bits & 63]));
            bits >>= 6;
        }
    };
    for [a, b, c] in ORDER {
        put(usize::from(hash[a]) << 16 | usize::from(hash[b]) << 8 | usize::from(hash[c]), 4);
    }
    put(usize::from(hash[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::{Asked, told};
    use crate::snapshot::Secret;

    fn auth(users: &[&str]) -> document::Auth {
        let users = Secret(users.iter().map(|user| (*user).to_owned()).collect());
        document::Auth { users, remove_header: false, header_field: String::new() }
    }

    fn build(document: &document::Auth) -> Result<BasicAuth, String> {
        BasicAuth::build(document, Arc::default())
    }

    fn asked(name: &str, password: &str) -> Asked {
        let encoded = BASE64.encode(format!("{name}:{password}").as_bytes());
        Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", &format!("Authorization: Basic {encoded}\r\n"))
    }

    #[test]
    fn hashes() {
        // Made by openssl passwd and htpasswd.
        for (hash, password) in [
            ("$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/", "test"),
            ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "password"),
            ("{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test"),
            ("$2y$05$qV7p7JmYbVWbhnbIXZs/PeEaDFFyW7NAyFRQ9JdCRFf9rcbbOH0kq", "unknown"),
        ] {
            let parsed = Hash::parse(hash).unwrap();
            assert_eq!(parsed.admits(password.as_bytes()), password != "unknown", "{hash}");
            assert!(!parsed.admits(b"wrong") && !parsed.admits(b""));
        }
        let made = bcrypt::hash_with_result("test", 4).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoX, bcrypt::Version::TwoY] {
            assert!(Hash::parse(&made.format_for_version(version)).unwrap().admits(b"test"));
        }
    }

    #[test]
    fn broken_users_are_told_without_their_secrets() {
        for user in ["name", "a:b:c", "a:$apr1$", "a:{SHA}secret", "a:secret", "a:$2y$secret", "a:$1$salt$secret"] {
            let error = build(&auth(&["t:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", user])).unwrap_err();
            assert!(error.starts_with("basic_auth: users[1] ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn who_is_not_known_is_asked() {
        let made = build(&auth(&["test:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="])).unwrap();
        let bare = || Asked::get("http://a/");
        for asked in [bare(), asked("test", "wrong"), asked("other", "test"), asked("", "")] {
            let mut passage = asked.passage();
            assert_eq!(told(&made.step(&mut passage)).unwrap().2, "401 Unauthorized\n");
            assert_eq!(passage.user, None);
        }
        for field in ["Basic x", "Basic", "Bearer x", "Basic dGVzdA=="] {
            let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", &format!("Authorization: {field}\r\n"));
            assert!(told(&made.step(&mut asked.passage())).is_some(), "{field}");
        }
    }

    #[test]
    fn who_is_known_goes_on() {
        let document = document::Auth {
            remove_header: true,
            header_field: "X-webAuth-User".to_owned(),
            ..auth(&["test:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="])
        };
        let made = build(&document).unwrap();
        let asked = asked("test", "test");
        let mut passage = asked.passage();
        assert!(told(&made.step(&mut passage)).is_none());
        assert_eq!(passage.user.as_deref(), Some("test"));
        assert_eq!(passage.get(b"Authorization"), None);
        assert_eq!(passage.edits.iter().collect::<Vec<_>>(), [(&b"X-webAuth-User"[..], &b"test"[..])]);
    }

    #[test]
    fn what_took_long_is_remembered() {
        let made = build(&auth(&["test:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"])).unwrap();
        let asked = asked("test", "test");
        let mut passage = asked.passage();
        let Step::Verify(verification) = made.step(&mut passage) else { panic!("it was not computed") };
        assert!(matches!(verification.conclude(true, &mut passage), Step::Continue));
        assert!(matches!(made.step(&mut passage), Step::Continue));
        let other = super::tests::asked("test", "wrong");
        let Step::Verify(verification) = made.step(&mut other.passage()) else { panic!("it was not computed") };
        assert!(told(&verification.conclude(false, &mut other.passage())).is_some());
        for number in 0..2 * REMEMBERED {
            made.verified.remember(made.verified.tag("x", &number.to_be_bytes()));
        }
        let known = made.verified.known.lock().unwrap();
        assert_eq!((known.set.len(), known.order.len()), (REMEMBERED, REMEMBERED));
    }
}
