//! Which server is next: smooth weighted round-robin.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest cycle that is computed. Weights that need a longer one are scaled down.
const MAX_CYCLE: u64 = 4096;

/// A cycle of servers, by index, and the position in it. The position is shared by all workers.
#[derive(Debug)]
pub(crate) struct Balance {
    cycle: Vec<u32>,
    position: AtomicUsize,
}

impl Balance {
    /// Spreads the choices as evenly as the weights allow: 1 and 3 give the cycle 2, 1, 2, 2. Weight 0 is never chosen.
    pub(crate) fn new(weights: &[u64]) -> Self {
        Self { cycle: cycle(&scaled(weights)), position: AtomicUsize::new(0) }
    }

    /// The index of the next server, or `None` if all weights are 0.
    pub(crate) fn next(&self) -> Option<usize> {
        match self.cycle.len() {
            0 => None,
            1 => Some(self.cycle[0] as usize),
            length => Some(self.cycle[self.position.fetch_add(1, Ordering::Relaxed) % length] as usize),
        }
    }
}

/// The weights without their common divisor, scaled so that a cycle stays short. No weight above 0 becomes 0.
fn scaled(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let reduced: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
    let sum: u128 = reduced.iter().copied().map(u128::from).sum();
    if sum <= u128::from(MAX_CYCLE) {
        return reduced;
    }
    let scale = |weight: u64| u64::try_from(u128::from(weight) * u128::from(MAX_CYCLE) / sum).unwrap_or(MAX_CYCLE);
    reduced.iter().map(|weight| if *weight == 0 { 0 } else { scale(*weight).max(1) }).collect()
}

/// In each step every server gains its weight, the one that is ahead is chosen and falls back by the sum.
fn cycle(weights: &[u64]) -> Vec<u32> {
    let chosen = || (0_u32..).zip(weights).filter(|(_, weight)| **weight > 0);
    if weights.iter().all(|weight| *weight <= 1) {
        return chosen().map(|(index, _)| index).collect();
    }
    let sum: u64 = weights.iter().sum();
    let mut lead = vec![0_i128; weights.len()];
    (0..sum)
        .filter_map(|_| {
            let mut best: Option<u32> = None;
            for (index, weight) in chosen() {
                lead[index as usize] += i128::from(*weight);
                if best.is_none_or(|best| lead[index as usize] > lead[best as usize]) {
                    best = Some(index);
                }
            }
            let best = best?;
            lead[best as usize] -= i128::from(sum);
            Some(best)
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(weights: &[u64], count: usize) -> Vec<usize> {
        let balance = Balance::new(weights);
        (0..count).filter_map(|_| balance.next()).collect()
    }

    #[test]
    fn patterns() {
        assert_eq!(take(&[1, 3], 8), [1, 0, 1, 1, 1, 0, 1, 1]);
        assert_eq!(take(&[2, 2], 4), [0, 1, 0, 1]);
        assert_eq!(take(&[10, 30], 4), take(&[1, 3], 4));
        assert_eq!(take(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(take(&[0, 1], 2), [1, 1]);
        assert_eq!(take(&[7], 2), [0, 0]);
        assert!(take(&[0, 0], 2).is_empty());
        assert!(take(&[], 2).is_empty());
    }

    #[test]
    fn great_weights_stay_in_proportion_and_small_ones_alive() {
        let balance = Balance::new(&[u64::MAX, u64::MAX / 2, 1, 0]);
        let count = |server| balance.cycle.iter().filter(|index| **index == server).count();
        assert!(balance.cycle.len() as u64 <= MAX_CYCLE + 4);
        assert!((count(0) as f64 / count(1) as f64 - 2.0).abs() < 0.01);
        assert_eq!((count(2), count(3)), (1, 0));
    }

    proptest! {
        #[test]
        fn a_cycle_holds_every_server_as_often_as_its_weight(weights in prop::collection::vec(0_u64..9, 0..8)) {
            let divisor = weights.iter().copied().fold(0, gcd).max(1);
            let balance = Balance::new(&weights);
            for (index, weight) in (0_u32..).zip(&weights) {
                prop_assert_eq!(balance.cycle.iter().filter(|entry| **entry == index).count() as u64, weight / divisor);
            }
        }
    }
}
