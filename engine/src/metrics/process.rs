//! What the system knows of this process (proc(5)).

use std::fs;

/// Resources that the process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Seconds of user and system time.
    pub(super) cpu_seconds: f64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
}

/// What is used now; `None` if the system does not tell.
pub(super) fn usage() -> Option<Usage> {
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&fs::read_to_string("/proc/self/stat").ok()?, ticks, rustix::param::page_size() as u64)
}

/// Files that are open.
pub(super) fn open_files() -> Option<usize> {
    // One of them is the folder that is being read.
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1))
}

/// Files that may be open.
pub(super) fn most_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

fn parse(stat: &str, ticks: u64, page: u64) -> Option<Usage> {
    // The name before may hold anything but ends with the last parenthesis; the state, the third field, comes after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let (user, system) = (number(14)?, number(15)?);
    Some(Usage {
        cpu_seconds: (user + system) as f64 / ticks.max(1) as f64,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line() {
        let line = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 999 1000000 25 1844 1 1 0";
        let expected = Usage { cpu_seconds: 2.0, virtual_bytes: 1_000_000, resident_bytes: 102_400 };
        assert_eq!(parse(line, 100, 4096), Some(expected));
        assert_eq!(parse("42 (a) S 1", 100, 4096), None);
        assert!(usage().is_some() && open_files().is_some());
    }
}
