//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::log::Form;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Usage: traefikee-engine --control PATH [--take-over PATH] [--workers N] [--die-with-parent] [--log-format text|json|journal]

The traffic engine of traefikee. It listens on what it is told through its control socket.

  --control PATH          the unix socket on which it is told what to do (HTTP/1.1 and JSON)
  --take-over PATH        replace the engine that answers on this unix socket: get its listening sockets from it, and
                          with the first snapshot take its place, on PATH too; it finishes what it has and ends
  --workers N             threads that carry traffic (default: one for each core)
  --die-with-parent       end when the process that started this one ends
  --log-format FORM       form of the log lines on standard error: text (the default), json, or journal, which is for
                          systemd's: priority, no time
  --version               print the version
  --help                  print this
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(Options),
    Version,
    Help,
}

/// How to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) control: PathBuf,
    pub(crate) take_over: Option<PathBuf>,
    pub(crate) workers: usize,
    pub(crate) die_with_parent: bool,
    pub(crate) log: Form,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut control = None;
    let mut take_over = None;
    let mut workers = None;
    let mut die_with_parent = false;
    let mut log = Form::Text;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("control") => control = Some(PathBuf::from(parser.value()?)),
            Long("take-over") => take_over = Some(PathBuf::from(parser.value()?)),
            Long("workers") => workers = Some(parser.value()?.parse::<NonZero<u16>>()?),
            Long("die-with-parent") => die_with_parent = true,
            Long("log-format") => {
                log = match parser.value()?.string()?.as_str() {
                    "json" => Form::Json,
                    "text" => Form::Text,
                    "journal" => Form::Journal,
                    other => return Err(format!("--log-format is text, json or journal, not {other}").into()),
                }
            }
            Long("version") => return Ok(Command::Version),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(argument.unexpected()),
        }
    }
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    Ok(Command::Run(Options {
        control: control.ok_or("--control is needed")?,
        take_over,
        workers: workers.map_or_else(cores, |workers| usize::from(workers.get())),
        die_with_parent,
        log,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |line: &str| super::parse(line.split_whitespace().map(Into::into));
        let options = Options {
            control: "/x".into(),
            take_over: Some("/y".into()),
            workers: 3,
            die_with_parent: true,
            log: Form::Json,
        };
        let line = "--control /x --take-over /y --workers=3 --die-with-parent --log-format json";
        assert_eq!(parse(line).unwrap(), Command::Run(options));
        assert_eq!(parse("--version").unwrap(), Command::Version);
        for bad in ["", "--control", "--nonsense", "--control /x more", "--control /x --workers 0", "--log-format xml"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
