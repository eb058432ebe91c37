//! Which fields and headers a line has, and which requests have a line: `accessLog.fields` and `accessLog.filters` of
//! Traefik 1.7.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::snapshot;

/// A field of a line, in the order of the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    BackendAddr,
    BackendName,
    BackendUrl,
    ClientAddr,
    ClientHost,
    ClientPort,
    ClientUsername,
    DownstreamContentSize,
    DownstreamStatus,
    DownstreamStatusLine,
    Duration,
    FrontendName,
    GzipRatio,
    OriginContentSize,
    OriginDuration,
    OriginStatus,
    OriginStatusLine,
    Overhead,
    RequestAddr,
    RequestContentSize,
    RequestCount,
    RequestHost,
    RequestLine,
    RequestMethod,
    RequestPath,
    RequestPort,
    RequestProtocol,
    RetryAttempts,
    StartLocal,
    StartUtc,
}

const NAMES: [(&str, Field); 30] = [
    ("BackendAddr", Field::BackendAddr),
    ("BackendName", Field::BackendName),
    ("BackendURL", Field::BackendUrl),
    ("ClientAddr", Field::ClientAddr),
    ("ClientHost", Field::ClientHost),
    ("ClientPort", Field::ClientPort),
    ("ClientUsername", Field::ClientUsername),
    ("DownstreamContentSize", Field::DownstreamContentSize),
    ("DownstreamStatus", Field::DownstreamStatus),
    ("DownstreamStatusLine", Field::DownstreamStatusLine),
    ("Duration", Field::Duration),
    ("FrontendName", Field::FrontendName),
    ("GzipRatio", Field::GzipRatio),
    ("OriginContentSize", Field::OriginContentSize),
    ("OriginDuration", Field::OriginDuration),
    ("OriginStatus", Field::OriginStatus),
    ("OriginStatusLine", Field::OriginStatusLine),
    ("Overhead", Field::Overhead),
    ("RequestAddr", Field::RequestAddr),
    ("RequestContentSize", Field::RequestContentSize),
    ("RequestCount", Field::RequestCount),
    ("RequestHost", Field::RequestHost),
    ("RequestLine", Field::RequestLine),
    ("RequestMethod", Field::RequestMethod),
    ("RequestPath", Field::RequestPath),
    ("RequestPort", Field::RequestPort),
    ("RequestProtocol", Field::RequestProtocol),
    ("RetryAttempts", Field::RetryAttempts),
    ("StartLocal", Field::StartLocal),
    ("StartUTC", Field::StartUtc),
];

/// The fields that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields(u32);

impl Fields {
    /// Whether a field is kept.
    pub(crate) fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    fn build(settings: &snapshot::AccessLogFields) -> Result<Self, String> {
        let mut bits = match settings.default_mode.as_str() {
            "keep" => u32::MAX,
            "drop" => 0,
            other => return Err(format!("mode \"{other}\" of the access log's fields is not keep or drop")),
        };
        for (name, mode) in &settings.names {
            let known = NAMES.iter().find(|(known, _)| known == name);
            let (_, field) = known.ok_or_else(|| format!("the access log has no field {name}"))?;
            match mode.as_str() {
                "keep" => bits |= 1 << *field as u32,
                "drop" => bits &= !(1 << *field as u32),
                other => return Err(format!("mode \"{other}\" of the access log's field {name} is not keep or drop")),
            }
        }
        Ok(Self(bits))
    }
}

/// What is done with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is not there.
    Drop,
    /// Its value is there.
    Keep,
    /// It is there, its value reads `REDACTED`.
    Redact,
}

impl Mode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "drop" => Ok(Self::Drop),
            "keep" => Ok(Self::Keep),
            "redact" => Ok(Self::Redact),
            other => Err(format!("mode \"{other}\" of the access log's headers is not keep, drop or redact")),
        }
    }
}

/// What is done with which header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers {
    usual: Mode,
    named: Vec<(Box<str>, Mode)>,
}

impl Headers {
    /// What is done with the header of this name, whatever its case.
    pub(crate) fn mode(&self, name: &[u8]) -> Mode {
        let named = self.named.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        named.map_or(self.usual, |(_, mode)| *mode)
    }

    /// Whether no header is ever in a line.
    pub(crate) fn are_dropped(&self) -> bool {
        self.usual == Mode::Drop && self.named.iter().all(|(_, mode)| *mode == Mode::Drop)
    }

    fn build(settings: &snapshot::AccessLogHeaders) -> Result<Self, String> {
        let named = settings.names.iter().map(|(name, mode)| Ok((name.as_str().into(), Mode::parse(mode)?)));
        Ok(Self { usual: Mode::parse(&settings.default_mode)?, named: named.collect::<Result<_, String>>()? })
    }
}

/// Which requests have a line: those that any filter accepts, or all if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filters {
    statuses: Vec<RangeInclusive<u16>>,
    retried: bool,
    longer_than: Option<Duration>,
}

impl Filters {
    /// Whether a request with this outcome has a line.
    pub(crate) fn accept(&self, status: u16, retries: u32, duration: Duration) -> bool {
        if self.statuses.is_empty() && !self.retried && self.longer_than.is_none() {
            return true;
        }
        self.statuses.iter().any(|range| range.contains(&status))
            || (self.retried && retries > 0)
            || self.longer_than.is_some_and(|least| duration > least)
    }

    fn build(settings: &snapshot::AccessLogFilters) -> Result<Self, String> {
        if let Some((first, last)) = settings.status_codes.iter().find(|(first, last)| first > last) {
            return Err(format!("the access log's status codes {first}-{last} are none"));
        }
        Ok(Self {
            statuses: settings.status_codes.iter().map(|(first, last)| *first..=*last).collect(),
            retried: settings.retry_attempts,
            longer_than: (settings.min_duration_ms > 0).then(|| Duration::from_millis(settings.min_duration_ms)),
        })
    }
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Traefik's extension of the common log format.
    Common,
    /// One JSON object a line.
    Json,
}

/// What the snapshot says about the access log, but for the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// How lines are written.
    pub(crate) format: Format,
    /// Lines that are gathered before they are handed on; 0 does not wait for more.
    pub(crate) buffering: u32,
    /// Which requests have a line.
    pub(crate) filters: Filters,
    /// What is in it.
    pub(crate) fields: Fields,
    /// Which headers are in it.
    pub(crate) headers: Headers,
}

impl Layout {
    /// Checks what the snapshot says.
    pub(crate) fn build(settings: &snapshot::AccessLog) -> Result<Self, String> {
        let format = match settings.format.as_str() {
            "common" => Format::Common,
            "json" => Format::Json,
            other => return Err(format!("the access log's format \"{other}\" is not common or json")),
        };
        Ok(Self {
            format,
            buffering: settings.buffering_size,
            filters: Filters::build(&settings.filters)?,
            fields: Fields::build(&settings.fields)?,
            headers: Headers::build(&settings.fields.headers)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Everything is kept and nothing filtered.
    pub(crate) fn layout(format: Format) -> Layout {
        Layout {
            format,
            buffering: 0,
            filters: Filters { statuses: vec![], retried: false, longer_than: None },
            fields: Fields(u32::MAX),
            headers: Headers { usual: Mode::Keep, named: vec![] },
        }
    }

    fn fields(default_mode: &str, names: &[(&str, &str)]) -> Result<Fields, String> {
        let own = |(name, mode): &(&str, &str)| ((*name).to_owned(), (*mode).to_owned());
        let headers = snapshot::AccessLogHeaders { default_mode: "keep".to_owned(), names: BTreeMap::new() };
        let names = names.iter().map(own).collect();
        Fields::build(&snapshot::AccessLogFields { default_mode: default_mode.to_owned(), names, headers })
    }

    #[test]
    fn names_stand_in_their_order_and_at_their_bit() {
        assert!(NAMES.is_sorted_by_key(|(name, _)| name));
        for (index, (_, field)) in NAMES.iter().enumerate() {
            assert_eq!(*field as usize, index);
        }
    }

    #[test]
    fn fields_are_kept_and_dropped() {
        let most = fields("keep", &[("ClientHost", "drop")]).unwrap();
        assert!(!most.has(Field::ClientHost) && most.has(Field::StartUtc));
        let one = fields("drop", &[("StartUTC", "keep")]).unwrap();
        assert!(!one.has(Field::ClientHost) && one.has(Field::StartUtc));
        assert_eq!(fields("keep", &[("Foo", "keep")]).unwrap_err(), "the access log has no field Foo");
        assert!(fields("redact", &[]).is_err() && fields("keep", &[("Duration", "redact")]).is_err());
    }

    #[test]
    fn filters_are_alternatives() {
        let none = layout(Format::Common).filters;
        assert!(none.accept(200, 0, Duration::ZERO));
        let some = Filters {
            statuses: vec![200..=200, 500..=599],
            retried: true,
            longer_than: Some(Duration::from_millis(10)),
        };
        assert!(some.accept(200, 0, Duration::ZERO) && some.accept(503, 0, Duration::ZERO));
        assert!(some.accept(404, 1, Duration::ZERO) && some.accept(404, 0, Duration::from_millis(11)));
        assert!(!some.accept(404, 0, Duration::from_millis(10)));
    }

    #[test]
    fn headers_by_name() {
        let headers = Headers {
            usual: Mode::Drop,
            named: vec![("Cookie".into(), Mode::Redact), ("User-Agent".into(), Mode::Keep)],
        };
        assert_eq!(headers.mode(b"cookie"), Mode::Redact);
        assert_eq!(headers.mode(b"USER-AGENT"), Mode::Keep);
        assert_eq!(headers.mode(b"Accept"), Mode::Drop);
        assert!(!headers.are_dropped());
        assert!(Headers { usual: Mode::Drop, named: vec![("A".into(), Mode::Drop)] }.are_dropped());
    }
}
