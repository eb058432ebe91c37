//! Traefik 1.7's extension of the common log format:
//!
//! `<client> - <user> [<time>] "<method> <path> <protocol>" <origin's status> <origin's size> "<referrer>" "<agent>"
//! <count> "<frontend>" "<backend URL>" <duration>ms`

use std::io::Write as _;

use super::clock::{Clock, Zone};
use super::escape;
use super::fields::{Field, Layout, Mode};
use super::line::{Entry, Target, decimal};

/// Appends a line.
pub(crate) fn write(out: &mut Vec<u8>, layout: &Layout, clock: &mut Clock, entry: &Entry<'_>) {
    let has = |field| layout.fields.has(field);
    match entry.forwarded_for() {
        _ if !has(Field::ClientHost) => out.push(b'-'),
        Some(told) => escape::common(out, told),
        // Writing to memory does not fail.
        None => _ = write!(out, "{}", entry.client.ip().to_canonical()),
    }
    out.extend_from_slice(b" - ");
    text(out, has(Field::ClientUsername), entry.user.unwrap_or("-"));
    out.extend_from_slice(b" [");
    if has(Field::StartUtc) {
        clock.common(out, entry.started, Zone::Utc);
    } else if has(Field::StartLocal) {
        clock.common(out, entry.started, Zone::Local);
    } else {
        out.push(b'-');
    }
    out.extend_from_slice(b"] \"");
    text(out, has(Field::RequestMethod), entry.request.method);
    out.push(b' ');
    text(out, has(Field::RequestPath), entry.request.path);
    if let Some(query) = entry.request.query.filter(|_| has(Field::RequestPath)) {
        out.push(b'?');
        escape::common(out, query.as_bytes());
    }
    out.push(b' ');
    text(out, has(Field::RequestProtocol), entry.request.protocol);
    out.extend_from_slice(b"\" ");
    number(out, entry.origin.filter(|_| has(Field::OriginStatus)).map(|origin| u64::from(origin.status)));
    out.push(b' ');
    number(out, entry.origin.filter(|_| has(Field::OriginContentSize)).map(|origin| origin.bytes));
    header(out, layout, entry, "Referer");
    header(out, layout, entry, "User-Agent");
    out.push(b' ');
    number(out, Some(entry.count).filter(|_| has(Field::RequestCount)));
    quoted(out, entry.target.filter(|_| has(Field::FrontendName)).map(Target::frontend));
    quoted(out, entry.target.filter(|_| has(Field::BackendUrl)).map(|target| url(target, entry)));
    out.push(b' ');
    let milliseconds = if has(Field::Duration) { entry.duration.as_millis() } else { 0 };
    decimal(out, u64::try_from(milliseconds).unwrap_or(u64::MAX));
    out.extend_from_slice(b"ms\n");
}

fn url<'a>(target: Target<'a>, entry: &Entry<'a>) -> &'a str {
    match target {
        Target::Server { url, .. } => url,
        Target::Engine(_) => entry.request.path,
    }
}

fn text(out: &mut Vec<u8>, is_kept: bool, text: &str) {
    if is_kept { escape::common(out, text.as_bytes()) } else { out.push(b'-') }
}

fn number(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => decimal(out, number),
        None => out.push(b'-'),
    }
}

fn quoted(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            out.extend_from_slice(b" \"");
            escape::common(out, text.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b" -"),
    }
}

fn header(out: &mut Vec<u8>, layout: &Layout, entry: &Entry<'_>, name: &str) {
    out.extend_from_slice(b" \"");
    match (layout.headers.mode(name.as_bytes()), entry.header(name)) {
        (Mode::Keep, Some(value)) if !value.is_empty() => escape::common(out, value),
        (Mode::Redact, Some(_)) => out.extend_from_slice(b"REDACTED"),
        _ => out.push(b'-'),
    }
    out.push(b'"');
}
