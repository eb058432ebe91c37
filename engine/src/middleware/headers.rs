//! `headers`: fields of requests and answers that are set or removed.

use super::edits::Change;
use super::{Passage, Step};
use crate::snapshot::middleware as document;

/// `headers.customRequestHeaders` and `headers.customResponseHeaders`.
#[derive(Debug)]
pub(crate) struct Headers {
    request: Vec<Change>,
    response: Vec<Change>,
}

impl Headers {
    pub(super) fn build(document: &document::Headers) -> Result<Self, String> {
        let changes = |pairs: &[(String, String)]| {
            let made = pairs.iter().map(|(name, value)| Change::configured(name, value));
            made.filter_map(Result::transpose).collect::<Result<_, _>>()
        };
        Ok(Self { request: changes(&document.request)?, response: changes(&document.response)? })
    }

    pub(super) fn step(&self, passage: &mut Passage<'_>) -> Step<'_> {
        for change in &self.request {
            passage.edits.make(change);
        }
        passage.finish.custom.extend_from_slice(&self.response);
        Step::Continue
    }
}
