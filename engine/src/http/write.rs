//! Writing heads.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;

/// Writes one header field.
pub(crate) fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal.
pub(crate) fn decimal(out: &mut BytesMut, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a number in hexadecimal.
pub(crate) fn hex(out: &mut BytesMut, mut number: usize) {
    let mut digits = [0_u8; 16];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[number & 15];
        number >>= 4;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes `Content-Length: length`.
pub(crate) fn content_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes a `Date` field with the present second (RFC 9110 section 6.6.1).
pub(crate) fn date(out: &mut BytesMut) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            *last = second;
            *text = httpdate::fmt_http_date(now);
        }
        field(out, b"Date", text.as_bytes());
    });
}

/// Writes the status line of an answer.
pub(crate) fn status_line(out: &mut BytesMut, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of a status that the engine itself gives.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        // Go's words, where they are others than the registry's.
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        505 => "HTTP Version Not Supported",
        _ => http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in [0, 1, 9, 10, 255, 256, 65_535, 4_294_967_296] {
            let mut out = BytesMut::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string());
            out.clear();
            hex(&mut out, usize::try_from(number).unwrap());
            assert_eq!(out, format!("{number:x}"));
        }
    }
}
