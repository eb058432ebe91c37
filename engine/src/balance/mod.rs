//! Which server is next. A new way to choose is one file here, and one line in [`new`].

mod drr;
mod rotation;
mod wrr;

use std::fmt::Debug;
use std::sync::Arc;

/// A way to choose among the servers of a service, by their indices. Shared by all workers.
pub(crate) trait Balancer: Debug + Send + Sync {
    /// The next server; `None` if there is none that may be chosen.
    fn next(&self) -> Option<usize>;

    /// Tells which servers may be chosen from now on, one flag for each.
    fn set_up(&self, up: &[bool]);

    /// Tells what became of a request: the server's status, or the one that its failure stands for.
    fn observe(&self, _server: usize, _status: u16) {}
}

/// The balancer of this name; `None` if there is none.
pub(crate) fn new(name: &str, weights: &[u64]) -> Option<Arc<dyn Balancer>> {
    match name {
        "wrr" => Some(Arc::new(wrr::RoundRobin::new(weights))),
        "drr" => Some(Arc::new(drr::Dynamic::new(weights))),
        _ => None,
    }
}
