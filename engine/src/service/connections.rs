//! How many requests of one client are under way at the same time (`maxConn` in Traefik 1.7).

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::source::Source;
use crate::http::head::Request;

/// Parts of the count, each under a lock of its own.
const PARTS: usize = 16;

/// The requests that are under way, by client. All workers count together.
#[derive(Debug)]
pub(crate) struct Connections {
    source: Source,
    amount: u32,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    hasher: RandomState,
    parts: [Mutex<HashMap<Box<[u8]>, u32>>; PARTS],
}

/// A request that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<Counts>,
    client: Box<[u8]>,
}

impl Connections {
    /// At most `amount` for each client. Of one `before` that told clients apart alike the counts go on.
    pub(crate) fn new(source: &Source, amount: u32, before: Option<&Self>) -> Self {
        let counts = match before.filter(|before| before.source == *source) {
            Some(before) => Arc::clone(&before.counts),
            None => Arc::default(),
        };
        Self { source: source.clone(), amount, counts }
    }

    /// Counts a request; the most that there may be if it is one too many.
    pub(crate) fn enter(&self, request: &Request, peer: IpAddr) -> Result<Counted, u32> {
        let field = |name: &[u8]| {
            let mut fields = request.fields.iter();
            fields.find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
        };
        self.count(&self.source.of(peer, request.host(), field)).ok_or(self.amount)
    }

    fn count(&self, client: &[u8]) -> Option<Counted> {
        let mut part = self.counts.part(client).lock().unwrap_or_else(PoisonError::into_inner);
        match part.get_mut(client) {
            Some(count) if *count >= self.amount => return None,
            Some(count) => *count += 1,
            None if self.amount == 0 => return None,
            None => {
                part.insert(client.into(), 1);
            }
        }
        Some(Counted { counts: Arc::clone(&self.counts), client: client.into() })
    }
}

impl Counts {
    fn part(&self, client: &[u8]) -> &Mutex<HashMap<Box<[u8]>, u32>> {
        &self.parts[self.hasher.hash_one(client) as usize % PARTS]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut part = self.counts.part(&self.client).lock().unwrap_or_else(PoisonError::into_inner);
        // Who has none under way takes no room.
        if let Entry::Occupied(mut count) = part.entry(std::mem::take(&mut self.client)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share_and_gives_it_back() {
        let limit = Connections::new(&Source::ClientIp {}, 2, None);
        let (first, _second) = (limit.count(b"a"), limit.count(b"a"));
        assert!(first.is_some());
        assert!(limit.count(b"a").is_none());
        assert!(limit.count(b"b").is_some());
        drop(first);
        assert!(limit.count(b"a").is_some());
    }

    #[test]
    fn counts_go_on_under_another_amount() {
        let before = Connections::new(&Source::RequestHost {}, 1, None);
        let under_way = before.count(b"a");
        let now = Connections::new(&Source::RequestHost {}, 2, Some(&before));
        let second = now.count(b"a");
        assert!(second.is_some());
        assert!(now.count(b"a").is_none());
        drop((under_way, second));
        assert!(now.counts.parts.iter().all(|part| part.lock().unwrap().is_empty()));
        let other = Connections::new(&Source::ClientIp {}, 1, Some(&now));
        assert!(!Arc::ptr_eq(&other.counts, &now.counts));
    }
}
