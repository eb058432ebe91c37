//! Text of clients in lines, so that it can end neither its field nor its line.

/// Appends text to a line of the common format. Everything but printable ASCII is written as `\xHH`, a quote and a
/// backslash after a backslash.
pub(crate) fn common(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    runs(out, text, is_plain, |out, rest| {
        match rest[0] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                out.extend_from_slice(b"\\x");
                hex(out, byte);
            }
        }
        1
    });
}

/// Appends text to a JSON string, without its quotes (RFC 8259 section 7). Control characters, the C1 ones among them,
/// and the line separators of Unicode are escaped; what is not UTF-8 becomes U+FFFD.
pub(crate) fn json(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    runs(out, text, is_plain, |out, rest| {
        match rest[0] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (0..b' ' | 0x7f) => unicode(out, u32::from(byte)),
            _ => return character(out, rest),
        }
        1
    });
}

/// Appends the character at the start of `rest`, which is not ASCII, and tells its length.
fn character(out: &mut Vec<u8>, rest: &[u8]) -> usize {
    let start = &rest[..rest.len().min(4)];
    let (valid, broken) = match std::str::from_utf8(start) {
        Ok(text) => (text, 0),
        Err(error) => {
            let (valid, _) = start.split_at(error.valid_up_to());
            // Up to here it was found valid.
            (std::str::from_utf8(valid).unwrap_or_default(), error.error_len().unwrap_or(start.len()))
        }
    };
    match valid.chars().next() {
        Some(c @ ('\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}')) => {
            unicode(out, u32::from(c));
            c.len_utf8()
        }
        Some(c) => {
            out.extend_from_slice(&start[..c.len_utf8()]);
            c.len_utf8()
        }
        None => {
            out.extend_from_slice("\u{fffd}".as_bytes());
            broken.max(1)
        }
    }
}

fn unicode(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    hex(out, (code >> 8) as u8);
    hex(out, code as u8);
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Appends plain runs as they are, and has `escape` append what stands at the start of the rest and tell its length.
fn runs(out: &mut Vec<u8>, text: &[u8], is_plain: impl Fn(u8) -> bool, escape: impl Fn(&mut Vec<u8>, &[u8]) -> usize) {
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        if !rest.is_empty() {
            rest = &rest[escape(out, rest)..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(escape: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_text() {
        assert_eq!(
            escaped(common, b"/a\" 200 \\ \r\n\x1b[0m\xff\xc3\xa4"),
            r#"/a\" 200 \\ \x0d\x0a\x1b[0m\xff\xc3\xa4"#
        );
        assert_eq!(escaped(json, b"a\"\\\n\r\t\x00\x7f\xff."), "a\\\"\\\\\\n\\r\\t\\u0000\\u007f\u{fffd}.");
        assert_eq!(escaped(json, "ä\u{85}\u{2028}😀".as_bytes()), "ä\\u0085\\u2028😀");
    }

    proptest! {
        #[test]
        fn json_strings_hold_what_was_said(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let quoted = format!("\"{}\"", escaped(json, &text));
            let read: String = serde_json::from_str(&quoted).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
            let is_harmless = |c: char| !c.is_control() && c != '\u{2028}' && c != '\u{2029}';
            prop_assert!(quoted.chars().all(is_harmless));
        }

        #[test]
        fn common_text_is_printable_and_ends_no_quotes(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let written = escaped(common, &text);
            prop_assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let mut bytes = written.bytes();
            while let Some(byte) = bytes.next() {
                prop_assert!(byte != b'"');
                if byte == b'\\' {
                    prop_assert!(bytes.next().is_some());
                }
            }
        }
    }
}
