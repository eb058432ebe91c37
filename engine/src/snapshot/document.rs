//! Documents: a whole snapshot, or what makes another one of it.
//!
//! An object is known again by its text. What did not change is not parsed again, and whatever is built from it can be
//! kept, with no regard to what its fields are.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Certificate, FORMAT, OLDEST_FORMAT, Route, Service, Snapshot, present};

/// An object of a snapshot, with the text that it was read from.
pub(crate) struct Object<T> {
    text: Box<str>,
    value: T,
}

impl<T> Object<T> {
    /// What it was read from. May hold secrets.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Object<T> {
    /// Without the text: what is secret in it must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
impl<T: DeserializeOwned> Object<T> {
    /// The object that a text says.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { text: text.into(), value: serde_json::from_str(text)? })
    }
}

/// Why a change cannot be made.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is for another snapshot than the one in force.
    OtherBase(String),
    /// It is no change at all.
    Malformed(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<'a> {
    format: u32,
    revision: u64,
    #[serde(borrow)]
    settings: &'a RawValue,
    #[serde(borrow)]
    entry_points: Vec<&'a RawValue>,
    #[serde(borrow)]
    routes: Vec<&'a RawValue>,
    #[serde(borrow)]
    services: Vec<&'a RawValue>,
    #[serde(borrow)]
    certificates: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change<'a> {
    format: u32,
    base: u64,
    revision: u64,
    #[serde(borrow, deserialize_with = "present_text")]
    settings: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    entry_points: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    routes: Changed<'a>,
    #[serde(borrow)]
    services: Changed<'a>,
    #[serde(borrow)]
    certificates: Changed<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed<'a> {
    #[serde(borrow)]
    put: Vec<&'a RawValue>,
    remove: Vec<String>,
}

/// `RawValue` takes a null for a value; here it means that there is none.
pub(crate) fn present_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    let text = <&'de RawValue>::deserialize(deserializer)?;
    Ok((text.get() != "null").then_some(text))
}

/// What has an id.
trait Named {
    fn id(&self) -> &str;
}

impl Named for Route {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Named for Service {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Named for Certificate {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Reads a whole snapshot. What has the same text in `known` is taken from there. The error says where and what.
pub(crate) fn whole(document: &[u8], known: Option<&Snapshot>) -> Result<Snapshot, String> {
    let wrong = |error: String| format!("the body is not a snapshot: {error}");
    let whole: Whole<'_> = serde_json::from_slice(document).map_err(|error| wrong(error.to_string()))?;
    is_understood(whole.format)?;
    let settings = objects("settings", &[whole.settings], known.map(|known| std::slice::from_ref(&known.settings)));
    Ok(Snapshot {
        revision: whole.revision,
        settings: one(settings.map_err(wrong)?, "settings")?,
        entry_points: objects("entry_points", &whole.entry_points, known.map(|known| &*known.entry_points))
            .map_err(wrong)?,
        routes: objects("routes", &whole.routes, known.map(|known| &*known.routes)).map_err(wrong)?,
        services: objects("services", &whole.services, known.map(|known| &*known.services)).map_err(wrong)?,
        certificates: objects("certificates", &whole.certificates, known.map(|known| &*known.certificates))
            .map_err(wrong)?,
    })
}

/// Reads a change and returns what it makes of `base`.
pub(crate) fn changed(document: &[u8], base: Option<&Snapshot>) -> Result<Snapshot, Unusable> {
    let wrong = |error: String| Unusable::Malformed(format!("the body is not a change of a snapshot: {error}"));
    let change: Change<'_> = serde_json::from_slice(document).map_err(|error| wrong(error.to_string()))?;
    is_understood(change.format).map_err(Unusable::Malformed)?;
    let base = match base {
        Some(base) if base.revision == change.base => base,
        other => {
            let there = other.map_or_else(|| "no revision".to_owned(), |base| format!("revision {}", base.revision));
            let error = format!("the change is for revision {}, but {there} is in force", change.base);
            return Err(Unusable::OtherBase(format!("{error}; send the whole snapshot")));
        }
    };
    let settings = match change.settings {
        None => Arc::clone(&base.settings),
        Some(text) => objects("settings", &[text], None).and_then(|list| one(list, "settings")).map_err(wrong)?,
    };
    let entry_points = match change.entry_points {
        None => base.entry_points.clone(),
        Some(texts) => objects("entry_points", &texts, Some(&base.entry_points)).map_err(wrong)?,
    };
    Ok(Snapshot {
        revision: change.revision,
        settings,
        entry_points,
        routes: edited("routes", &base.routes, &change.routes).map_err(wrong)?,
        services: edited("services", &base.services, &change.services).map_err(wrong)?,
        certificates: edited("certificates", &base.certificates, &change.certificates).map_err(wrong)?,
    })
}

fn is_understood(format: u32) -> Result<(), String> {
    if (OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    Err(format!(
        "format {format} is not understood by version {version} of the engine, only {OLDEST_FORMAT} to {FORMAT}: \
         install the version that wrote it"
    ))
}

fn one<T>(list: Vec<T>, what: &str) -> Result<T, String> {
    list.into_iter().next().ok_or_else(|| format!("{what}: missing"))
}

fn object<T: DeserializeOwned>(text: &str) -> Result<Arc<Object<T>>, serde_json::Error> {
    Ok(Arc::new(Object { value: serde_json::from_str(text)?, text: text.into() }))
}

fn objects<T: DeserializeOwned>(
    list: &str,
    texts: &[&RawValue],
    known: Option<&[Arc<Object<T>>]>,
) -> Result<Vec<Arc<Object<T>>>, String> {
    let known: HashMap<&str, &Arc<Object<T>>> =
        known.unwrap_or_default().iter().map(|object| (&*object.text, object)).collect();
    let read = |(index, text): (usize, &&RawValue)| match known.get(text.get()) {
        Some(known) => Ok(Arc::clone(known)),
        None => object(text.get()).map_err(|error| format!("{list}[{index}]: {error}")),
    };
    texts.iter().enumerate().map(read).collect()
}

/// The objects of `base` without those that are removed or replaced, and with those that are put.
fn edited<T: DeserializeOwned + Named>(
    list: &str,
    base: &[Arc<Object<T>>],
    change: &Changed<'_>,
) -> Result<Vec<Arc<Object<T>>>, String> {
    let put: Vec<Arc<Object<T>>> = objects(list, &change.put, None)?;
    let removed: HashSet<&str> = change.remove.iter().map(String::as_str).collect();
    let mut missing = removed.clone();
    let gone: HashSet<&str> = removed.into_iter().chain(put.iter().map(|object| object.id())).collect();
    let mut result = Vec::with_capacity(base.len() + put.len());
    for object in base {
        if gone.contains(object.id()) {
            missing.remove(object.id());
        } else {
            result.push(Arc::clone(object));
        }
    }
    if let Some(id) = missing.into_iter().min() {
        return Err(format!("{list}: there is no \"{id}\" to remove"));
    }
    result.extend(put);
    Ok(result)
}
