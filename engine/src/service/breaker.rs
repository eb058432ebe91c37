//! A circuit breaker, as Traefik 1.7 means it: when a condition on what the service has answered lately holds, clients
//! are told 503 for ten seconds; then more and more of them are let through for ten more, and if all went well, all are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::expression::{Comparison, Expression, Literal, Operator, parse};

/// How long nobody is let through.
const TRIPPED: Duration = Duration::from_secs(10);
/// How long a part is.
const RECOVERING: Duration = Duration::from_secs(10);
/// How often the condition is looked at.
const CHECK: Duration = Duration::from_millis(100);
/// Seconds that counts look back.
const SECONDS: u64 = 10;
/// Parts that latencies look back, and the seconds of each.
const LATENCY_PARTS: u64 = 6;
const LATENCY_SECONDS: u64 = 10;

/// Stands before a service.
#[derive(Debug)]
pub(crate) struct Breaker {
    condition: Expression<Test>,
    /// Whether anybody may be refused. Most never look further.
    is_watching: AtomicBool,
    inner: Mutex<Inner>,
}

/// Something that is compared.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// Milliseconds below which a part of the requests was answered.
    Latency { quantile: f64, is: Operator, than: i64 },
    /// The share of 502 and 504.
    NetworkErrors { is: Operator, than: f64 },
    /// Statuses from, to (not included), as a share of others from, to.
    Statuses { of: (i64, i64), among: (i64, i64), is: Operator, than: f64 },
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    state: State,
    checked: Option<Instant>,
    counts: Vec<(u64, BTreeMap<u16, u64>)>,
    latencies: Vec<(u64, BTreeMap<u32, u64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Everybody is let through.
    Standby,
    /// Nobody is.
    Tripped { until: Instant },
    /// So many were, and so many were not.
    Recovering { since: Instant, allowed: u64, denied: u64 },
}

impl Breaker {
    /// Reads the condition.
    pub(crate) fn new(expression: &str) -> Result<Self, String> {
        let inner = Inner {
            began: Instant::now(),
            state: State::Standby,
            checked: None,
            counts: Vec::new(),
            latencies: Vec::new(),
        };
        Ok(Self { condition: parse(expression, &test)?, is_watching: AtomicBool::new(false), inner: Mutex::new(inner) })
    }

    /// Whether a request is let through.
    pub(crate) fn admits(&self) -> bool {
        !self.is_watching.load(Ordering::Relaxed) || self.admits_at(Instant::now())
    }

    /// What became of a request that was let through.
    pub(crate) fn record(&self, status: u16, took: Duration) {
        self.record_at(status, took, Instant::now());
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Tripped { until } = inner.state {
            if now < until {
                return false;
            }
            inner.state = State::Recovering { since: now, allowed: 0, denied: 0 };
        }
        let State::Recovering { since, allowed, denied } = &mut inner.state else { return true };
        let passed = now.saturating_duration_since(*since);
        if passed > RECOVERING {
            inner.state = State::Standby;
            self.is_watching.store(false, Ordering::Relaxed);
            return true;
        }
        let share = 0.5 * passed.as_secs_f64() / RECOVERING.as_secs_f64();
        let admitted = ((*allowed + 1) as f64 / (*allowed + *denied + 1) as f64) < share;
        *(if admitted { allowed } else { denied }) += 1;
        admitted
    }

    fn record_at(&self, status: u16, took: Duration, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count(status, took, now);
        let is_due = inner.checked.is_none_or(|checked| now.saturating_duration_since(checked) > CHECK);
        if !is_due || matches!(inner.state, State::Tripped { .. }) {
            return;
        }
        inner.checked = Some(now);
        if self.condition.holds(&|test| inner.holds(test)) {
            inner.state = State::Tripped { until: now + TRIPPED };
            inner.counts.clear();
            inner.latencies.clear();
            self.is_watching.store(true, Ordering::Relaxed);
        }
    }
}

impl Inner {
    fn count(&mut self, status: u16, took: Duration, now: Instant) {
        let second = now.saturating_duration_since(self.began).as_secs();
        self.counts.retain(|(at, _)| at + SECONDS > second);
        *part(&mut self.counts, second).entry(status).or_default() += 1;
        let second = second / LATENCY_SECONDS;
        self.latencies.retain(|(at, _)| at + LATENCY_PARTS > second);
        *part(&mut self.latencies, second).entry(rounded(took)).or_default() += 1;
    }

    fn holds(&self, test: &Test) -> bool {
        match test {
            Test::Latency { quantile, is, than } => is.holds(&self.latency(*quantile), than),
            Test::NetworkErrors { is, than } => {
                let failed = self.statuses(|status| status == 502 || status == 504);
                is.holds(&ratio(failed, self.statuses(|_| true)), than)
            }
            Test::Statuses { of, among, is, than } => {
                let within = |(from, to): (i64, i64)| self.statuses(|it| (from..to).contains(&i64::from(it)));
                is.holds(&ratio(within(*of), within(*among)), than)
            }
        }
    }

    fn statuses(&self, which: impl Fn(u16) -> bool) -> u64 {
        let all = self.counts.iter().flat_map(|(_, counts)| counts);
        all.filter(|(status, _)| which(**status)).map(|(_, count)| count).sum()
    }

    /// Milliseconds within which `quantile` percent of the requests were answered.
    fn latency(&self, quantile: f64) -> i64 {
        let mut merged = BTreeMap::<u32, u64>::new();
        for (took, count) in self.latencies.iter().flat_map(|(_, counts)| counts) {
            *merged.entry(*took).or_default() += count;
        }
        let all: u64 = merged.values().sum();
        let wanted = ((quantile / 100.0 * all as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        let found = merged.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        found.map_or(0, |(took, _)| i64::from(*took) / 1000)
    }
}

/// The counts of this moment.
fn part<K: Ord>(parts: &mut Vec<(u64, BTreeMap<K, u64>)>, at: u64) -> &mut BTreeMap<K, u64> {
    if parts.last().is_none_or(|(last, _)| *last != at) {
        parts.push((at, BTreeMap::new()));
    }
    let last = parts.len() - 1;
    &mut parts[last].1
}

/// Microseconds, with two digits that count, so that there are few different ones.
fn rounded(took: Duration) -> u32 {
    let exact = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    let unit = 10_u32.pow(exact.max(1).ilog10().saturating_sub(2));
    exact / unit * unit
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn test(comparison: Comparison) -> Result<Test, String> {
    let Comparison { function, arguments, with } = comparison;
    let Some((is, value)) = with else { return Err(format!("{function}(...) has to be compared with a number")) };
    let ratio = || match value {
        Literal::Float(than) => Ok(than),
        _ => Err(format!("{function} is a ratio: compare it with a number such as 0.5 or 1.0")),
    };
    match (function.as_str(), arguments.as_slice()) {
        ("LatencyAtQuantileMS", [Literal::Float(quantile)]) => match value {
            Literal::Integer(than) => Ok(Test::Latency { quantile: *quantile, is, than }),
            _ => Err("LatencyAtQuantileMS is in milliseconds: compare it with a whole number".to_owned()),
        },
        ("LatencyAtQuantileMS", _) => Err("LatencyAtQuantileMS takes a quantile such as 50.0".to_owned()),
        ("NetworkErrorRatio", []) => Ok(Test::NetworkErrors { is, than: ratio()? }),
        ("NetworkErrorRatio", _) => Err("NetworkErrorRatio takes nothing: NetworkErrorRatio()".to_owned()),
        ("ResponseCodeRatio", all) => match all {
            [Literal::Integer(a), Literal::Integer(b), Literal::Integer(c), Literal::Integer(d)] => {
                Ok(Test::Statuses { of: (*a, *b), among: (*c, *d), is, than: ratio()? })
            }
            _ => Err("ResponseCodeRatio takes four statuses, such as 500, 600, 0, 600".to_owned()),
        },
        _ => Err(format!(
            "function {function} is unknown; there are LatencyAtQuantileMS, NetworkErrorRatio, ResponseCodeRatio"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(3);

    fn at(breaker: &Breaker, milliseconds: u64) -> Instant {
        breaker.inner.lock().unwrap().began + Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_trips_recovers_and_closes() {
        let breaker = Breaker::new("NetworkErrorRatio() > 0.5").unwrap();
        for (status, at_ms) in [(200, 0), (502, 200), (504, 400)] {
            assert!(breaker.admits());
            breaker.record_at(status, QUICK, at(&breaker, at_ms));
        }
        assert!(breaker.is_watching.load(Ordering::Relaxed));
        assert!(!breaker.admits_at(at(&breaker, 500)));
        assert!(!breaker.admits_at(at(&breaker, 10_399)));
        let mut admitted = 0;
        for step in 0..1000 {
            admitted += u32::from(breaker.admits_at(at(&breaker, 10_400 + step * 10)));
        }
        assert!((400..500).contains(&admitted), "half of them at the end, {admitted} in all");
        assert!(breaker.admits_at(at(&breaker, 20_500)));
        assert!(!breaker.is_watching.load(Ordering::Relaxed));
    }

    #[test]
    fn it_trips_again_while_recovering() {
        let breaker = Breaker::new("ResponseCodeRatio(500, 600, 0, 600) >= 1.0").unwrap();
        breaker.record_at(500, QUICK, at(&breaker, 0));
        breaker.admits_at(at(&breaker, 10_000));
        breaker.record_at(503, QUICK, at(&breaker, 12_000));
        assert!(!breaker.admits_at(at(&breaker, 21_999)));
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let breaker = Breaker::new("NetworkErrorRatio() > 0.4").unwrap();
        for at_ms in [0, 10, 20] {
            breaker.record_at(200, QUICK, at(&breaker, at_ms));
        }
        breaker.record_at(502, QUICK, at(&breaker, 9_000));
        assert!(breaker.admits());
        breaker.record_at(200, QUICK, at(&breaker, 11_000));
        assert!(!breaker.admits_at(at(&breaker, 11_000)));
    }

    #[test]
    fn latencies() {
        let breaker = Breaker::new("LatencyAtQuantileMS(50.0) > 50").unwrap();
        for (took, at_ms) in [(10, 0), (20, 200), (60, 400)] {
            breaker.record_at(200, Duration::from_millis(took), at(&breaker, at_ms));
        }
        assert!(breaker.admits());
        for (took, at_ms) in [(61, 600), (62, 800)] {
            breaker.record_at(200, Duration::from_millis(took), at(&breaker, at_ms));
        }
        assert!(!breaker.admits_at(at(&breaker, 900)));
        assert_eq!(rounded(Duration::from_micros(123_456)), 123_000);
        assert_eq!(rounded(Duration::from_micros(7)), 7);
    }

    #[test]
    fn mistakes() {
        for text in [
            "NetworkErrorRatio() > 1",
            "NetworkErrorRatio(1) > 1.0",
            "NetworkErrorRatio()",
            "LatencyAtQuantileMS(50) > 50",
            "LatencyAtQuantileMS(50.0) > 50.0",
            "ResponseCodeRatio(500, 600) > 0.5",
            "Latency() > 0.5",
            "!NetworkErrorRatio() > 0.5",
        ] {
            assert!(Breaker::new(text).is_err(), "{text}");
        }
    }
}
