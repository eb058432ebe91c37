//! Finding the end of a head, incrementally: every byte is looked at once however slowly they come.

use memchr::memchr;

use super::Malformed;

/// Longest head of a request or answer, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Longest request target, in bytes.
pub(crate) const MAX_TARGET: usize = 16 * 1024;
/// Method, blanks and version beside the target.
const START_LINE_REST: usize = 64;
/// Empty lines tolerated before a request line (RFC 9112 section 2.2).
const MAX_EMPTY_LINES: usize = 2;

/// What a scan has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The end is not there yet.
    Partial,
    /// The head is `start..end`; before `start` there are only empty lines.
    Head { start: usize, end: usize },
}

/// Remembers how far a growing buffer has been looked at. One scanner serves one head.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    scanned: usize,
    line: usize,
    start: usize,
    empty_lines: usize,
    in_fields: bool,
}

impl Scanner {
    /// Looks for the end of the head in `buffer`, which must only have grown since the last call.
    ///
    /// A line feed without a carriage return before it, or a carriage return without a line feed after it, is an error:
    /// two parsers that disagree about where a line ends disagree about where a request ends.
    pub(crate) fn scan(&mut self, buffer: &[u8]) -> Result<Found, Malformed> {
        while let Some(offset) = memchr(b'\n', &buffer[self.scanned..]) {
            let line_feed = self.scanned + offset;
            if line_feed == self.line || buffer[line_feed - 1] != b'\r' {
                return Err(Malformed::Syntax("line feed without carriage return"));
            }
            let line = &buffer[self.line..line_feed - 1];
            if memchr(b'\r', line).is_some() {
                return Err(Malformed::Syntax("carriage return inside a line"));
            }
            self.scanned = line_feed + 1;
            self.line = self.scanned;
            if line.is_empty() {
                if self.in_fields {
                    return match self.scanned - self.start {
                        length if length > MAX_HEAD => Err(Malformed::HeadTooLarge),
                        _ => Ok(Found::Head { start: self.start, end: self.scanned }),
                    };
                }
                self.empty_lines += 1;
                if self.empty_lines > MAX_EMPTY_LINES {
                    return Err(Malformed::Syntax("empty lines instead of a start line"));
                }
                self.start = self.scanned;
            } else {
                if !self.in_fields && line.len() > MAX_TARGET + START_LINE_REST {
                    return Err(Malformed::TargetTooLong);
                }
                self.in_fields = true;
            }
        }
        self.scanned = buffer.len();
        if !self.in_fields && buffer.len() - self.line > MAX_TARGET + START_LINE_REST {
            return Err(Malformed::TargetTooLong);
        }
        if buffer.len() - self.start > MAX_HEAD {
            return Err(Malformed::HeadTooLarge);
        }
        Ok(Found::Partial)
    }

    /// Whether something other than empty lines has been seen.
    pub(crate) fn has_begun(&self) -> bool {
        self.scanned > self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_by_byte_is_as_at_once() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut scanner = Scanner::default();
        for length in 0..head.len() - 4 {
            assert_eq!(scanner.scan(&head[..length]), Ok(Found::Partial), "{length}");
        }
        let found = Found::Head { start: 2, end: head.len() - 4 };
        assert_eq!(scanner.scan(head), Ok(found));
        assert_eq!(Scanner::default().scan(head), Ok(Found::Head { start: 2, end: head.len() - 4 }));
    }

    #[test]
    fn line_ends_are_strict() {
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"\nGET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n",
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\n",
        ] {
            assert!(matches!(Scanner::default().scan(bad), Err(Malformed::Syntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn limits() {
        let long = vec![b'a'; MAX_TARGET + START_LINE_REST + 1];
        assert_eq!(Scanner::default().scan(&long), Err(Malformed::TargetTooLong));
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.resize(MAX_HEAD + 1, b'a');
        assert_eq!(Scanner::default().scan(&head), Err(Malformed::HeadTooLarge));
        head.truncate(MAX_HEAD);
        assert_eq!(Scanner::default().scan(&head), Ok(Found::Partial));
    }
}
