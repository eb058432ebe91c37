//! Old tables. Whoever lets go of them last frees them; that must not be a worker, which would serve nobody meanwhile.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::snapshot::build::Sources;
use crate::snapshot::table::Tables;

/// How often it is looked whether workers still use old tables.
const PAUSE: Duration = Duration::from_millis(50);

/// Tables that are no longer in force, with what they were built from.
#[derive(Debug, Clone, Default)]
pub(super) struct Replaced(Rc<RefCell<Vec<Old>>>);

type Old = (Arc<Tables>, Option<Sources>);

impl Replaced {
    /// Keeps tables until no worker uses them.
    pub(super) fn add(&self, tables: Arc<Tables>, sources: Option<Sources>) {
        self.0.borrow_mut().push((tables, sources));
        if self.0.borrow().len() == 1 {
            tokio::task::spawn_local(self.clone().free());
        }
    }

    async fn free(self) {
        while !self.0.borrow().is_empty() {
            tokio::time::sleep(PAUSE).await;
            self.0.borrow_mut().retain(|(tables, _)| Arc::strong_count(tables) > 1);
        }
    }
}
