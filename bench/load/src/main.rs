//! What the benchmarks need beside wrk and h2load: an origin that costs little, and loads that those two cannot make.

mod handshakes;
mod idle;
mod origin;
mod rate;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

const USAGE: &str = "\
traefikee-bench-load origin ADDRESS...
traefikee-bench-load handshakes --host NAME [--resume] [--connections N] [--seconds S] ADDRESS
traefikee-bench-load idle --host NAME [--connections N] ADDRESS
traefikee-bench-load rate --host NAME --rate N [--connections N] [--seconds S] ADDRESS

Loads print one line of JSON.
";

/// What a load is told.
#[derive(Debug, Clone)]
struct Options {
    addresses: Vec<SocketAddr>,
    host: String,
    connections: usize,
    time: Duration,
    rate: f64,
    resume: bool,
}

impl Options {
    fn address(&self) -> Result<SocketAddr, Box<dyn Error>> {
        self.addresses.first().copied().ok_or_else(|| "an address is needed".into())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("traefikee-bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    raise_file_limit()?;
    let mut parser = lexopt::Parser::from_env();
    let mut command = None;
    let mut options = Options {
        addresses: Vec::new(),
        host: "localhost".into(),
        connections: 16,
        time: Duration::from_secs(3),
        rate: 1000.0,
        resume: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("host") => options.host = parser.value()?.string()?,
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("seconds") => options.time = Duration::from_secs_f64(parser.value()?.parse()?),
            Long("rate") => options.rate = parser.value()?.parse()?,
            Long("resume") => options.resume = true,
            Value(name) if command.is_none() => command = Some(name.string()?),
            Value(address) => options.addresses.push(address.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("origin") => origin::run(&options.addresses),
        Some("handshakes") => handshakes::run(&options),
        Some("idle") => idle::run(&options),
        Some("rate") => rate::run(&options),
        _ => Err(USAGE.into()),
    }
}

/// Each connection is an open file.
fn raise_file_limit() -> rustix::io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
}

/// The part of sorted `values` that lies below `share` of them, in milliseconds.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(0.0, |nanoseconds| *nanoseconds as f64 / 1e6)
}

/// `{"count": ..., "errors": ..., "seconds": ..., "p50_ms": ..., ...}`, with `more` before the end.
fn report(mut latencies: Vec<u64>, errors: usize, time: Duration, more: &str) {
    latencies.sort_unstable();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| quantile(&latencies, share));
    println!(
        "{{\"count\": {}, \"errors\": {errors}, \"seconds\": {:.3}, \"p50_ms\": {p50:.3}, \"p99_ms\": {p99:.3}, \
         \"p999_ms\": {p999:.3}{more}}}",
        latencies.len(),
        time.as_secs_f64(),
    );
}
