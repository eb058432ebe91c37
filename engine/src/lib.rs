//! The traffic engine of traefikee: every byte of traffic passes through it, and a control socket tells it how.
//!
//! The command is the product; the library is there for it, and for the fuzz targets (feature `fuzzing`).

mod access_log;
mod balance;
mod cli;
mod control;
mod error;
mod explain;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http;
mod http2;
mod io;
mod limit;
mod listen;
mod log;
mod metrics;
mod middleware;
mod pool;
mod proxy;
mod proxy_protocol;
mod regexp;
mod route;
mod service;
mod snapshot;
mod state;
mod stats;
mod tls;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{Command, Options};
use crate::limit::Descriptors;
use crate::state::Shared;

/// What the command `traefikee-engine` does.
pub fn main() -> ExitCode {
    let parent = rustix::process::getppid();
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => return print(cli::HELP),
        Ok(Command::Version) => return print(concat!("traefikee-engine ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => return fail(&error, 2),
    };
    if options.die_with_parent
        && let Err(error) = die_with_parent(parent)
    {
        return fail(&error, 1);
    }
    match run(&options) {
        Ok(code) => code,
        Err(error) => fail(&error, 1),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // There is nowhere else to tell.
    let _ = writeln!(std::io::stderr(), "traefikee-engine: {error}");
    ExitCode::from(code)
}

/// Has the kernel kill this process when the thread that started it ends. Fails if it has ended already.
fn die_with_parent(parent: Option<rustix::process::Pid>) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() == parent {
        Ok(())
    } else {
        Err(std::io::Error::other("the process that started this one is gone"))
    }
}

/// Allows as many open files as the system grants: each connection is one. Returns how many there may be.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            before
        }
    }
    .unwrap_or(u64::MAX)
}

fn run(options: &Options) -> std::io::Result<ExitCode> {
    let log = log::start(options.log)?;
    log::panics();
    let descriptors = Descriptors::new(raise_file_limit());
    let predecessor = options.take_over.as_deref().map(control::Predecessor::ask).transpose().map_err(|error| {
        let path = options.take_over.as_deref().unwrap_or(&options.control);
        std::io::Error::new(error.kind(), format!("cannot take over on {}: {error}", path.display()))
    })?;
    let listener = control::bind(&options.control).map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.control.display()))
    })?;
    let shared = Arc::new(Shared::new(options.workers, descriptors));
    metrics::start(&shared)?;
    let workers = (0..options.workers)
        .map(|index| worker::start(index, Arc::clone(&shared)))
        .collect::<std::io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let finished = runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        tracing::info!(workers = options.workers, control = %options.control.display(), "engine started");
        control::run(listener, &options.control, predecessor, shared, workers, log.level.clone(), log.kept.clone())
            .await
    });
    if let Err(error) = &finished {
        tracing::error!(%error, "the engine ends");
    }
    log.flush();
    let finished = finished?;
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
