//! Smooth weighted round robin.

use super::Balancer;
use super::rotation::Rotation;

/// Each server in turn, as often as its weight says.
#[derive(Debug)]
pub(super) struct RoundRobin(Rotation);

impl RoundRobin {
    /// Servers with these weights, all of which may be chosen.
    pub(super) fn new(weights: &[u64]) -> Self {
        Self(Rotation::new(weights))
    }
}

impl Balancer for RoundRobin {
    fn next(&self) -> Option<usize> {
        self.0.next()
    }

    fn set_up(&self, up: &[bool]) {
        self.0.set(&self.0.weights_of(up));
    }
}
