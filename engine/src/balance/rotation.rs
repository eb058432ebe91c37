//! A cycle of servers, in which each stands as often as its weight says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// Longest cycle that is computed. Weights that need a longer one are scaled down.
const MAX_CYCLE: u64 = 4096;

/// A cycle of servers, by index, and the position in it. The position is shared by all workers.
#[derive(Debug)]
pub(super) struct Rotation {
    weights: Box<[u64]>,
    /// The cycle of these weights.
    regular: Box<[u32]>,
    /// The cycle of others, while they hold. What holds for most is found without a look at it.
    changed: ArcSwap<Box<[u32]>>,
    is_changed: AtomicBool,
    position: AtomicUsize,
}

impl Rotation {
    /// Spreads the choices as evenly as the weights allow: 1 and 3 give the cycle 2, 1, 2, 2. Weight 0 is never chosen.
    pub(super) fn new(weights: &[u64]) -> Self {
        Self {
            weights: weights.into(),
            regular: cycle(&scaled(weights)).into(),
            changed: ArcSwap::default(),
            is_changed: AtomicBool::new(false),
            position: AtomicUsize::new(0),
        }
    }

    /// The index of the next server, or `None` if all weights are 0.
    pub(super) fn next(&self) -> Option<usize> {
        if self.is_changed.load(Ordering::Acquire) {
            return self.next_in(&self.changed.load());
        }
        self.next_in(&self.regular)
    }

    fn next_in(&self, cycle: &[u32]) -> Option<usize> {
        match cycle {
            [] => None,
            [only] => Some(*only as usize),
            _ => Some(cycle[self.position.fetch_add(1, Ordering::Relaxed) % cycle.len()] as usize),
        }
    }

    /// Other weights hold from now on, in the same order.
    pub(super) fn set(&self, weights: &[u64]) {
        let is_changed = *weights != *self.weights;
        if is_changed {
            self.changed.store(Arc::new(cycle(&scaled(weights)).into()));
        }
        self.is_changed.store(is_changed, Ordering::Release);
    }

    /// The weights that it was made with, 0 for servers that may not be chosen.
    pub(super) fn weights_of(&self, up: &[bool]) -> Vec<u64> {
        self.weights.iter().zip(up).map(|(weight, up)| if *up { *weight } else { 0 }).collect()
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

/// The greatest common divisor.
pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(weights: &[u64], count: usize) -> Vec<usize> {
        let rotation = Rotation::new(weights);
        (0..count).filter_map(|_| rotation.next()).collect()
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
        let rotation = Rotation::new(&[u64::MAX, u64::MAX / 2, 1, 0]);
        let count = |server| rotation.regular.iter().filter(|index| **index == server).count();
        assert!(rotation.regular.len() as u64 <= MAX_CYCLE + 4);
        assert!((count(0) as f64 / count(1) as f64 - 2.0).abs() < 0.01);
        assert_eq!((count(2), count(3)), (1, 0));
    }

    #[test]
    fn other_weights_hold_until_the_first_ones_do_again() {
        let rotation = Rotation::new(&[1, 1, 1]);
        rotation.set(&rotation.weights_of(&[true, false, true]));
        assert_eq!([0, 2, 0, 2], [(); 4].map(|()| rotation.next().unwrap()));
        rotation.set(&rotation.weights_of(&[false; 3]));
        assert_eq!(rotation.next(), None);
        rotation.set(&[1, 1, 1]);
        let mut all = [(); 3].map(|()| rotation.next().unwrap());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn a_cycle_holds_every_server_as_often_as_its_weight(weights in prop::collection::vec(0_u64..9, 0..8)) {
            let divisor = weights.iter().copied().fold(0, gcd).max(1);
            let rotation = Rotation::new(&weights);
            for (index, weight) in (0_u32..).zip(&weights) {
                prop_assert_eq!(rotation.regular.iter().filter(|entry| **entry == index).count() as u64, weight / divisor);
            }
        }
    }
}
