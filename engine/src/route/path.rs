//! Paths in their two forms: as sent, and percent-decoded.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// What is written as it is when a text becomes part of a path: the `pchar` of RFC 3986 and `/`.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The percent-decoded form of a path, or `None` if an escape is invalid. What is not UTF-8 becomes U+FFFD.
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    if !has_valid_escapes(raw.as_bytes()) {
        return None;
    }
    Some(Cow::Owned(percent_decode(raw.as_bytes()).decode_utf8_lossy().into_owned()))
}

/// The escaped form of a text that was configured.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Where, in the raw form, the first `length` bytes of the decoded form end. `None` if that is inside a character that
/// was not UTF-8, of which the decoded form shows only that it was there.
pub(crate) fn raw_offset(raw: &str, prefix: &str) -> Option<usize> {
    let bytes = raw.as_bytes();
    let mut at = 0;
    for expected in prefix.bytes() {
        let (byte, width) = match bytes.get(at)? {
            b'%' => (hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?, 3),
            byte => (*byte, 1),
        };
        if byte != expected {
            return None;
        }
        at += width;
    }
    Some(at)
}

fn has_valid_escapes(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).all(|at| {
        let digit = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        digit(1) && digit(2)
    })
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The first value of `key` in a query, form-decoded. As in Go before 1.17, `;` separates like `&`, and a pair with an
/// invalid escape does not count.
pub(crate) fn query_value<'a>(query: &'a str, key: &str) -> Option<Cow<'a, str>> {
    query.split(['&', ';']).filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(name)? == key).then(|| form_decode(value)).flatten()
    })
}

fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return decode(text);
    }
    decode(&text.replace('+', " ")).map(|decoded| Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        assert_eq!(decode("/a%20b%2Fc").unwrap(), "/a b/c");
        assert_eq!(decode("/%ff").unwrap(), "/\u{fffd}");
        for bad in ["/%", "/%2", "/%zz", "/%2g"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
        assert_eq!(encode("/a b%?~!"), "/a%20b%25%3F~!");
    }

    #[test]
    fn offsets() {
        assert_eq!(raw_offset("/a%20b/c", "/a b"), Some(6));
        assert_eq!(raw_offset("/abc", "/abc"), Some(4));
        assert_eq!(raw_offset("/%ff", "/\u{fffd}"), None);
    }

    #[test]
    fn queries() {
        assert_eq!(query_value("a=1&a=2", "a").unwrap(), "1");
        assert_eq!(query_value("x;a=b+c%21", "a").unwrap(), "b c!");
        assert_eq!(query_value("a", "a").unwrap(), "");
        assert_eq!(query_value("a=%zz&a=2", "a").unwrap(), "2");
        assert_eq!(query_value("ab=1", "a"), None);
    }
}
