//! Bodies that are read whole before they are passed on (`buffering` in Traefik 1.7): their limits, where they are kept,
//! and whether a request is sent again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::expression::{Comparison, Expression, Literal, Operator, parse};
use crate::snapshot;

/// What is kept in memory of a body unless something else is said.
const MEMORY: u64 = 1 << 20;
/// How often a request is sent at most.
pub(crate) const MAX_ATTEMPTS: u32 = 10;

/// How bodies are buffered.
#[derive(Debug)]
pub(crate) struct Buffering {
    /// Bodies of requests.
    pub(crate) request: Limits,
    /// Bodies of answers.
    pub(crate) response: Limits,
    retry: Option<Expression<Test>>,
}

/// How long a body may be, and how much of it is kept in memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    max: Option<u64>,
    memory: u64,
}

impl Limits {
    /// Whether a body of this length is too long.
    pub(crate) fn refuses(&self, length: u64) -> bool {
        self.max.is_some_and(|max| length > max)
    }
}

/// What is known after an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// How many there were.
    pub(crate) number: u32,
    /// What the client would be told.
    pub(crate) status: u16,
    /// The request's method.
    pub(crate) method: &'a str,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    IsNetworkError,
    Attempts(Operator, i64),
    Status(Operator, i64),
    Method(Operator, String),
}

impl Buffering {
    /// Reads the retry expression.
    pub(crate) fn new(buffering: &snapshot::Buffering) -> Result<Self, String> {
        let limits = |max: u64, memory: u64| Limits {
            max: (max > 0).then_some(max),
            memory: if memory > 0 { memory } else { MEMORY },
        };
        let retry = &buffering.retry_expression;
        Ok(Self {
            request: limits(buffering.max_request_body_bytes, buffering.mem_request_body_bytes),
            response: limits(buffering.max_response_body_bytes, buffering.mem_response_body_bytes),
            retry: if retry.trim().is_empty() { None } else { Some(parse(retry, &test)?) },
        })
    }

    /// Whether the request is to be sent once more.
    pub(crate) fn tries_again(&self, attempt: Attempt<'_>) -> bool {
        let holds = |test: &Test| match test {
            Test::IsNetworkError => matches!(attempt.status, 502 | 504),
            Test::Attempts(is, than) => is.holds(&i64::from(attempt.number), than),
            Test::Status(is, than) => is.holds(&i64::from(attempt.status), than),
            Test::Method(is, than) => is.holds(attempt.method, than.as_str()),
        };
        attempt.number < MAX_ATTEMPTS && self.retry.as_ref().is_some_and(|retry| retry.holds(&holds))
    }
}

fn test(comparison: Comparison) -> Result<Test, String> {
    let Comparison { function, arguments, with } = comparison;
    if !arguments.is_empty() {
        return Err(format!("{function} takes nothing: {function}()"));
    }
    match (function.as_str(), with) {
        ("IsNetworkError", None) => Ok(Test::IsNetworkError),
        ("IsNetworkError", Some(_)) => Err("IsNetworkError() is not compared with anything".to_owned()),
        ("Attempts", Some((is, Literal::Integer(than)))) => Ok(Test::Attempts(is, than)),
        ("ResponseCode", Some((is, Literal::Integer(than)))) => Ok(Test::Status(is, than)),
        ("Attempts" | "ResponseCode", _) => Err(format!("{function}() has to be compared with a whole number")),
        ("RequestMethod", Some((is @ (Operator::Equal | Operator::NotEqual), Literal::Text(than)))) => {
            Ok(Test::Method(is, than))
        }
        ("RequestMethod", _) => Err("RequestMethod() has to be == or != a text such as \"GET\"".to_owned()),
        _ => Err(format!(
            "function {function} is unknown; there are IsNetworkError, Attempts, ResponseCode, RequestMethod"
        )),
    }
}

/// A body that is kept: what is written to it can be read from it, again and again. Beyond what may be in memory it
/// is in a file without a name. Such files are small beside what the system keeps in memory of them, so that using them
/// hardly ever waits for a disk.
#[derive(Debug)]
pub(crate) struct Spool {
    limits: Limits,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    position: u64,
}

/// A body is longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the body is longer than {0} bytes")]
pub(crate) struct TooLong(u64);

impl Spool {
    /// Nothing so far.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, memory: Vec::new(), file: None, length: 0, position: 0 }
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Reads from the beginning again.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
    }

    /// Appends. Fails with [`TooLong`] inside if there would be too much.
    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let length = self.length + data.len() as u64;
        if let Some(max) = self.limits.max.filter(|max| length > *max) {
            return Err(io::Error::other(TooLong(max)));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None if length <= self.limits.memory => {
                self.memory.extend_from_slice(data);
                self.length = length;
                return Ok(());
            }
            None => self.file.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::End(0))?;
        file.write_all(data)?;
        self.length = length;
        Ok(())
    }

    /// Reads what comes next; 0 at the end.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let in_memory = self.memory.len() as u64;
        let read = if self.position < in_memory {
            let rest = self.memory.get(self.position as usize..).unwrap_or_default();
            let length = rest.len().min(room.len());
            room[..length].copy_from_slice(&rest[..length]);
            length
        } else if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(self.position - in_memory))?;
            file.read(room)?
        } else {
            0
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// Whether an error says that a body was too long.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooLong>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max: u64, memory: u64) -> Limits {
        Limits { max: Some(max), memory }
    }

    fn content(spool: &mut Spool) -> Vec<u8> {
        let mut all = Vec::new();
        let mut room = [0; 7];
        loop {
            match spool.read(&mut room).unwrap() {
                0 => return all,
                length => all.extend_from_slice(&room[..length]),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_from_memory_and_file() {
        for memory in [0, 1, 10, 25, 100] {
            let mut spool = Spool::new(limits(50, memory));
            let data: Vec<u8> = (0..50).collect();
            data.chunks(10).for_each(|piece| spool.append(piece).unwrap());
            assert_eq!(spool.file.is_some(), memory < 50);
            assert_eq!(content(&mut spool), data, "{memory}");
            spool.rewind();
            assert_eq!(content(&mut spool), data, "{memory}, again");
            assert!(is_too_long(&spool.append(b"x").unwrap_err()));
            assert_eq!(spool.len(), 50);
        }
    }

    #[test]
    fn retry_expressions() {
        let buffering = |text: &str| {
            Buffering::new(&snapshot::Buffering {
                max_request_body_bytes: 0,
                mem_request_body_bytes: 0,
                max_response_body_bytes: 0,
                mem_response_body_bytes: 0,
                retry_expression: text.to_owned(),
            })
        };
        let tries = |text: &str, number, status, method| {
            buffering(text).unwrap().tries_again(Attempt { number, status, method })
        };
        assert!(tries("IsNetworkError() && Attempts() <= 2", 1, 502, "GET"));
        assert!(!tries("IsNetworkError() && Attempts() <= 2", 3, 502, "GET"));
        assert!(tries("ResponseCode() == 503 && RequestMethod() != \"POST\"", 1, 503, "GET"));
        assert!(!tries("ResponseCode() == 503 && RequestMethod() != \"POST\"", 1, 503, "POST"));
        assert!(!tries("ResponseCode() > 0", 10, 200, "GET"), "there is an end");
        assert!(!tries("", 1, 502, "GET"));
        for wrong in ["Attempts()", "IsNetworkError() > 1", "RequestMethod() < \"A\"", "Attempts() > 1.0", "Other()"] {
            assert!(buffering(wrong).is_err(), "{wrong}");
        }
    }
}
