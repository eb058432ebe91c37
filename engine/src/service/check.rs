//! Asking servers whether they are healthy, from a thread of its own (`healthCheck` in Traefik 1.7).

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::Failure;
use crate::http::head::Answer;
use crate::http::scan::{Found, Scanner};
use crate::http::{Malformed, write};
use crate::http2;
use crate::io::Conn;
use crate::pool::connect::{Target, connect};
use crate::pool::multiplex::{Multiplexed, failure};
use crate::snapshot::table::Service;
use crate::snapshot::url;
use crate::tls::upstream::UpstreamTls;

/// Servers that are asked at the same time.
const AT_ONCE: usize = 256;
/// Redirects that are followed, as Go's client does.
const REDIRECTS: usize = 10;

/// What is asked of the servers of a service.
#[derive(Debug)]
pub(crate) struct Checks {
    /// Where each server is asked, in the service's order.
    pub(crate) servers: Vec<Asked>,
    /// What the path and query are.
    pub(crate) path: String,
    /// Fields beside `Host`.
    pub(crate) headers: Vec<(String, String)>,
    /// How often.
    pub(crate) interval: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// For servers that send elsewhere.
    pub(crate) tls: Arc<UpstreamTls>,
}

/// Where a server is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) host: String,
}

/// Has the servers of services asked. Its thread is started when there is something to ask.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    orders: Option<mpsc::UnboundedSender<Vec<Arc<Service>>>>,
}

impl Checker {
    /// From now on the servers of these services are asked, and no others. A service that was there before, the very
    /// same, is not disturbed.
    pub(crate) fn watch(&mut self, services: &[Arc<Service>]) {
        let checked: Vec<_> = services.iter().filter(|service| service.checks.is_some()).map(Arc::clone).collect();
        if checked.is_empty() && self.orders.is_none() {
            return;
        }
        if self.orders.is_none() {
            match start() {
                Ok(orders) => self.orders = Some(orders),
                Err(error) => {
                    tracing::error!(%error, "health checks cannot be started; all servers count as healthy");
                    return;
                }
            }
        }
        if let Some(orders) = &self.orders {
            // The thread ends with the process only.
            let _ = orders.send(checked);
        }
    }
}

fn start() -> io::Result<mpsc::UnboundedSender<Vec<Arc<Service>>>> {
    let (orders, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        match built {
            Ok(runtime) => runtime.block_on(run(receiver)),
            Err(error) => tracing::error!(%error, "health checks cannot be started; all servers count as healthy"),
        }
    })?;
    Ok(orders)
}

/// A service under watch.
struct Watched {
    service: Arc<Service>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn run(mut orders: mpsc::UnboundedReceiver<Vec<Arc<Service>>>) {
    let turns = Rc::new(Semaphore::new(AT_ONCE));
    let mut watched: HashMap<String, Watched> = HashMap::new();
    while let Some(services) = orders.recv().await {
        let mut before = std::mem::take(&mut watched);
        for service in services {
            let kept = before.remove(&service.id).filter(|it| Arc::ptr_eq(&it.service, &service));
            let kept = kept.unwrap_or_else(|| {
                let indices = 0..service.servers.len();
                let task =
                    |index| tokio::task::spawn_local(keep_asking(Arc::clone(&service), index, Rc::clone(&turns)));
                Watched { tasks: indices.map(task).collect(), service: Arc::clone(&service) }
            });
            watched.insert(service.id.clone(), kept);
        }
    }
}

async fn keep_asking(service: Arc<Service>, index: usize, turns: Rc<Semaphore>) {
    let Some(checks) = &service.checks else { return };
    let mut ticks = interval(checks.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let turn = turns.acquire().await;
        let result = match timeout(checks.timeout, ask(checks, index)).await {
            Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("it did not answer within {:?}", checks.timeout)),
        };
        drop(turn);
        let is_news = service.set_health(index, result.is_ok());
        let (server, service) = (service.servers.get(index).map_or("", |server| &server.url), &service.id);
        match result {
            Err(cause) if is_news => tracing::warn!(server, service, %cause, "server is down: its health check failed"),
            Err(cause) => tracing::debug!(server, service, %cause, "server is still down"),
            Ok(()) if is_news => tracing::warn!(server, service, "server is up again"),
            Ok(()) => {}
        }
    }
}

/// The status that a server answers with, after redirects.
async fn ask(checks: &Checks, index: usize) -> Result<u16, Failure> {
    let malformed = || Failure::ServerMalformed(Malformed::Syntax("a redirect to nowhere"));
    let asked = checks.servers.get(index).ok_or(Failure::NoServer)?;
    let (mut target, mut host, mut path) = (&asked.target, asked.host.clone(), checks.path.clone());
    let mut elsewhere;
    for _ in 0..=REDIRECTS {
        let answer = ask_once(target, &head(&path, &host, &checks.headers)).await?;
        let location = answer.fields.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(b"location"));
        let (301..=303 | 307 | 308, Some((_, _, location))) = (answer.status, location) else {
            return Ok(answer.status);
        };
        let location = std::str::from_utf8(location).map_err(|_| malformed())?;
        if location.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(malformed());
        }
        let (place, there) = resolve(location, &path);
        path = there;
        if let Some(place) = place {
            let parsed = url::parse(&place).map_err(|_| malformed())?;
            (elsewhere, host) = Target::of(parsed, &checks.tls).map_err(|_| malformed())?;
            target = &elsewhere;
        }
    }
    Err(malformed())
}

/// Where a redirect leads: another place, if it names one, and the path with its query (RFC 3986 section 5.2, but for
/// dot segments, which the server resolves).
fn resolve(location: &str, path: &str) -> (Option<String>, String) {
    let location = location.split('#').next().unwrap_or_default();
    if let Some((scheme, rest)) = location.split_once("://") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let there = match &rest[end..] {
            there if there.starts_with('/') => there.to_owned(),
            there => format!("/{there}"),
        };
        return (Some(format!("{scheme}://{}", &rest[..end])), there);
    }
    if location.starts_with('/') {
        return (None, location.to_owned());
    }
    let base = path.split('?').next().unwrap_or_default();
    match location.strip_prefix('?') {
        Some(_) => (None, format!("{base}{location}")),
        None => (None, format!("{}/{location}", base.rsplit_once('/').map_or("", |(folder, _)| folder))),
    }
}

fn head(path: &str, host: &str, headers: &[(String, String)]) -> BytesMut {
    let mut out = BytesMut::from(format!("GET {path} HTTP/1.1\r\n").as_bytes());
    write::field(&mut out, b"Host", host.as_bytes());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        write::field(&mut out, b"User-Agent", concat!("traefikee/", env!("CARGO_PKG_VERSION")).as_bytes());
    }
    for (name, value) in headers {
        write::field(&mut out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// One request on a connection of its own; the body is left unread.
async fn ask_once(target: &Target, head: &BytesMut) -> Result<Answer, Failure> {
    if target.speaks_only_http2() {
        let connection = Multiplexed::start(connect(target, None, false).await?).await?;
        let stream = connection.send(head.clone(), true)?;
        let (head, _) = stream.answer.await.map_err(failure)?.into_parts();
        return http2::head::answer(&head, "GET", true).map_err(Failure::ServerMalformed);
    }
    let mut conn = connect(target, None, true).await?;
    conn.send(head).await.map_err(|error| Failure::ServerClosed(Some(error)))?;
    let mut scanner = Scanner::default();
    loop {
        if let Found::Head { start, end } = scanner.scan(&conn.buffer).map_err(Failure::ServerMalformed)? {
            let bytes: Bytes = conn.buffer.split_to(end).split_off(start).freeze();
            let answer = Answer::parse(bytes, "GET").map_err(Failure::ServerMalformed)?;
            if !answer.is_interim() {
                return Ok(answer);
            }
            scanner = Scanner::default();
            continue;
        }
        fill(&mut conn).await?;
    }
}

async fn fill(conn: &mut Conn) -> Result<(), Failure> {
    match conn.fill().await {
        Ok(1..) => Ok(()),
        Ok(0) => Err(Failure::ServerClosed(None)),
        Err(error) => Err(Failure::ServerClosed(Some(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn redirects() {
        let place = |text: &str| Some(text.to_owned());
        assert_eq!(resolve("/b?c#d", "/a"), (None, "/b?c".to_owned()));
        assert_eq!(resolve("b", "/x/a?q=/"), (None, "/x/b".to_owned()));
        assert_eq!(resolve("?q", "/x/a?p"), (None, "/x/a?q".to_owned()));
        assert_eq!(resolve("http://h:1/b", "/a"), (place("http://h:1"), "/b".to_owned()));
        assert_eq!(resolve("https://h?q", "/a"), (place("https://h"), "/?q".to_owned()));
    }
}
