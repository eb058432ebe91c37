//! A map from names to the routes under them, of which a changed copy costs little however many names there are.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState as Hasher;

use super::group::Group;
use crate::snapshot::table::Route;

/// Into how many maps the names are spread. A change copies those that it touches.
const SHARDS: usize = 256;

/// Whoever configures the names chooses them: a client cannot make them collide.
type Shard = HashMap<Arc<str>, Arc<Group>, Hasher>;

/// Routes by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// None at all, or `SHARDS`.
    shards: Vec<Arc<Shard>>,
    /// At least the length of the longest name that there ever was.
    longest: usize,
}

impl Hosts {
    /// The routes under a name.
    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.shards.get(shard(name))?.get(name).map(AsRef::as_ref)
    }

    /// What follows the dots of a host, as far as it can be a name here.
    pub(super) fn suffixes<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let longest = self.longest;
        let after_dots = host.rmatch_indices('.').map(|(dot, _)| &host[dot + 1..]);
        after_dots.take_while(move |suffix| suffix.len() <= longest)
    }

    /// Takes routes from a name, and gives it others.
    pub(super) fn edit(&mut self, name: &Arc<str>, removed: &[&Arc<Route>], added: &[&Arc<Route>]) {
        if self.shards.is_empty() {
            self.shards = std::iter::repeat_n(Arc::new(Shard::default()), SHARDS).collect();
        }
        self.longest = self.longest.max(name.len());
        let Some(shard) = self.shards.get_mut(shard(name)) else { return };
        let shard = Arc::make_mut(shard);
        let group = shard.get(name).map(AsRef::as_ref).unwrap_or(&Group::EMPTY).changed(removed, added);
        if group.is_empty() {
            shard.remove(name);
        } else {
            shard.insert(Arc::clone(name), Arc::new(group));
        }
    }
}

/// FNV-1a. Only the cost of a change depends on how evenly it spreads.
fn shard(name: &str) -> usize {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 16) as usize % SHARDS
}
