"""The static options of the access log and of the metrics, as Traefik 1.7 has them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

from pydantic import Field

from traefikee.config.errors import did_you_mean
from traefikee.config.model import Model

AccessLogFormat: TypeAlias = Literal["common", "json"]
FieldMode: TypeAlias = Literal["keep", "drop"]
HeaderMode: TypeAlias = Literal["keep", "drop", "redact"]

M = TypeVar("M", bound=str)

FIELDS = (
    "BackendAddr",
    "BackendName",
    "BackendURL",
    "ClientAddr",
    "ClientHost",
    "ClientPort",
    "ClientUsername",
    "DownstreamContentSize",
    "DownstreamStatus",
    "DownstreamStatusLine",
    "Duration",
    "FrontendName",
    "GzipRatio",
    "OriginContentSize",
    "OriginDuration",
    "OriginStatus",
    "OriginStatusLine",
    "Overhead",
    "RequestAddr",
    "RequestContentSize",
    "RequestCount",
    "RequestHost",
    "RequestLine",
    "RequestMethod",
    "RequestPath",
    "RequestPort",
    "RequestProtocol",
    "RetryAttempts",
    "StartLocal",
    "StartUTC",
)
"""Every field of an access log's line."""

BUCKETS = (0.1, 0.3, 1.2, 5.0)
LARGEST_BUFFER = 100_000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS_CODES = re.compile(r"([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?")
_FIELD_MODES: dict[str, FieldMode] = {"keep": "keep", "drop": "drop"}
_HEADER_MODES: dict[str, HeaderMode] = {"keep": "keep", "drop": "drop", "redact": "redact"}


class AccessLog(Model):
    """One line for each request.

    :ivar file_path: empty for the standard output of the data node.
    :ivar buffering_size: lines that are gathered before they are written; 0 writes without waiting for more.
    :ivar status_codes: ranges, both ends included; with ``retry_attempts`` and ``min_duration`` (seconds) the filters.
        A request is logged if any of them accepts it, or if there is none.
    :ivar field_modes: by field.
    :ivar header_modes: by header, whatever its case.
    """

    file_path: str = ""
    format: AccessLogFormat = "common"
    buffering_size: int = 0
    status_codes: tuple[tuple[int, int], ...] = ()
    retry_attempts: bool = False
    min_duration: float = 0.0
    fields_mode: FieldMode = "keep"
    field_modes: dict[str, FieldMode] = Field(default_factory=dict)
    headers_mode: HeaderMode = "keep"
    header_modes: dict[str, HeaderMode] = Field(default_factory=dict)


class Prometheus(Model):
    """Metrics at ``/metrics`` of an entry point; ``buckets`` are the upper bounds of the histograms, in seconds."""

    entry_point: str = "traefik"
    buckets: tuple[float, ...] = BUCKETS


class Given(Protocol):
    """What a command line says, by option."""

    texts: dict[str, str]
    lists: dict[str, list[str]]
    switches: dict[str, bool]
    numbers: dict[str, int]
    durations: dict[str, float]

    def given(self, parent: str) -> bool:
        """Tell whether a struct is switched on: by itself, or by an option below it."""

    def problem(self, name: str, message: str) -> None:
        """Keep a problem of an option."""


def build_access_log(options: Given) -> AccessLog | None:
    """Return what a command line says about the access log, or None if it asks for none."""
    # The deprecated option is a shortcut for the log in its common format.
    shortcut = options.texts.get("accessLogsFile", "")
    format_text = "common" if shortcut else options.texts.get("accessLog.format", "common")
    log = AccessLog(
        file_path=shortcut or options.texts.get("accessLog.filePath", ""),
        format="json" if format_text == "json" else "common",
        buffering_size=options.numbers.get("accessLog.bufferingSize", 0),
        status_codes=_status_codes(options, "accessLog.filters.statusCodes"),
        retry_attempts=options.switches.get("accessLog.filters.retryAttempts", False),
        min_duration=options.durations.get("accessLog.filters.minDuration", 0.0),
        fields_mode=_mode(options, "accessLog.fields.defaultMode", _FIELD_MODES, "keep"),
        field_modes=_field_modes(options, "accessLog.fields.names"),
        headers_mode=_mode(options, "accessLog.fields.headers.defaultMode", _HEADER_MODES, "keep"),
        header_modes=_header_modes(options, "accessLog.fields.headers.names"),
    )
    if format_text not in ("common", "json"):
        options.problem("accessLog.format", f'"{format_text}" is not one of common, json')
    if log.buffering_size > LARGEST_BUFFER:
        options.problem("accessLog.bufferingSize", f"{log.buffering_size} lines are more than {LARGEST_BUFFER}")
    if options.switches.get("accessLog.filters") is False:
        log = log.model_copy(update={"status_codes": (), "retry_attempts": False, "min_duration": 0.0})
    return log if shortcut or options.given("accessLog") else None


def build_prometheus(options: Given) -> Prometheus | None:
    """Return what a command line says about the metrics, or None if it asks for none; ``metrics`` alone does not."""
    option = "metrics.prometheus.buckets"
    buckets = []
    for text in options.lists.get(option, []):
        try:
            bound = float(text)
        except ValueError:
            bound = 0.0
        if not 0 < bound < float("inf"):
            options.problem(option, f'"{text}" is not a number of seconds above 0')
        buckets.append(bound)
    if any(after <= before for before, after in itertools.pairwise(buckets)):
        options.problem(option, "the buckets do not rise")
    made = Prometheus(
        entry_point=options.texts.get("metrics.prometheus.entryPoint", "traefik"), buckets=tuple(buckets) or BUCKETS
    )
    switched_off = options.switches.get("metrics") is False
    return made if options.given("metrics.prometheus") and not switched_off else None


def _status_codes(options: Given, option: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for text in options.lists.get(option, []):
        match = _STATUS_CODES.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            options.problem(option, f'"{text}" is neither a status (404) nor a range of them (500-599)')
        else:
            ranges.append((first, last))
    return tuple(ranges)


def _mode(options: Given, option: str, modes: Mapping[str, M], default: M) -> M:
    text = options.texts.get(option)
    if text is None:
        return default
    if text not in modes:
        options.problem(option, _no_mode(text, modes))
    return modes.get(text, default)


def _no_mode(text: str, modes: Mapping[str, str]) -> str:
    return f'"{text}" is not one of {", ".join(modes)}'


def _pairs(options: Given, option: str, modes: Mapping[str, M]) -> Sequence[tuple[str, M]]:
    """Return ``name=mode`` pairs; those that are none are problems."""
    found = []
    for text in options.lists.get(option, []):
        name, equals, mode = text.partition("=")
        if not name or not equals:
            options.problem(option, f'"{text}" is not of the form Name=mode; several are separated by spaces')
        elif mode not in modes:
            options.problem(option, f"{name}: {_no_mode(mode, modes)}")
        else:
            found.append((name, modes[mode]))
    return found


def _field_modes(options: Given, option: str) -> dict[str, FieldMode]:
    known = {name.lower(): name for name in FIELDS}
    modes = {}
    for name, mode in _pairs(options, option, _FIELD_MODES):
        if name.lower() in known:
            modes[known[name.lower()]] = mode
        else:
            options.problem(option, f'the access log has no field "{name}"{did_you_mean(name, FIELDS)}')
    return dict(sorted(modes.items()))


def _header_modes(options: Given, option: str) -> dict[str, HeaderMode]:
    modes = {}
    for name, mode in _pairs(options, option, _HEADER_MODES):
        if _TOKEN.fullmatch(name):
            modes[name.lower()] = mode
        else:
            options.problem(option, f'"{name}" is not a header\'s name')
    return dict(sorted(modes.items()))
