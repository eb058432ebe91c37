//! What middlewares remember from one request to the next. It survives new snapshots as long as the chain, the place in
//! it and the middleware's own text stay; routes with the same chain share it, on each entry point separately.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};

use super::Place;
use crate::snapshot::middleware as document;

/// A digest of everything by which a state is known: there are secrets in the text.
pub(super) type Key = [u8; 32];

/// All states that are in use.
#[derive(Debug, Default)]
pub(crate) struct States(Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>);

impl States {
    /// A state that is there, or a new one.
    pub(super) fn get<T: Any + Send + Sync + Default>(&self, key: &Key) -> Arc<T> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = states.get(key).and_then(Weak::upgrade).and_then(|state| state.downcast().ok());
        known.unwrap_or_else(|| {
            // Those that nobody uses any more.
            states.retain(|_, state| state.strong_count() > 0);
            let state = Arc::new(T::default());
            let shared: Arc<dyn Any + Send + Sync> = state.clone();
            states.insert(*key, Arc::downgrade(&shared));
            state
        })
    }
}

impl Place<'_> {
    /// What the state of a middleware is known by that is the entry point's own; with an empty name, of all together.
    pub(super) fn key(&self, document: &document::Middleware, entry_point: &str) -> Key {
        let text = serde_json::to_string(document).unwrap_or_default();
        let (kind, own) = match self.entry_points {
            [name] if self.is_entry_points => ("entry point", name.as_str()),
            _ => ("route", ""),
        };
        let mut context = Context::new(&SHA256);
        for part in [kind, own, entry_point, self.chain, &self.index.to_string(), &text] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = Key::default();
        key.copy_from_slice(context.finish().as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    #[test]
    fn a_state_lives_as_long_as_it_is_used() {
        let states = States::default();
        let first: Arc<AtomicU8> = states.get(&[1; 32]);
        first.store(1, Relaxed);
        assert_eq!(states.get::<AtomicU8>(&[1; 32]).load(Relaxed), 1);
        assert_eq!(states.get::<AtomicU8>(&[2; 32]).load(Relaxed), 0);
        drop(first);
        assert_eq!(states.get::<AtomicU8>(&[1; 32]).load(Relaxed), 0);
        assert_eq!(states.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_a_state_is_known_by() {
        let states = States::default();
        let of = |range: &str| {
            document::Middleware::WhiteList(document::WhiteList {
                source_ranges: vec![range.to_owned()],
                use_x_forwarded_for: false,
            })
        };
        let names = ["http".to_owned()];
        let place = |chain, index, is_entry_points| Place {
            chain,
            index,
            entry_points: &names,
            states: &states,
            is_entry_points,
        };
        let keys = [
            place("a", 0, false).key(&of("1.1.1.1"), "http"),
            place("b", 0, false).key(&of("1.1.1.1"), "http"),
            place("a", 1, false).key(&of("1.1.1.1"), "http"),
            place("a", 0, false).key(&of("1.1.1.2"), "http"),
            place("a", 0, false).key(&of("1.1.1.1"), "https"),
            place("a", 0, true).key(&of("1.1.1.1"), "http"),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        assert_eq!(keys[0], place("a", 0, false).key(&of("1.1.1.1"), "http"));
    }
}
