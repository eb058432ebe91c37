//! Changes of the fields of a head.

use bytes::Bytes;

use crate::http::name::Name;

/// A field that is set, or, without a value, removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: Bytes,
    pub(crate) value: Option<Bytes>,
}

impl Change {
    /// A change that was configured: an empty value removes. `Ok(None)` for fields that are not the configuration's to
    /// change: how a message is framed, and what belongs to one connection.
    pub(crate) fn configured(name: &str, value: &str) -> Result<Option<Self>, String> {
        if !is_token(name) {
            return Err(format!("\"{name}\" is not the name of a header"));
        }
        if !is_value(value) {
            return Err(format!("the value of the header {name} holds what a header may not"));
        }
        let id = Name::of(name.as_bytes());
        if id.is_hop_by_hop() || matches!(id, Name::ContentLength | Name::Trailer | Name::Host) {
            return Ok(None);
        }
        Ok(Some(Self::set(name, value.trim())))
    }

    /// Sets a field; an empty value removes it.
    pub(crate) fn set(name: &str, value: &str) -> Self {
        let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Self { name: own(name), value: (!value.is_empty()).then(|| own(value)) }
    }
}

/// Whether a text can be the name of a field (RFC 9110 section 5.1).
pub(crate) fn is_token(text: &str) -> bool {
    crate::http::name::is_token(text.as_bytes())
}

/// Whether a text can be the value of a field.
pub(crate) fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// What is changed in a head, by name: the new values, none of which removes the field.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<(Bytes, Vec<Bytes>)>);

impl Edits {
    /// Whether nothing is changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The new values of a field, if it is changed.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[Bytes]> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, values)| values.as_slice())
    }

    /// Gives a field these values instead of those that it has.
    pub(crate) fn put(&mut self, name: Bytes, values: Vec<Bytes>) {
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some(known) => *known = (name, values),
            None => self.0.push((name, values)),
        }
    }

    /// Makes a change.
    pub(crate) fn make(&mut self, change: &Change) {
        self.put(change.name.clone(), change.value.iter().cloned().collect());
    }

    /// The fields that are set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().flat_map(|(name, values)| values.iter().map(|value| (&name[..], &value[..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_counts() {
        let mut edits = Edits::default();
        edits.make(&Change::set("X-A", "1"));
        edits.make(&Change::set("X-B", "2"));
        edits.make(&Change::set("x-a", ""));
        assert_eq!(edits.get(b"X-A"), Some(&[][..]));
        assert_eq!(edits.get(b"x-b").unwrap(), ["2"]);
        assert_eq!(edits.get(b"X-C"), None);
        assert_eq!(edits.iter().collect::<Vec<_>>(), [(&b"X-B"[..], &b"2"[..])]);
    }

    #[test]
    fn what_may_be_configured() {
        assert!(Change::configured("X-A", "a b").unwrap().is_some());
        for name in ["Host", "Connection", "content-length", "Transfer-Encoding"] {
            assert_eq!(Change::configured(name, "x"), Ok(None), "{name}");
        }
        for (name, value) in [("", "x"), ("a b", "x"), ("a:", "x"), ("X", "a\r\nb"), ("X", "a\0")] {
            assert!(Change::configured(name, value).is_err(), "{name} {value}");
        }
    }
}
