"""The names of all static options of Traefik 1.7: those that work, and those that are refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from traefikee.config.refusals import REFUSALS, TABLES

OptionKind: TypeAlias = Literal["string", "bool", "int", "duration", "list", "struct", "entrypoint"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of ``deploy``.

    :ivar name: dotted, as documented (``consul.endpoint``); its case does not matter on the command line.
    :ivar kind: ``struct`` switches a feature on, alone or with ``=true``, and ``=false`` switches it off; ``bool`` may
        stand alone too; ``list`` is repeatable and has several values at once; ``entrypoint``
        is repeatable, one each time.
    :ivar help: one sentence without a full stop.
    :ivar default: the default as text, for help.
    :ivar short: a one-letter form, or an empty text.
    :ivar separators: what separates the values of a list; a blank stands for any white space.
    :ivar secret: whether the value has to be kept out of logs and process lists.
    """

    name: str
    kind: OptionKind
    help: str
    default: str = ""
    short: str = ""
    secret: bool = False
    separators: str = ","

    def split(self, value: str) -> list[str]:
        """Return the values that one text of a list holds."""
        pattern = r"\s" if self.separators == " " else f"[{re.escape(self.separators)}]"
        return [part.strip() for part in re.split(pattern, value) if part.strip()]


OPTIONS: tuple[Option, ...] = (
    Option(
        "entryPoints",
        "entrypoint",
        "An entry point: 'Name:https Address::443 TLS:cert.pem,key.pem'; once for each",
        "Name:http Address::80",
    ),
    Option("defaultEntryPoints", "list", "Entry points of frontends that name none", "http"),
    Option("keepTrailingSlash", "bool", "Do not redirect between a path with and without its trailing slash", "false"),
    Option("allowMinWeightZero", "bool", "A server of weight 0 gets no requests (otherwise 0 counts as 1)", "false"),
    Option("logLevel", "string", "DEBUG, INFO, WARN, ERROR, FATAL or PANIC", "ERROR", "l"),
    Option("debug", "bool", "Log level DEBUG, unless logLevel says otherwise", "false", "d"),
    Option("insecureSkipVerify", "bool", "Do not verify the certificates of https servers", "false"),
    Option("rootCAs", "list", "Authorities of https servers (files or PEM), instead of the system's"),
    Option("providersThrottleDuration", "duration", "Least time between two configurations of a provider", "500ms"),
    Option("maxIdleConnsPerHost", "int", "Idle connections kept for each server; 0 stands for 2", "200"),
    Option("forwardingTimeouts.dialTimeout", "duration", "How long connecting to a server may take", "30s"),
    Option(
        "forwardingTimeouts.responseHeaderTimeout",
        "duration",
        "How long a server may take until its response's headers; 0: no limit",
        "0",
    ),
    Option("respondingTimeouts.readTimeout", "duration", "How long a whole request may take; 0: no limit", "0"),
    Option(
        "respondingTimeouts.writeTimeout",
        "duration",
        "How long a response may take, from the end of the request's headers; 0: no limit",
        "0",
    ),
    Option(
        "respondingTimeouts.stallTimeout",
        "duration",
        "How long a body may stand still because one side does not send or take it (not in 1.7); 0: no limit",
        "60s",
    ),
    Option("respondingTimeouts.idleTimeout", "duration", "How long an idle client connection is kept", "180s"),
    Option("idleTimeout", "duration", "Deprecated: use respondingTimeouts.idleTimeout; wins over it if above 0", "0"),
    Option(
        "lifeCycle.requestAcceptGraceTimeout",
        "duration",
        "How long a node that stops still accepts requests, while /ping answers 503",
        "0",
    ),
    Option("lifeCycle.graceTimeOut", "duration", "How long running requests may take when a node stops", "10s"),
    Option("graceTimeOut", "duration", "Deprecated: use lifeCycle.graceTimeOut; wins over it if above 0", "0", "g"),
    Option("retry", "struct", "Send a request again, to another server, if one does not answer", "false"),
    Option("retry.attempts", "int", "How often in all; 0: once for each server of the backend", "0"),
    Option("healthCheck", "struct", "Set how servers are checked", "false"),
    Option("healthCheck.interval", "duration", "Time between two checks where a backend does not say it", "30s"),
    Option("constraints", "list", "Use only servers whose tags match: 'tag==web-*', 'tag!=old'"),
    Option("api", "struct", "API and dashboard on the control nodes", "false"),
    Option("ping", "struct", "Answer /ping on an entry point", "false"),
    Option("ping.entryPoint", "string", "The entry point of /ping; traefik is made on :8080 if need be", "traefik"),
    Option("accessLog", "struct", "Log each request", "false"),
    Option("accessLog.filePath", "string", "The file on each data node, instead of its standard output"),
    Option("accessLog.format", "string", "common or json", "common"),
    Option("accessLog.bufferingSize", "int", "Lines that are gathered before they are written", "0"),
    Option("accessLog.filters", "struct", "Log only some requests: those that any filter accepts", "false"),
    Option("accessLog.filters.statusCodes", "list", "Log these statuses: 200,500-599", separators=",;"),
    Option("accessLog.filters.retryAttempts", "bool", "Log requests that took another attempt", "false"),
    Option("accessLog.filters.minDuration", "duration", "Log requests that took longer", "0"),
    Option("accessLog.fields", "struct", "Choose what is in a line", "false"),
    Option("accessLog.fields.defaultMode", "string", "keep or drop fields that are not named", "keep"),
    Option(
        "accessLog.fields.names", "list", "Fields to keep or drop: 'ClientHost=drop StartLocal=drop'", separators=" "
    ),
    Option("accessLog.fields.headers", "struct", "Choose which headers are in a line", "false"),
    Option("accessLog.fields.headers.defaultMode", "string", "keep, drop or redact headers that are not named", "keep"),
    Option(
        "accessLog.fields.headers.names",
        "list",
        "Headers to keep, drop or redact: 'User-Agent=keep Authorization=redact'",
        separators=" ",
    ),
    Option("accessLogsFile", "string", "Deprecated: use accessLog.filePath; wins over it"),
    Option("metrics", "struct", "Measure requests; needs metrics.prometheus too", "false"),
    Option("metrics.prometheus", "struct", "Metrics for Prometheus at /metrics of an entry point", "false"),
    Option(
        "metrics.prometheus.entryPoint",
        "string",
        "The entry point of /metrics; traefik is made on :8080 if need be",
        "traefik",
    ),
    Option(
        "metrics.prometheus.buckets",
        "list",
        "Upper bounds of the histograms' buckets in seconds",
        "0.1,0.3,1.2,5",
        separators=",;",
    ),
    Option("file", "struct", "Read frontends and backends from files, or from the configuration file itself", "false"),
    Option("file.filename", "string", "A file with frontends and backends (TOML; YAML or JSON by its suffix)"),
    Option("file.directory", "string", "A directory of such files, read with everything below it"),
    Option("file.watch", "bool", "Control nodes follow their own copy of that path", "false"),
    Option("license.endpoint", "string", "https URL of a server that judges the licence key, instead of bootstrap's"),
    Option("consul", "struct", "Read frontends and backends from Consul's key-value store", "false"),
    Option("consul.endpoint", "string", "Consul's host:port, several separated by commas", "127.0.0.1:8500"),
    Option("consul.watch", "bool", "Follow changes", "true"),
    Option("consul.prefix", "string", "Prefix of the keys", "traefik"),
    Option("consul.username", "string", "User name for Consul"),
    Option("consul.password", "string", "Password for Consul", secret=True),
    Option("consul.constraints", "list", "As constraints, for servers from Consul alone"),
    Option("consul.tls", "struct", "Speak TLS to Consul", "false"),
    Option("consul.tls.ca", "string", "Authorities of Consul's certificate (file or PEM), instead of the system's"),
    Option("consul.tls.cert", "string", "Client certificate for Consul (file or PEM)"),
    Option("consul.tls.key", "string", "Key of the client certificate (file or PEM)", secret=True),
    Option("consul.tls.insecureSkipVerify", "bool", "Do not verify Consul's certificate", "false"),
)

NOT_YET: frozenset[str] = frozenset(
    {
        "acme",
        "api.statistics",
        "consul.debugLogGeneratedTemplate",
        "consul.filename",
        "consul.templateVersion",
        "consul.tls.caOptional",
        "consul.trace",
        "consulCatalog",
        "docker",
        "dynamodb",
        "ecs",
        "etcd",
        "eureka",
        "file.constraints",
        "file.debugLogGeneratedTemplate",
        "file.templateVersion",
        "file.trace",
        "kubernetes",
        "marathon",
        "mesos",
        "metrics.datadog",
        "metrics.influxdb",
        "metrics.statsd",
        "rancher",
        "rest",
        "serviceFabric",
        "tracing",
        "zookeeper",
    }
)
"""Options of Traefik 1.7 that do not work yet; each stands for itself and for everything below it (``docker.*``)."""

_NOT_YET_FOLDED = frozenset(name.lower() for name in NOT_YET)
_BY_FOLDED = {option.name.lower(): option for option in OPTIONS} | {
    option.short: option for option in OPTIONS if option.short
}


KNOWN: tuple[str, ...] = (*(option.name for option in OPTIONS), *sorted(NOT_YET), *REFUSALS)
"""Every option of Traefik 1.7, for suggestions."""


def find_option(name: str) -> Option | None:
    """Return the option of this name (without dashes, in any case, or its one-letter form), or None."""
    return _BY_FOLDED.get(name.lower())


def is_not_yet(name: str) -> bool:
    """Tell whether a name is an option of Traefik 1.7 that this version does not implement."""
    parts = name.lower().split(".")
    return any(".".join(parts[:length]) in _NOT_YET_FOLDED for length in range(1, len(parts) + 1))


def top_level_names() -> frozenset[str]:
    """Return the first part of every static option's name, in lower case (``consul``, ``entrypoints``, ``docker``)."""
    names = {option.name for option in OPTIONS} | NOT_YET | set(REFUSALS) | TABLES | {"configFile"}
    return frozenset(name.split(".")[0].lower() for name in names)
