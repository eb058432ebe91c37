//! What middlewares remember from one request to the next. It survives new snapshots as long as the chain, the place in
//! it and the middleware's own text stay; routes with the same chain share it, on each entry point separately.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};

use super::Place;
use super::basic_auth::Verified;
use crate::snapshot::middleware as document;

/// A digest of everything by which a state is known: there are secrets in the text.
type Key = [u8; 32];

/// All states that are in use.
#[derive(Debug, Default)]
pub(crate) struct States(Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>);

impl States {
    /// The credentials that were found right; of all entry points together.
    pub(super) fn verified(&self, place: &Place<'_>, document: &document::Middleware) -> Arc<Verified> {
        self.get(key(place, document, ""), Verified::default)
    }

    /// A state that is there, or a new one.
    fn get<T: Any + Send + Sync>(&self, key: Key, new: impl FnOnce() -> T) -> Arc<T> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = states.get(&key).and_then(Weak::upgrade).and_then(|state| state.downcast().ok());
        known.unwrap_or_else(|| {
            // Those that nobody uses any more.
            states.retain(|_, state| state.strong_count() > 0);
            let state = Arc::new(new());
            let shared: Arc<dyn Any + Send + Sync> = state.clone();
            states.insert(key, Arc::downgrade(&shared));
            state
        })
    }
}

fn key(place: &Place<'_>, document: &document::Middleware, entry_point: &str) -> Key {
    let text = serde_json::to_string(document).unwrap_or_default();
    let kind = if place.is_entry_points { "entry point" } else { "route" };
    let mut context = Context::new(&SHA256);
    for part in [kind, entry_point, place.chain, &place.index.to_string(), &text] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lives_as_long_as_it_is_used() {
        let states = States::default();
        let first = states.get([1; 32], || 1_u8);
        assert_eq!(*states.get([1; 32], || 2_u8), 1);
        assert_eq!(*states.get([2; 32], || 3_u8), 3);
        drop(first);
        assert_eq!(*states.get([1; 32], || 4_u8), 4);
        assert_eq!(states.0.lock().unwrap().len(), 1);
    }
}
