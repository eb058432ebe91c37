//! `rate_limit`: so many requests of a client in a time. Token buckets as those of `vulcand/oxy`, which Traefik 1.7 uses.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{By, Passage, Step};
use crate::error::Failure;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware::{self as document, Source};

/// Clients that are known at a time; who was not seen for longest is forgotten first.
const CLIENTS: usize = 65_536;
/// Parts of them, each with a lock of its own.
const SHARDS: usize = 16;

/// `rateLimit`.
#[derive(Debug)]
pub(crate) struct RateLimit {
    source: Source,
    rates: Box<[Rate]>,
    /// By entry point.
    limiters: Vec<(String, Arc<Limiter>)>,
}

/// So many tokens at most, and another one each time that this is over.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u64,
    per_token: u64,
}

/// What one client has left of one rate.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u64,
    /// When tokens were added last.
    refreshed: u64,
}

/// The buckets of a client.
#[derive(Debug)]
struct Client {
    buckets: Box<[Bucket]>,
    seen: u64,
}

/// The clients of one chain on one entry point, counted by all workers together. Times are nanoseconds since its
/// beginning.
#[derive(Debug)]
pub(crate) struct Limiter {
    began: Instant,
    shards: [Mutex<HashMap<u128, Client>>; SHARDS],
    hashers: [RandomState; 2],
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            shards: std::array::from_fn(|_| Mutex::default()),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }
}

impl RateLimit {
    pub(super) fn build(document: &document::RateLimit, limiters: Vec<(String, Arc<Limiter>)>) -> Result<Self, String> {
        if let Source::RequestHeader { name } = &document.source
            && !super::edits::is_token(name)
        {
            return Err(format!("rate_limit: \"{name}\" is not the name of a header"));
        }
        let rate = |(index, rate): (usize, &document::Rate)| {
            if rate.period_ms == 0 || rate.average == 0 || rate.burst == 0 {
                return Err(format!("rate_limit: rates[{index}]: period, average and burst have to be above 0"));
            }
            let per_token = rate.period_ms.saturating_mul(1_000_000) / rate.average;
            Ok(Rate { burst: rate.burst, per_token: per_token.max(1) })
        };
        let rates = document.rates.iter().enumerate().map(rate).collect::<Result<_, _>>()?;
        Ok(Self { source: document.source.clone(), rates, limiters })
    }

    pub(super) fn step(&self, passage: &Passage<'_>) -> Step<'_> {
        let limiter = self.limiters.iter().find(|(name, _)| name == passage.entry_point);
        let Some((_, limiter)) = limiter.filter(|_| !self.rates.is_empty()) else { return Step::Continue };
        let client = match &self.source {
            Source::ClientIp {} => limiter.client(passage.peer.ip().to_canonical().to_string()),
            Source::RequestHost {} => limiter.client(passage.request.host()),
            Source::RequestHeader { name } => limiter.client(passage.get(name.as_bytes()).unwrap_or_default()),
        };
        let now = u64::try_from(limiter.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match limiter.take(client, &self.rates, now) {
            Ok(()) => Step::Continue,
            Err(wait) => {
                let text = go_duration(wait);
                let reply = Reply::plain(429, format!("max rate reached: retry-in {text}"))
                    .with("Retry-After", &format!("{:.0}", wait.as_secs_f64()))
                    .with("X-Retry-In", &text);
                Step::refuse(Failure::RateLimit, reply, By::RateLimit)
            }
        }
    }
}

impl Limiter {
    /// What a client is known by: whatever it sends, it takes no more room than that.
    fn client(&self, text: impl AsRef<[u8]>) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(text.as_ref())));
        high << 64 | low
    }

    /// Takes a token of each rate, or none if any has none, and tells how long it takes until all have.
    fn take(&self, client: u128, rates: &[Rate], now: u64) -> Result<(), Duration> {
        let shard = &self.shards[client as usize % SHARDS];
        // Tokens are whole even if a thread panicked beside them.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= CLIENTS / SHARDS && !shard.contains_key(&client) {
            forget(&mut shard, rates, now);
        }
        let client = shard.entry(client).or_insert_with(|| Client {
            buckets: rates.iter().map(|rate| Bucket { tokens: rate.burst, refreshed: now }).collect(),
            seen: now,
        });
        client.seen = now;
        let mut wait = 0;
        for (bucket, rate) in client.buckets.iter_mut().zip(rates) {
            bucket.refresh(*rate, now);
            if bucket.tokens == 0 {
                wait = wait.max(rate.per_token);
            }
        }
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        client.buckets.iter_mut().for_each(|bucket| bucket.tokens -= 1);
        Ok(())
    }
}

impl Bucket {
    fn refresh(&mut self, rate: Rate, now: u64) {
        let added = now.saturating_sub(self.refreshed) / rate.per_token;
        // Otherwise a client that asks often would never get any.
        if added > 0 {
            self.tokens = self.tokens.saturating_add(added).min(rate.burst);
            self.refreshed = now;
        }
    }
}

/// Makes room: those go whose buckets are full again, which changes nothing for them, and if that is not enough those
/// who were not seen for longest.
fn forget(clients: &mut HashMap<u128, Client>, rates: &[Rate], now: u64) {
    let before = clients.len();
    clients.retain(|_, client| {
        let is_full = |(bucket, rate): (&mut Bucket, &Rate)| {
            bucket.refresh(*rate, now);
            bucket.tokens >= rate.burst
        };
        !client.buckets.iter_mut().zip(rates).all(is_full)
    });
    // An eighth at a time, so that not each newcomer has all looked at.
    let wanted = before - before / 8;
    if clients.len() > wanted {
        let mut times: Vec<u64> = clients.values().map(|client| client.seen).collect();
        let surplus = times.len() - wanted;
        let (_, limit, _) = times.select_nth_unstable(surplus - 1);
        let limit = *limit;
        let mut left = surplus;
        clients.retain(|_, client| {
            let stays = client.seen > limit || left == 0;
            left -= usize::from(!stays);
            stays
        });
    }
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `250ms`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |whole: u128, fraction: u128, digits: usize, unit: &str| {
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{fraction}{unit}") }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(nanos / 1_000, nanos % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => decimal(nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = decimal(seconds % 60, nanos % 1_000_000_000, 9, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::{Asked, told};
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(period: u64, average: u64, burst: u64) -> Rate {
        Rate { burst, per_token: period * SECOND / average }
    }

    #[test]
    fn all_rates_have_to_admit_and_a_refusal_takes_nothing() {
        let limiter = Limiter::default();
        let rates = [rate(60, 4, 5), rate(3, 1, 2)];
        let take = |at: u64| limiter.take(1, &rates, at).map_err(|wait| wait.as_secs());
        assert_eq!((take(0), take(0), take(0)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(take(4 * SECOND), Ok(()));
        assert_eq!(take(4 * SECOND), Err(3));
        assert_eq!((take(7 * SECOND), take(10 * SECOND)), (Ok(()), Ok(())));
        // Five are gone, of which none has come back since.
        assert_eq!(take(13 * SECOND), Err(15));
        assert_eq!(take(15 * SECOND), Ok(()));
        assert!(limiter.take(2, &rates, 15 * SECOND).is_ok());
    }

    #[test]
    fn a_client_that_never_rests_gets_its_average() {
        let limiter = Limiter::default();
        let rates = [rate(1, 10, 1)];
        let admitted = (0..10_000).filter(|at| limiter.take(1, &rates, at * 10_000_000).is_ok()).count();
        assert!((990..=1001).contains(&admitted), "{admitted}");
    }

    #[test]
    fn clients_are_bounded_and_the_silent_ones_go_first() {
        let limiter = Limiter::default();
        let rates = [rate(1_000_000, 1, 1)];
        assert!(limiter.take(0, &rates, 0).is_ok());
        for number in 1..200_000_u64 {
            let _ = limiter.take(u128::from(number * SHARDS as u64), &rates, number);
            assert!(limiter.take(0, &rates, number).is_err());
        }
        assert!(limiter.shards[0].lock().unwrap().len() <= CLIENTS / SHARDS);
    }

    #[test]
    fn threads_never_exceed_a_rate_together() {
        let limiter = Limiter::default();
        let rates = [rate(1_000_000, 1, 100)];
        let admitted = std::thread::scope(|scope| {
            let ask = || (0..1000).filter(|_| limiter.take(7, &rates, 0).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(admitted, 100);
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (333_333_333, "333.333333ms"),
            (1_500_000_000, "1.5s"),
            (15 * SECOND, "15s"),
            (90 * SECOND, "1m30s"),
            (3600 * SECOND, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    fn build(source: Source, rates: &[(u64, u64, u64)]) -> Result<RateLimit, String> {
        let rate = |&(period_ms, average, burst): &(u64, u64, u64)| document::Rate { period_ms, average, burst };
        let rates = rates.iter().map(rate).collect();
        let limiters = vec![("http".to_owned(), Arc::default())];
        RateLimit::build(&document::RateLimit { source, rates }, limiters)
    }

    #[test]
    fn sources() {
        let ask = |source: Source, one: &Asked, other: &Asked| {
            let limit = build(source, &[(600_000, 1, 1)]).unwrap();
            assert!(told(&limit.step(&one.passage())).is_none());
            let refused = told(&limit.step(&other.passage()));
            refused.map(|told| (told.0, told.2))
        };
        let asked = |host: &str, field: &str| Asked::new(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n"), field);
        let refusal = Some((429, "max rate reached: retry-in 10m0s".to_owned()));
        let (one, other) = (asked("a", ""), asked("b", "X-A: 1\r\n"));
        assert_eq!(ask(Source::ClientIp {}, &one, &other), refusal);
        assert_eq!(ask(Source::ClientIp {}, &one, &asked("a", "").from("10.0.0.9")), None);
        assert_eq!(ask(Source::RequestHost {}, &one, &other), None);
        assert_eq!(ask(Source::RequestHost {}, &one, &asked("a", "").from("10.0.0.9")), refusal);
        let header = || Source::RequestHeader { name: "x-a".to_owned() };
        assert_eq!(ask(header(), &one, &other), None);
        assert_eq!(ask(header(), &other, &asked("c", "X-A: 1\r\n")), refusal);
    }

    #[test]
    fn rates_that_are_none() {
        for bad in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            assert!(build(Source::ClientIp {}, &[bad]).unwrap_err().contains("rates[0]"));
        }
        assert!(build(Source::RequestHeader { name: "a b".to_owned() }, &[]).is_err());
        let nothing = build(Source::ClientIp {}, &[]).unwrap();
        assert!(told(&nothing.step(&Asked::get("http://a/").passage())).is_none());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_what_came_back(
            burst in 1_u64..20, average in 1_u64..20, steps in prop::collection::vec(0_u64..SECOND, 1..200),
        ) {
            let (limiter, rates) = (Limiter::default(), [rate(1, average, burst)]);
            let (mut now, mut admitted) = (0, 0);
            for step in steps {
                now += step;
                admitted += u64::from(limiter.take(1, &rates, now).is_ok());
                prop_assert!(admitted <= burst + now / rates[0].per_token);
            }
        }
    }
}
