//! The text that Prometheus reads (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use super::process;
use super::series::{Bounds, Sums};
use crate::snapshot::table::Service;
use crate::state::Shared;

/// Everything that is known now.
pub(super) fn render(shared: &Shared) -> String {
    let tables = shared.tables.load_full();
    let bounds = tables.settings.metrics.as_deref();
    let mut out = Text::default();

    reloads(&mut out, shared);
    let mut entry_points = BTreeMap::<&str, Sums>::new();
    for entry_point in tables.entry_points.values() {
        entry_point.stats.series.add_to(entry_points.entry(&entry_point.name).or_default());
    }
    requests(&mut out, "entrypoint", &entry_points, bounds);

    // Backends of different providers may have the same name, which is all that Traefik shows.
    let mut backends = BTreeMap::<&str, Vec<&Service>>::new();
    for service in &tables.services {
        backends.entry(service.name()).or_default().push(service);
    }
    let mut sums = BTreeMap::<&str, Sums>::new();
    for (name, services) in &backends {
        let sums = sums.entry(name).or_default();
        services.iter().for_each(|service| service.stats.series.add_to(sums));
    }
    requests(&mut out, "backend", &sums, bounds);
    drop(sums);
    servers(&mut out, &backends);
    engine(&mut out, shared, tables.revision);
    process(&mut out, shared);
    out.text
}

fn reloads(out: &mut Text, shared: &Shared) {
    let reloads = &shared.metrics.reloads;
    out.family("traefik_config_reloads_total", "counter", "Snapshots that were to be put in force.");
    out.sample("", reloads.total.load(Relaxed));
    out.family("traefik_config_reloads_failure_total", "counter", "Snapshots that were refused.");
    out.sample("", reloads.failures.load(Relaxed));
    out.family("traefik_config_last_reload_success", "gauge", "When a snapshot was last put in force, in Unix time.");
    out.sample("", reloads.last_success.load(Relaxed));
    out.family("traefik_config_last_reload_failure", "gauge", "When a snapshot was last refused, in Unix time.");
    out.sample("", reloads.last_failure.load(Relaxed));
}

/// The three families of requests of entry points or of backends.
fn requests(out: &mut Text, kind: &str, objects: &BTreeMap<&str, Sums>, bounds: Option<&Bounds>) {
    let mut rows = Vec::new();
    for (object, sums) in objects {
        for ((code, method, protocol), ended) in &sums.ended {
            // Labels stand in the order of their names, as Prometheus' own library has them.
            let object = escaped(object);
            let labels = match kind {
                "backend" => {
                    format!("backend=\"{object}\",code=\"{code}\",method=\"{method}\",protocol=\"{protocol}\"")
                }
                _ => format!("code=\"{code}\",{kind}=\"{object}\",method=\"{method}\",protocol=\"{protocol}\""),
            };
            rows.push((labels, ended));
        }
    }
    let what = if kind == "backend" { "a backend" } else { "an entry point" };
    let help = format!("Requests of {what} that have ended, by status, method and protocol.");
    out.family(&format!("traefik_{kind}_requests_total"), "counter", &help);
    for (labels, ended) in &rows {
        out.sample(labels, ended.count);
    }

    let help = format!("How long requests of {what} took, by status, method and protocol.");
    let name = format!("traefik_{kind}_request_duration_seconds");
    out.family(&name, "histogram", &help);
    let bounds: Vec<String> = bounds.map_or(&[][..], |bounds| &bounds.seconds).iter().map(f64::to_string).collect();
    for (labels, ended) in &rows {
        let mut total = 0;
        for (bound, count) in bounds.iter().zip(&ended.buckets) {
            total += count;
            out.named(&name, "_bucket", labels, &format!(",le=\"{bound}\""), total);
        }
        out.named(&name, "_bucket", labels, ",le=\"+Inf\"", ended.count);
        out.named(&name, "_sum", labels, "", ended.nanoseconds as f64 / 1e9);
        out.named(&name, "_count", labels, "", ended.count);
    }

    let help = format!("Requests of {what} that have not ended, by method and protocol.");
    out.family(&format!("traefik_{kind}_open_connections"), "gauge", &help);
    for (object, sums) in objects {
        for ((method, protocol), count) in &sums.open {
            let object = escaped(object);
            out.sample(&format!("{kind}=\"{object}\",method=\"{method}\",protocol=\"{protocol}\""), *count);
        }
    }
}

fn servers(out: &mut Text, backends: &BTreeMap<&str, Vec<&Service>>) {
    out.family("traefik_backend_retries_total", "counter", "Attempts after a request's first.");
    for (name, services) in backends {
        let retries: u64 = services.iter().map(|service| service.stats.retries()).sum();
        if retries > 0 {
            out.sample(&format!("backend=\"{}\"", escaped(name)), retries);
        }
    }
    out.family("traefik_backend_server_up", "gauge", "Whether a server gets requests: 1, or 0.");
    for (name, services) in backends {
        let mut urls = BTreeMap::<&str, bool>::new();
        for service in services {
            for (index, server) in service.servers.iter().enumerate() {
                *urls.entry(&server.url).or_default() |= service.is_up(index);
            }
        }
        for (url, up) in urls {
            out.sample(&format!("backend=\"{}\",url=\"{}\"", escaped(name), escaped(url)), u64::from(up));
        }
    }
}

/// What Traefik does not have.
fn engine(out: &mut Text, shared: &Shared, revision: Option<u64>) {
    out.family("traefikee_build_info", "gauge", "The engine's version.");
    out.sample(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1_u64);
    out.family("traefikee_snapshot_revision", "gauge", "The revision of the snapshot in force.");
    out.sample("", revision.unwrap_or_default());
    out.family("traefikee_connections_accepted_total", "counter", "Connections of clients.");
    out.sample("", crate::stats::sum(shared, |stats| stats.accepted.get()));
    out.family("traefikee_connections_refused_total", "counter", "Connections of clients that were not let in.");
    out.sample("", crate::stats::sum(shared, |stats| stats.refused.get()));
    out.family("traefikee_connections_open", "gauge", "Connections of clients that are open.");
    out.sample("", crate::stats::sum(shared, |stats| stats.open.get()));
    out.family("traefikee_connections_panicked_total", "counter", "Connections that ended by a defect of the engine.");
    out.sample("", crate::stats::sum(shared, |stats| stats.panicked.get()));
    out.family("traefikee_response_bytes_total", "counter", "Bytes of the bodies that clients got.");
    out.sample("", crate::stats::sum(shared, |stats| stats.response_bytes.get()));
    out.family("traefikee_failures_total", "counter", "Requests that failed, by the cause.");
    for (cause, count) in crate::stats::causes(shared) {
        out.sample(&format!("cause=\"{cause}\""), count);
    }
    out.family("traefikee_access_log_lines_written_total", "counter", "Lines of the access log that were written.");
    out.sample("", shared.metrics.log.written());
    out.family("traefikee_access_log_lines_dropped_total", "counter", "Lines of the access log that were lost.");
    out.sample("", shared.metrics.log.dropped());
}

fn process(out: &mut Text, shared: &Shared) {
    if let Some(usage) = process::usage() {
        out.family("process_cpu_seconds_total", "counter", "User and system time of the engine.");
        out.sample("", usage.cpu_seconds);
        out.family("process_virtual_memory_bytes", "gauge", "Virtual memory of the engine.");
        out.sample("", usage.virtual_bytes);
        out.family("process_resident_memory_bytes", "gauge", "Resident memory of the engine.");
        out.sample("", usage.resident_bytes);
    }
    if let Some(open) = process::open_files() {
        out.family("process_open_fds", "gauge", "Files and connections that the engine has open.");
        out.sample("", open);
    }
    if let Some(most) = process::most_files() {
        out.family("process_max_fds", "gauge", "Files and connections that it may have open.");
        out.sample("", most);
    }
    out.family("process_start_time_seconds", "gauge", "When the engine started, in Unix time.");
    out.sample("", shared.metrics.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
}

/// The text, and the name of the family that was begun last.
#[derive(Default)]
struct Text {
    text: String,
    name: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to memory does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name.to_owned();
    }

    /// A sample of the family that was begun last.
    fn sample(&mut self, labels: &str, value: impl std::fmt::Display) {
        let name = std::mem::take(&mut self.name);
        self.named(&name, "", labels, "", value);
        self.name = name;
    }

    fn named(&mut self, name: &str, suffix: &str, labels: &str, more: &str, value: impl std::fmt::Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        if !labels.is_empty() {
            self.text.push('{');
            self.text.push_str(labels);
            self.text.push_str(more);
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A label's value.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\\', '"', '\n']) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}
