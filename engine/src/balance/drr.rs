//! Dynamic round robin, as Traefik 1.7 means it: servers that fail more than the others get less.
//!
//! Every server has a rating: the share of 500 to 504 among its answers of the last ten seconds. As long as some are
//! clearly worse, the weights of the good ones are multiplied, step by step; when all are alike again, they go back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Balancer;
use super::rotation::{Rotation, gcd};

/// Seconds that a rating looks back.
const WINDOW: usize = 10;
/// How long weights stay once they were changed.
const BACK_OFF: Duration = Duration::from_secs(10);
/// By how much a weight changes at once.
const FACTOR: u64 = 4;
/// What a weight never exceeds.
const MAX_WEIGHT: u64 = 4096;
/// How much worse than the others, with their usual spread, a bad server is.
const THRESHOLD: f64 = 1.5;

/// Round robin with weights that follow how the servers do.
#[derive(Debug)]
pub(super) struct Dynamic {
    rotation: Rotation,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    servers: Vec<Rated>,
    next_change: Instant,
}

#[derive(Debug, Clone)]
struct Rated {
    up: bool,
    configured: u64,
    current: u64,
    since: Option<u64>,
    seconds: [Second; WINDOW],
}

/// What was counted in a second, which tells whether it is still of interest.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    number: u64,
    all: u64,
    failed: u64,
}

impl Dynamic {
    /// Servers with these weights, all of which may be chosen.
    pub(super) fn new(weights: &[u64]) -> Self {
        let now = Instant::now();
        let rated = |weight: &u64| Rated {
            up: true,
            configured: *weight,
            current: *weight,
            since: None,
            seconds: Default::default(),
        };
        let state = State { began: now, servers: weights.iter().map(rated).collect(), next_change: now };
        Self { rotation: Rotation::new(weights), state: Mutex::new(state) }
    }

    fn observed(&self, server: usize, status: u16, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.saturating_duration_since(state.began).as_secs();
        let Some(rated) = state.servers.get_mut(server) else { return };
        rated.count(second, (500..=504).contains(&status));
        if now >= state.next_change && state.adjust(second) {
            state.next_change = now + BACK_OFF;
            self.rotation.set(&state.weights());
        }
    }
}

impl Balancer for Dynamic {
    fn next(&self) -> Option<usize> {
        self.rotation.next()
    }

    fn set_up(&self, up: &[bool]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (rated, up) in state.servers.iter_mut().zip(up) {
            rated.up = *up;
        }
        self.rotation.set(&state.weights());
    }

    fn observe(&self, server: usize, status: u16) {
        self.observed(server, status, Instant::now());
    }
}

impl State {
    fn weights(&self) -> Vec<u64> {
        self.servers.iter().map(|rated| if rated.up { rated.current } else { 0 }).collect()
    }

    /// Changes weights, if there is a reason to; returns whether there was.
    fn adjust(&mut self, second: u64) -> bool {
        let mut up: Vec<&mut Rated> =
            self.servers.iter_mut().filter(|rated| rated.up && rated.configured > 0).collect();
        if up.len() < 2 || !up.iter().all(|rated| rated.is_known(second)) {
            return false;
        }
        let ratings: Vec<f64> = up.iter().map(|rated| rated.rating(second)).collect();
        let limit = limit(&ratings);
        let is_bad = |rating: &f64| *rating > limit;
        let mut changed = false;
        if ratings.iter().any(is_bad) {
            for (rated, _) in up.iter_mut().zip(&ratings).filter(|(_, rating)| !is_bad(rating)) {
                let more = rated.current.saturating_mul(FACTOR);
                if more <= MAX_WEIGHT {
                    rated.current = more;
                    changed = true;
                }
            }
        } else {
            for rated in up.iter_mut().filter(|rated| rated.current != rated.configured) {
                rated.current = (rated.current / FACTOR).max(rated.configured);
                changed = true;
            }
        }
        let divisor = up.iter().map(|rated| rated.current).fold(0, gcd).max(1);
        if changed {
            up.iter_mut().for_each(|rated| rated.current /= divisor);
        }
        changed
    }
}

impl Rated {
    fn count(&mut self, second: u64, failed: bool) {
        self.since.get_or_insert(second);
        let place = &mut self.seconds[second as usize % WINDOW];
        if place.number != second {
            *place = Second { number: second, ..Second::default() };
        }
        place.all += 1;
        place.failed += u64::from(failed);
    }

    /// Whether it has been asked for long enough to be judged.
    fn is_known(&self, second: u64) -> bool {
        self.since.is_some_and(|since| second - since >= WINDOW as u64)
    }

    fn rating(&self, second: u64) -> f64 {
        let recent = self.seconds.iter().filter(|it| it.number + WINDOW as u64 > second);
        let (all, failed) = recent.fold((0, 0), |sum, it| (sum.0 + it.all, sum.1 + it.failed));
        if all == 0 { 0.0 } else { failed as f64 / all as f64 }
    }
}

/// The rating above which a server is bad: the median and the median deviation from it, and half as much again. Of an
/// even number of ratings a perfect one counts too, so that of two servers one can be the bad one.
fn limit(ratings: &[f64]) -> f64 {
    let mut values = ratings.to_vec();
    if values.len().is_multiple_of(2) {
        values.push(0.0);
    }
    let middle = median(values.clone());
    let spread = median(values.iter().map(|value| (value - middle).abs()).collect());
    (middle + spread) * THRESHOLD
}

/// The median of an odd number of values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(dynamic: &Dynamic, second: u64, statuses: &[u16]) {
        let at = dynamic.state.lock().unwrap().began + Duration::from_secs(second);
        for (server, status) in statuses.iter().enumerate() {
            dynamic.observed(server, *status, at);
        }
    }

    fn weights(dynamic: &Dynamic) -> Vec<u64> {
        dynamic.state.lock().unwrap().weights()
    }

    #[test]
    fn a_failing_server_gets_less_and_comes_back() {
        let dynamic = Dynamic::new(&[1, 1]);
        for second in 0..10 {
            answer(&dynamic, second, &[200, 502]);
        }
        assert_eq!(weights(&dynamic), [1, 1], "not judged before the window is full");
        answer(&dynamic, 10, &[200, 502]);
        assert_eq!(weights(&dynamic), [4, 1]);
        answer(&dynamic, 15, &[200, 502]);
        assert_eq!(weights(&dynamic), [4, 1], "not twice within the back-off");
        for second in 20..=80 {
            answer(&dynamic, second, &[200, 502]);
        }
        assert_eq!(weights(&dynamic), [4096, 1], "up to the most");
        for second in 81..=160 {
            answer(&dynamic, second, &[200, 200]);
        }
        assert_eq!(weights(&dynamic), [1, 1]);
    }

    #[test]
    fn servers_that_fail_alike_stay_alike() {
        let dynamic = Dynamic::new(&[1, 1, 1]);
        for second in 0..40 {
            answer(&dynamic, second, &[503, 503, 503]);
        }
        assert_eq!(weights(&dynamic), [1, 1, 1]);
    }

    #[test]
    fn one_of_three_is_found() {
        let dynamic = Dynamic::new(&[1, 1, 2]);
        for second in 0..=10 {
            answer(&dynamic, second, &[200, 500, 200]);
        }
        assert_eq!(weights(&dynamic), [4, 1, 8]);
        dynamic.set_up(&[true, true, false]);
        assert_eq!(weights(&dynamic), [4, 1, 0]);
        assert!((0..10).all(|_| dynamic.next() != Some(2)));
    }
}
