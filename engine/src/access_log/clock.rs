//! Times as lines show them. What is the same within a second is made once a second.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line::decimal;

/// A moment's texts, and the second that they hold for.
#[derive(Debug)]
pub(crate) struct Clock {
    zone: TimeZone,
    second: Option<i64>,
    utc: Texts,
    local: Texts,
}

#[derive(Debug, Default)]
struct Texts {
    /// `02/Jan/2006:15:04:05 -0700`
    common: String,
    /// `2006-01-02T15:04:05`
    begin: String,
    /// `Z` or `-07:00`
    offset: String,
}

/// Which of a moment's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// UTC.
    Utc,
    /// The machine's time zone (`/etc/localtime`, `TZ`).
    Local,
}

impl Clock {
    /// In the machine's time zone.
    pub(crate) fn new() -> Self {
        Self::in_zone(TimeZone::system())
    }

    fn in_zone(zone: TimeZone) -> Self {
        Self { zone, second: None, utc: Texts::default(), local: Texts::default() }
    }

    /// Appends a time as the common format has it.
    pub(crate) fn common(&mut self, out: &mut Vec<u8>, time: SystemTime, zone: Zone) {
        self.set(time);
        out.extend_from_slice(self.texts(zone).common.as_bytes());
    }

    /// Appends a time with its nanoseconds, as Go's RFC 3339 form has it: without zeros at their end.
    pub(crate) fn rfc3339(&mut self, out: &mut Vec<u8>, time: SystemTime, zone: Zone) {
        let nanoseconds = self.set(time);
        out.extend_from_slice(self.texts(zone).begin.as_bytes());
        if nanoseconds > 0 {
            out.push(b'.');
            let start = out.len();
            // Nine digits: the one before them goes again.
            decimal(out, 1_000_000_000 + u64::from(nanoseconds));
            out.remove(start);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        out.extend_from_slice(self.texts(zone).offset.as_bytes());
    }

    /// Appends a time in whole seconds.
    pub(crate) fn seconds(&mut self, out: &mut Vec<u8>, time: SystemTime, zone: Zone) {
        self.set(time);
        let texts = self.texts(zone);
        out.extend_from_slice(texts.begin.as_bytes());
        out.extend_from_slice(texts.offset.as_bytes());
    }

    fn texts(&self, zone: Zone) -> &Texts {
        match zone {
            Zone::Utc => &self.utc,
            Zone::Local => &self.local,
        }
    }

    /// Makes the texts of the second that `time` is in, and tells its nanoseconds.
    fn set(&mut self, time: SystemTime) -> u32 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or_default();
        if self.second != Some(second) {
            self.second = Some(second);
            let timestamp = Timestamp::from_second(second).unwrap_or_default();
            self.utc = texts(timestamp, TimeZone::UTC);
            self.local = texts(timestamp, self.zone.clone());
        }
        since.subsec_nanos()
    }
}

fn texts(timestamp: Timestamp, zone: TimeZone) -> Texts {
    let time = timestamp.to_zoned_datetime(zone);
    let offset = if time.offset().is_zero() { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    Texts {
        common: time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
        begin: time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shown(zone: Zone, seconds: u64, nanoseconds: u32) -> (String, String) {
        let mut clock = Clock::in_zone(TimeZone::fixed(jiff::tz::offset(-7)));
        let time = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let (mut common, mut json) = (Vec::new(), Vec::new());
        clock.common(&mut common, time, zone);
        clock.rfc3339(&mut json, time, zone);
        (String::from_utf8(common).unwrap(), String::from_utf8(json).unwrap())
    }

    #[test]
    fn times() {
        let (common, json) = shown(Zone::Utc, 1_136_239_445, 120_000_000);
        assert_eq!((common.as_str(), json.as_str()), ("02/Jan/2006:22:04:05 +0000", "2006-01-02T22:04:05.12Z"));
        let (common, json) = shown(Zone::Local, 1_136_239_445, 5);
        assert_eq!(
            (common.as_str(), json.as_str()),
            ("02/Jan/2006:15:04:05 -0700", "2006-01-02T15:04:05.000000005-07:00")
        );
        assert_eq!(shown(Zone::Utc, 0, 0).1, "1970-01-01T00:00:00Z");
    }
}
