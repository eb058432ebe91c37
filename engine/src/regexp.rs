//! Regular expressions that somebody configured.

use regex::{Regex, RegexBuilder};

/// Largest compiled regular expression, in bytes.
const MAX: usize = 1 << 20;

/// Compiles one. The error is a sentence that names it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX).dfa_size_limit(MAX).build().map_err(|error| {
        // The last line says what is wrong; those before it draw where.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("regular expression \"{pattern}\": {last}")
    })
}
