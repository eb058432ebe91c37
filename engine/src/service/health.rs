//! Which servers of a service are healthy.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag for each server. Written by whoever checks, read by everybody.
#[derive(Debug)]
pub(crate) struct Health {
    up: Box<[AtomicBool]>,
}

impl Health {
    /// As these flags say.
    pub(crate) fn new(up: impl Iterator<Item = bool>) -> Self {
        Self { up: up.map(AtomicBool::new).collect() }
    }

    /// Whether a server is healthy; what is not there is not.
    pub(crate) fn is_up(&self, server: usize) -> bool {
        self.up.get(server).is_some_and(|up| up.load(Ordering::Relaxed))
    }

    /// Whether any is.
    pub(crate) fn is_any_up(&self) -> bool {
        self.up.iter().any(|up| up.load(Ordering::Relaxed))
    }

    /// Says how a server is; returns whether that is news.
    pub(crate) fn set(&self, server: usize, is_up: bool) -> bool {
        self.up.get(server).is_some_and(|up| up.swap(is_up, Ordering::Relaxed) != is_up)
    }

    /// All flags.
    pub(crate) fn flags(&self) -> Vec<bool> {
        self.up.iter().map(|up| up.load(Ordering::Relaxed)).collect()
    }
}
