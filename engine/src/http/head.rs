//! Parsed heads of requests and answers, and what their fields say about framing and connection.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::name::Name;
use super::{Framing, Malformed, Version, target};

/// Most header fields in a head.
pub(crate) const MAX_FIELDS: usize = 128;
/// Most options in `Connection`. Every field is compared with every option, so that they must not be many.
const MAX_OPTIONS: usize = 64;

#[derive(Debug, Clone)]
struct Field {
    id: Name,
    name: Range<u32>,
    value: Range<u32>,
}

/// The bytes of a head and where its fields are in them.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    bytes: Bytes,
    list: Vec<Field>,
}

impl Fields {
    /// All fields in the order in which they came: what the name means here, the name, the value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.list.iter().map(|field| (field.id, self.slice(&field.name), self.slice(&field.value)))
    }

    /// The values of the fields that have this meaning.
    pub(crate) fn values(&self, id: Name) -> impl Iterator<Item = &[u8]> {
        self.list.iter().filter(move |field| field.id == id).map(|field| self.slice(&field.value))
    }

    /// The first of [`Fields::values`].
    pub(crate) fn first(&self, id: Name) -> Option<&[u8]> {
        self.values(id).next()
    }

    /// Whether `Connection` names this field, so that it ends here (RFC 9110 section 7.6.1).
    pub(crate) fn is_named_in_connection(&self, name: &[u8]) -> bool {
        self.values(Name::Connection).flat_map(tokens).any(|token| token.eq_ignore_ascii_case(name))
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    fn new(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let list = parsed
            .iter()
            .map(|header| Field {
                id: Name::of(header.name.as_bytes()),
                name: range_in(bytes, header.name.as_bytes()),
                value: range_in(bytes, header.value.trim_ascii_end()),
            })
            .collect();
        Self { bytes: bytes.clone(), list }
    }
}

/// Puts a head together that did not come as text.
#[derive(Debug)]
pub(crate) struct Assembly {
    text: BytesMut,
    list: Vec<Field>,
}

impl Assembly {
    /// With room for a head of `length` bytes.
    pub(crate) fn with_capacity(length: usize, fields: usize) -> Self {
        Self { text: BytesMut::with_capacity(length), list: Vec::with_capacity(fields) }
    }

    /// Appends something that is no field, and a line's end. Says where it is.
    pub(crate) fn line(&mut self, text: &str) -> Range<u32> {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text.as_bytes());
        let end = self.text.len() as u32;
        self.text.extend_from_slice(b"\r\n");
        start..end
    }

    /// Appends a field. Says where its value is. Name and value must be valid in HTTP/1.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) -> Range<u32> {
        let start = self.text.len() as u32;
        super::write::field(&mut self.text, name, value);
        let value_end = self.text.len() as u32 - 2;
        let value = value_end - value.len() as u32..value_end;
        self.list.push(Field { id: Name::of(name), name: start..start + name.len() as u32, value: value.clone() });
        value
    }

    /// Appends those of `fields` that `keeps` keeps, and `added`.
    fn fields<'a>(
        &mut self,
        fields: &Fields,
        keeps: impl Fn(Name, &[u8]) -> bool,
        added: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) {
        for (_, name, value) in fields.iter().filter(|(id, name, _)| keeps(*id, name)) {
            self.field(name, value);
        }
        for (name, value) in added {
            self.field(name, value);
        }
    }

    /// The fields, of which none was named in vain.
    pub(crate) fn finish(self) -> Fields {
        Fields { bytes: self.text.freeze(), list: self.list }
    }
}

/// Whether `Connection` names a field that is not the connection's anyway.
fn ends_here(fields: &Fields, id: Name, name: &[u8]) -> bool {
    !id.is_hop_by_hop() && fields.is_named_in_connection(name)
}

/// Elements of a comma-separated list, without empty ones.
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Where `part`, which was sliced from `whole`, lies in it. Heads are short, so that 32 bits do.
fn range_in(whole: &[u8], part: &[u8]) -> Range<u32> {
    if part.is_empty() {
        return 0..0;
    }
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    let end = (start + part.len()).min(whole.len());
    start as u32..end as u32
}

/// What the `Connection` fields of a message ask for.
#[derive(Debug, Default, Clone, Copy)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    names_fields: bool,
}

fn connection(fields: &Fields) -> Result<Connection, Malformed> {
    let mut found = Connection::default();
    for (index, token) in fields.values(Name::Connection).flat_map(tokens).enumerate() {
        if index == MAX_OPTIONS {
            return Err(Malformed::Syntax("too many options in Connection"));
        }
        match token {
            token if token.eq_ignore_ascii_case(b"close") => found.close = true,
            token if token.eq_ignore_ascii_case(b"keep-alive") => found.keep_alive = true,
            token if token.eq_ignore_ascii_case(b"upgrade") => found.upgrade = true,
            token if token.eq_ignore_ascii_case(b"te") => {}
            _ => found.names_fields = true,
        }
    }
    Ok(found)
}

/// `Content-Length`, strictly: one field, digits only. A list is an error even if its elements agree.
fn content_length(fields: &Fields) -> Result<Option<u64>, Malformed> {
    let mut values = fields.values(Name::ContentLength);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed::Syntax("more than one Content-Length"));
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Syntax("Content-Length is not a number"));
    }
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(Malformed::Syntax("Content-Length overflows"))
}

/// Whether `Transfer-Encoding` is exactly one `chunked`. Everything else is ambiguous or unknown, and refused.
fn is_chunked(fields: &Fields, version: Version) -> Result<bool, Malformed> {
    let mut values = fields.values(Name::TransferEncoding);
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() || !value.eq_ignore_ascii_case(b"chunked") {
        return Err(Malformed::Syntax("Transfer-Encoding is not exactly chunked"));
    }
    if version == Version::Http10 {
        return Err(Malformed::Syntax("Transfer-Encoding in HTTP/1.0"));
    }
    if fields.first(Name::ContentLength).is_some() {
        return Err(Malformed::Syntax("Content-Length together with Transfer-Encoding"));
    }
    Ok(true)
}

fn malformed(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::HeadTooLarge,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::HeaderName => Malformed::Syntax("invalid header name"),
        httparse::Error::HeaderValue => Malformed::Syntax("invalid header value"),
        httparse::Error::Status => Malformed::Syntax("invalid status"),
        httparse::Error::Token => Malformed::Syntax("invalid token in the start line"),
        httparse::Error::NewLine => Malformed::Syntax("invalid line end"),
    }
}

fn version(number: Option<u8>) -> Version {
    if number == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// Whether the first line of a head can be a request's of any version of HTTP: `false` if it is three words of which the
/// last is not made as a version is (`HTTP/1.1`).
pub(crate) fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(_), Some(_), Some(version), None) => version.is_empty() || version.contains(&b'/'),
        _ => true,
    }
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Request {
    /// The header fields.
    pub(crate) fields: Fields,
    /// The version that the client speaks.
    pub(crate) version: Version,
    /// How the body is framed; never [`Framing::UntilClose`].
    pub(crate) framing: Framing,
    /// Whether the client wants to go on with this connection.
    pub(crate) keep_alive: bool,
    /// Whether `Connection` names fields that end here.
    pub(crate) names_fields: bool,
    method: Range<u32>,
    path_and_query: Range<u32>,
    host: Range<u32>,
    upgrade: bool,
}

impl Request {
    /// Parses and checks a head that [`super::scan::Scanner`] has found complete.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let mut room = [MaybeUninit::<httparse::Header<'_>>::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status = config.parse_request_with_uninit_headers(&mut parsed, &bytes, &mut room);
        match status.map_err(malformed)? {
            httparse::Status::Complete(length) if length == bytes.len() => {}
            _ => return Err(Malformed::Syntax("head ends too early")),
        }
        let method = parsed.method.unwrap_or_default();
        let whole_target = parsed.path.unwrap_or_default();
        if whole_target.len() > super::scan::MAX_TARGET {
            return Err(Malformed::TargetTooLong);
        }
        let version = version(parsed.version);
        let fields = Fields::new(&bytes, parsed.headers);
        let target = target::parse(method, whole_target)?;

        let host = fields.first(Name::Host);
        if fields.values(Name::Host).nth(1).is_some() {
            return Err(Malformed::Syntax("more than one Host"));
        }
        if host.is_none() && version == Version::Http11 {
            return Err(Malformed::Syntax("no Host"));
        }
        if !target::is_valid_host(host.unwrap_or_default()) {
            return Err(Malformed::Syntax("invalid Host"));
        }
        let host = match &target.authority {
            Some(authority) => range_in(&bytes, &whole_target.as_bytes()[authority.clone()]),
            None => range_in(&bytes, host.unwrap_or_default()),
        };

        let framing = if is_chunked(&fields, version)? {
            Framing::Chunked
        } else {
            content_length(&fields)?.map_or(Framing::None, Framing::Length)
        };
        let connection = connection(&fields)?;
        Ok(Self {
            version,
            framing,
            keep_alive: !connection.close && (version == Version::Http11 || connection.keep_alive),
            names_fields: connection.names_fields,
            upgrade: connection.upgrade && version == Version::Http11,
            method: range_in(&bytes, method.as_bytes()),
            path_and_query: range_in(&bytes, &whole_target.as_bytes()[target.path_and_query]),
            host,
            fields,
        })
    }

    /// A request of HTTP/2. `method`, `path_and_query` and `host` say where they are in the text of the fields, and were
    /// checked. `upgrade` says that `Upgrade` is meant.
    pub(crate) fn assembled(
        fields: Fields,
        [method, path_and_query, host]: [Range<u32>; 3],
        is_complete: bool,
        upgrade: bool,
    ) -> Result<Self, Malformed> {
        let framing = match content_length(&fields)? {
            Some(length) => Framing::Length(length),
            None if is_complete => Framing::None,
            None => Framing::Chunked,
        };
        let version = Version::Http2;
        Ok(Self {
            fields,
            version,
            framing,
            keep_alive: true,
            names_fields: false,
            method,
            path_and_query,
            host,
            upgrade,
        })
    }

    /// The same request with other fields: those that `keeps` keeps, and `added` after them. What `Connection` names ends
    /// here, so that the peer cannot have it take away what is added.
    pub(crate) fn edited<'a>(
        &self,
        keeps: impl Fn(Name, &[u8]) -> bool,
        added: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut assembly = Assembly::with_capacity(self.fields.bytes.len() + 256, self.fields.list.len() + 4);
        let method = assembly.line(self.method());
        let path_and_query = assembly.line(self.text(&self.path_and_query));
        let host = assembly.line(self.host());
        assembly.fields(&self.fields, |id, name| self.passes(id, name) && keeps(id, name), added);
        Self { fields: assembly.finish(), method, path_and_query, host, names_fields: false, ..*self }
    }

    /// Whether a field is not one that `Connection` names.
    fn passes(&self, id: Name, name: &[u8]) -> bool {
        !self.names_fields || !ends_here(&self.fields, id, name)
    }

    /// Another request of the same client, without a body: those fields that `keeps` keeps.
    pub(crate) fn redirected(
        &self,
        method: &str,
        path_and_query: &str,
        host: &str,
        keeps: impl Fn(Name, &[u8]) -> bool,
    ) -> Self {
        let mut assembly = Assembly::with_capacity(self.fields.bytes.len() + 256, self.fields.list.len());
        let [method, path_and_query, host] = [method, path_and_query, host].map(|text| assembly.line(text));
        assembly.fields(&self.fields, |id, name| self.passes(id, name) && keeps(id, name), std::iter::empty());
        let fields = assembly.finish();
        Self {
            fields,
            method,
            path_and_query,
            host,
            framing: Framing::None,
            upgrade: false,
            names_fields: false,
            ..*self
        }
    }

    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// Path and query as the client sent them, at least `/`. `*` only for OPTIONS.
    pub(crate) fn path_and_query(&self) -> (&str, Option<&str>) {
        match self.text(&self.path_and_query).split_once('?') {
            Some((path, query)) => (if path.is_empty() { "/" } else { path }, Some(query)),
            None if self.path_and_query.is_empty() => ("/", None),
            None => (self.text(&self.path_and_query), None),
        }
    }

    /// The host that is asked for, as sent, with its port; empty if none was told.
    pub(crate) fn host(&self) -> &str {
        self.text(&self.host)
    }

    /// The protocol that the client wants to change to. `h2c` is not offered to servers: it would take a connection out
    /// of the routes' reach.
    pub(crate) fn upgrade(&self) -> Option<&[u8]> {
        let protocol = self.fields.first(Name::Upgrade).filter(|_| self.upgrade)?;
        let is_h2c = tokens(protocol).any(|token| token.eq_ignore_ascii_case(b"h2c"));
        (!is_h2c && !protocol.is_empty() && self.fields.values(Name::Upgrade).count() == 1).then_some(protocol)
    }

    /// Whether this is the opening handshake of a websocket.
    pub(crate) fn is_websocket(&self) -> bool {
        self.upgrade().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    fn text(&self, range: &Range<u32>) -> &str {
        std::str::from_utf8(self.fields.slice(range)).unwrap_or_default()
    }
}

/// The head of a server's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The header fields.
    pub(crate) fields: Fields,
    /// The status, 100 to 999.
    pub(crate) status: u16,
    /// How the body is framed, with regard to the request's method.
    pub(crate) framing: Framing,
    /// The length that the server tells, even of a body that is not sent (HEAD, 304).
    pub(crate) told_length: Option<u64>,
    /// Whether the server is willing to go on with this connection.
    pub(crate) keep_alive: bool,
    /// Whether `Connection` names fields that end here.
    pub(crate) names_fields: bool,
    reason: Range<u32>,
}

impl Answer {
    /// Parses and checks the head of an answer to a request with `method` (RFC 9112 section 6.3).
    pub(crate) fn parse(bytes: Bytes, method: &str) -> Result<Self, Malformed> {
        let mut room = [MaybeUninit::<httparse::Header<'_>>::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let complete = config.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut room);
        match complete.map_err(malformed)? {
            httparse::Status::Complete(length) if length == bytes.len() => {}
            _ => return Err(Malformed::Syntax("head ends too early")),
        }
        let status =
            parsed.code.filter(|code| (100..=999).contains(code)).ok_or(Malformed::Syntax("invalid status"))?;
        let version = version(parsed.version);
        let reason = range_in(&bytes, parsed.reason.unwrap_or_default().as_bytes());
        let fields = Fields::new(&bytes, parsed.headers);
        let chunked = is_chunked(&fields, version)?;
        let told_length = content_length(&fields)?;
        let has_no_body = method == "HEAD" || (100..200).contains(&status) || status == 204 || status == 304;
        let framing = match told_length {
            _ if has_no_body => Framing::None,
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        };
        let connection = connection(&fields)?;
        let persistent = !connection.close && (version == Version::Http11 || connection.keep_alive);
        Ok(Self {
            fields,
            status,
            framing,
            told_length,
            keep_alive: persistent && framing != Framing::UntilClose,
            names_fields: connection.names_fields,
            reason,
        })
    }

    /// An answer of HTTP/2 to a request with `method`. `is_complete` says that nothing follows.
    pub(crate) fn assembled(fields: Fields, status: u16, method: &str, is_complete: bool) -> Result<Self, Malformed> {
        let has_no_body = method == "HEAD" || (100..200).contains(&status) || status == 204 || status == 304;
        let told_length = content_length(&fields)?.or((is_complete && !has_no_body).then_some(0));
        let framing = match told_length {
            _ if has_no_body => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        Ok(Self { fields, status, framing, told_length, keep_alive: true, names_fields: false, reason: 0..0 })
    }

    /// The same answer with other fields: those that `keeps` keeps, and `added` after them. As for requests, `Connection`
    /// takes none of these away.
    pub(crate) fn edited<'a>(
        &self,
        keeps: impl Fn(Name, &[u8]) -> bool,
        added: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut assembly = Assembly::with_capacity(self.fields.bytes.len() + 256, self.fields.list.len() + 8);
        let reason = assembly.line(std::str::from_utf8(self.reason()).unwrap_or_default());
        let passes = |id, name: &[u8]| !self.names_fields || !ends_here(&self.fields, id, name);
        assembly.fields(&self.fields, |id, name| passes(id, name) && keeps(id, name), added);
        Self { fields: assembly.finish(), reason, names_fields: false, ..*self }
    }

    /// The same answer with another status, which is one that has a body.
    pub(crate) fn with_status(mut self, status: u16, method: &str) -> Self {
        let mut assembly = Assembly::with_capacity(self.fields.bytes.len() + 64, self.fields.list.len());
        self.reason = assembly.line(super::write::reason(status));
        assembly.fields(&self.fields, |_, _| true, std::iter::empty());
        self.fields = assembly.finish();
        self.status = status;
        if self.framing == Framing::None && method != "HEAD" {
            self.told_length = Some(0);
        }
        self
    }

    /// Makes it the answer to HEAD. Its body is not read any more, so that the connection ends with it.
    pub(crate) fn drop_body(&mut self) {
        self.framing = Framing::None;
        self.keep_alive = false;
    }

    /// The reason phrase, possibly empty.
    pub(crate) fn reason(&self) -> &[u8] {
        self.fields.slice(&self.reason)
    }

    /// Whether this is an interim answer that is followed by another.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

#[cfg(test)]
mod tests;
