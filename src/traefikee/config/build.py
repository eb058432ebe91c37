"""From the options of a file and a command line to a static configuration, with every problem found at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from traefikee.config.addresses import check_licence_endpoint, same_listener, split_address
from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair, ReadFile, load_pem
from traefikee.config.constraints import parse_constraint
from traefikee.config.durations import parse_duration
from traefikee.config.entry_point import read_entry_point
from traefikee.config.entry_point_build import build_entry_point
from traefikee.config.entry_point_keys import Items
from traefikee.config.errors import ConfigurationError, Problem, did_you_mean, nearest
from traefikee.config.names import KNOWN, Option, find_option, is_not_yet
from traefikee.config.observability import Prometheus, build_access_log, build_prometheus
from traefikee.config.refusals import Refusal, find_refusal
from traefikee.config.settings import FileSettings, dynamic_problems
from traefikee.config.static import (
    ClientTLS,
    ConsulOptions,
    EntryPoint,
    FileOptions,
    ForwardingTimeouts,
    LifeCycle,
    LogLevel,
    Ping,
    RespondingTimeouts,
    Retry,
    StaticConfiguration,
)

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_LEVELS: dict[str, LogLevel] = {
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARN",
    "WARNING": "WARN",
    "ERROR": "ERROR",
    "FATAL": "FATAL",
    "PANIC": "PANIC",
}


def parse_bool(text: str) -> bool:
    """Return a boolean as Go's ``strconv.ParseBool`` reads it: 1, t, T, true, TRUE, True and their opposites.

    :raises ValueError: anything else.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'"{text}" is not a boolean; write true or false')


def _parse_int(text: str) -> int:
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        raise ValueError(f'"{text}" is not a whole number')
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    number = int(text, base)
    if number < 0:
        raise ValueError(f'"{text}" is negative')
    if number > 2**31 - 1:
        raise ValueError(f'"{text}" is too large')
    return number


def build_static(
    values: Sequence[tuple[str, str | None]], read_file: ReadFile, file: FileSettings | None = None
) -> StaticConfiguration:
    """Return the static configuration that a file and a command line ask for.

    A nested option switches its parent on (``consul.watch`` gives Consul); ``consul=false`` switches it off whatever is
    below it. Of a repeated scalar the last counts, lists append, and of two entry points of one name the last counts.
    The command line counts more than the file, option by option: its lists and entry points replace those of the file.

    :param values: option names without dashes, in any case, each with its value or None for a bare flag, in order.
    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    :raises ConfigurationError: with every problem.
    """
    builder = _Builder(read_file)
    if file is not None:
        builder.take_file(file)
    return builder.build(values)


class _Builder:
    """One pass over a file and a command line; problems are collected and raised at the end.

    :ivar places: where in the file (``traefik.toml:12``) an option is whose value the command line does not replace.
    """

    def __init__(self, read_file: ReadFile) -> None:
        self.read_file = read_file
        self.problems: list[Problem] = []
        self.texts: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        self.switches: dict[str, bool] = {}
        self.numbers: dict[str, int] = {}
        self.durations: dict[str, float] = {}
        self.places: dict[str, str] = {}
        self.entry_points: dict[str, tuple[EntryPoint, Items]] = {}
        self.broken_entry_point = False
        self.file: FileSettings | None = None

    def problem(self, name: str, message: str) -> None:
        place = self.places.get(name, "")
        self.problems.append(Problem(name if place else f"--{name}", message, place))

    def spell(self, name: str, beside: str) -> str:
        """Return an option's name as the source of another one would spell it."""
        return name if beside in self.places else f"--{name}"

    def take_file(self, file: FileSettings) -> None:
        self.problems.extend(file.problems)
        for setting in file.settings:
            name = setting.option.name
            self.places[name] = setting.place
            if setting.option.kind == "list":
                self.lists[name] = list(setting.values)
            else:
                self._try_to_store(setting.option, setting.values[0])
        for items in file.entry_points:
            self._take_entry_point(items)
        self.file = file

    def build(self, values: Sequence[tuple[str, str | None]]) -> StaticConfiguration:
        for name, value in values:
            option = find_option(name)
            refusal = find_refusal(name)
            if option is not None:
                self._keep(option, value)
            elif refusal is not None:
                self._refuse(name, value, refusal)
            elif is_not_yet(name):
                self.problem(name, f"--{name} is an option of Traefik 1.7 that this version does not implement yet")
            else:
                self.problem(name, _unknown(name))
        configuration = self._assemble()
        if self.problems:
            # Those of the file by line, then those of the command line as they were found.
            raise ConfigurationError(sorted(self.problems, key=_line))
        return configuration

    def _refuse(self, name: str, value: str | None, refusal: Refusal) -> None:
        if (value or "true").lower() != refusal.harmless:
            self.problem(name, refusal.reason)
        parent = find_option(name.rpartition(".")[0])
        if parent is not None and parent.kind == "struct":
            self.switches.setdefault(parent.name, True)

    def _keep(self, option: Option, value: str | None) -> None:
        """Keep what the command line says about an option, instead of what the file does."""
        name = option.name
        if self.places.pop(name, None) is not None:
            self.lists.pop(name, None)
        self._undo_switches(name)
        if option.kind in ("bool", "struct"):
            value = "true" if value is None else value
        elif not value:
            self.problem(name, f"--{name} needs a value; write --{name}=..." if value is None else "its value is empty")
            return
        if any("\ud800" <= char <= "\udfff" for char in value or ""):
            self.problem(name, "its value is not UTF-8")
            return
        self._try_to_store(option, value or "")

    def _undo_switches(self, name: str) -> None:
        """An option switches on what it is below, even if the file has switched that off."""
        parts = name.split(".")
        for length in range(1, len(parts)):
            parent = ".".join(parts[:length])
            if parent in self.places and self.switches.get(parent) is False:
                del self.switches[parent]

    def _try_to_store(self, option: Option, value: str) -> None:
        try:
            self._store(option, value)
        except ValueError as error:
            self.problem(option.name, str(error))

    def _store(self, option: Option, value: str) -> None:
        name = option.name
        match option.kind:
            case "bool" | "struct":
                self.switches[name] = parse_bool(value)
            case "int":
                self.numbers[name] = _parse_int(value)
            case "duration":
                self.durations[name] = parse_duration(value)
            case "list":
                self.lists.setdefault(name, []).extend(option.split(value))
            case "entrypoint":
                self._take_entry_point(read_entry_point(value))
            case "string":
                self.texts[name] = value

    def _take_entry_point(self, items: Items) -> None:
        entry_point = build_entry_point(items, self.read_file)
        self.entry_points.pop(entry_point.name, None)
        self.entry_points[entry_point.name] = (entry_point, items)
        self.broken_entry_point |= bool(items.problems)
        self._collect(items)

    def _collect(self, items: Items) -> None:
        self.problems.extend(items.problems)
        items.problems.clear()

    def _assemble(self) -> StaticConfiguration:
        ping = self._ping()
        prometheus = build_prometheus(self)
        entry_points = self._entry_points(ping, prometheus)
        debug = self.switches.get("debug", False)
        return StaticConfiguration(
            entry_points=entry_points,
            default_entry_points=self._default_entry_points(entry_points),
            keep_trailing_slash=self.switches.get("keepTrailingSlash", False),
            allow_min_weight_zero=self.switches.get("allowMinWeightZero", False),
            debug=debug,
            log_level=self._log_level(debug=debug),
            insecure_skip_verify=self.switches.get("insecureSkipVerify", False),
            root_cas=self._authorities("rootCAs", self.lists.get("rootCAs", [])),
            providers_throttle_duration=self.durations.get("providersThrottleDuration", 0.5),
            max_idle_conns_per_host=self.numbers.get("maxIdleConnsPerHost", 200),
            forwarding_timeouts=ForwardingTimeouts(
                dial_timeout=self.durations.get("forwardingTimeouts.dialTimeout", 30.0),
                response_header_timeout=self.durations.get("forwardingTimeouts.responseHeaderTimeout", 0.0),
            ),
            responding_timeouts=RespondingTimeouts(
                read_timeout=self.durations.get("respondingTimeouts.readTimeout", 0.0),
                write_timeout=self.durations.get("respondingTimeouts.writeTimeout", 0.0),
                stall_timeout=self.durations.get("respondingTimeouts.stallTimeout", 60.0),
                idle_timeout=self.durations.get("idleTimeout")
                or self.durations.get("respondingTimeouts.idleTimeout", 180.0),
            ),
            life_cycle=LifeCycle(
                request_accept_grace_timeout=self.durations.get("lifeCycle.requestAcceptGraceTimeout", 0.0),
                grace_time_out=self.durations.get("graceTimeOut") or self.durations.get("lifeCycle.graceTimeOut", 10.0),
            ),
            retry=Retry(attempts=self.numbers.get("retry.attempts", 0)) if self.given("retry") else None,
            health_check_interval=self._health_check_interval(),
            constraints=self._constraints("constraints"),
            api=self.switches.get("api", False),
            license_endpoint=self._license_endpoint(),
            ping=ping,
            access_log=build_access_log(self),
            prometheus=prometheus,
            file=self._file_provider(),
            consul=self._consul(),
        )

    def given(self, parent: str) -> bool:
        """Tell whether a struct is switched on: by itself, or by an option below it."""
        if parent in self.switches:
            return self.switches[parent]
        named = (self.texts, self.switches, self.lists, self.numbers, self.durations)
        return any(name.startswith(parent + ".") for names in named for name in names)

    def _log_level(self, *, debug: bool) -> LogLevel:
        text = self.texts.get("logLevel")
        if text is None:
            return "DEBUG" if debug else "ERROR"
        level = _LEVELS.get(text.upper())
        if level is None:
            self.problem("logLevel", f'"{text}" is not one of DEBUG, INFO, WARN, ERROR, FATAL, PANIC')
            return "ERROR"
        return level

    def _license_endpoint(self) -> str:
        text = self.texts.get("license.endpoint", "")
        try:
            return check_licence_endpoint(text) if text else ""
        except ValueError as error:
            self.problem("license.endpoint", str(error))
            return ""

    def _ping(self) -> Ping | None:
        return Ping(entry_point=self.texts.get("ping.entryPoint", "traefik")) if self.given("ping") else None

    def _entry_points(self, ping: Ping | None, prometheus: Prometheus | None) -> tuple[EntryPoint, ...]:
        """Return the entry points, with those that come by themselves: ``http``, ``traefik`` for ping and metrics."""
        found = dict(self.entry_points)
        if not found and not self.broken_entry_point:
            found["http"] = (EntryPoint(name="http", address=":80"), Items("http", texts=True))
        internal = [("ping.entryPoint", ping), ("metrics.prometheus.entryPoint", prometheus)]
        for option, feature in internal:
            if feature is None or feature.entry_point in found or self.broken_entry_point:
                continue
            if feature.entry_point == "traefik":
                found["traefik"] = (EntryPoint(name="traefik", address=":8080"), Items("traefik", texts=True))
            else:
                self.problem(option, _undefined(feature.entry_point, list(found)))
        if not self.broken_entry_point:
            self._check_listeners(list(found.values()))
            self._check_redirects(found)
        return tuple(entry_point for entry_point, _ in found.values())

    def _check_listeners(self, found: Sequence[tuple[EntryPoint, Items]]) -> None:
        for index, (entry_point, items) in enumerate(found):
            for other, _ in found[:index]:
                if same_listener(entry_point.address, other.address):
                    items.problem(
                        "address", f'"{entry_point.address}" is already the address of entry point "{other.name}"'
                    )
                    self._collect(items)

    def _check_redirects(self, found: Mapping[str, tuple[EntryPoint, Items]]) -> None:
        """An entry point can send its clients to another one, and not in a circle."""
        targets = {
            name: entry_point.redirect.entry_point
            for name, (entry_point, _) in found.items()
            if entry_point.redirect and entry_point.redirect.entry_point
        }
        for name, target in targets.items():
            items = found[name][1]
            way = [name]
            while target in targets and target not in way:
                way.append(target)
                target = targets[target]
            if targets[name] not in found:
                items.problem("redirect.entryPoint", _undefined(targets[name], list(found)))
            elif targets[name] == name:
                items.problem("redirect.entryPoint", "is the entry point itself")
            elif target == name:
                items.problem("redirect.entryPoint", f"redirects in a circle: {' -> '.join([*way, name])}")
            self._collect(items)

    def _health_check_interval(self) -> float:
        option = "healthCheck.interval"
        interval = self.durations.get(option, 30.0)
        if not interval:
            self.problem(option, "has to be above 0")
        return interval

    def _constraints(self, option: str) -> tuple[str, ...]:
        for text in self.lists.get(option, []):
            try:
                parse_constraint(text)
            except ValueError as error:
                self.problem(option, str(error))
        return tuple(self.lists.get(option, []))

    def _default_entry_points(self, entry_points: Sequence[EntryPoint]) -> tuple[str, ...]:
        option = "defaultEntryPoints"
        if option not in self.lists:
            return ("http",)
        names = tuple(dict.fromkeys(self.lists[option]))
        if not names:
            self.problem(option, "names no entry point")
        if not self.broken_entry_point:
            known = [entry_point.name for entry_point in entry_points]
            for name in names:
                if name not in known:
                    self.problem(option, _undefined(name, known))
        return names

    def _pem(self, option: str, text: str) -> str:
        if not text:
            return ""
        try:
            pem = load_pem(text, self.read_file)
        except ValueError as error:
            self.problem(option, str(error))
            return ""
        return pem if pem.endswith("\n") else pem + "\n"

    def _authorities(self, option: str, texts: Sequence[str]) -> str:
        found = []
        for text in texts:
            pem = self._pem(option, text)
            reason = check_certificates(pem) if pem else None
            if reason:
                self.problem(option, reason)
            found.append(pem)
        return "".join(found)

    def _file_provider(self) -> FileOptions | None:
        options = FileOptions(
            filename=self.texts.get("file.filename", ""),
            directory=self.texts.get("file.directory", ""),
            watch=self.switches.get("file.watch", False),
        )
        given = self.given("file")
        named = bool(options.filename or options.directory)
        if options.filename and options.directory:
            self.problem("file.directory", f"{self.spell('file.filename', 'file.directory')} is given too; keep one")
        if given and options.watch and not named:
            self.problem("file.watch", "there is no file to watch: the configuration file is read by deploy alone")
        elif given and not named and (self.file is None or not self.file.dynamic):
            filename, directory = (self.spell(f"file.{part}", "file") for part in ("filename", "directory"))
            text = f"there is nothing to read: give {filename} or {directory}, or put [backends] and [frontends] into"
            self.problem("file", f"{text} the configuration file")
        if self.file is not None:
            self.problems.extend(dynamic_problems(self.file, options if given else None))
        return options if given else None

    def _consul(self) -> ConsulOptions | None:
        username, password = self.texts.get("consul.username", ""), self.texts.get("consul.password", "")
        if password and not username:
            self.problem("consul.password", f"also needs {self.spell('consul.username', 'consul.password')}")
        options = ConsulOptions(
            endpoint=self.texts.get("consul.endpoint", "127.0.0.1:8500"),
            watch=self.switches.get("consul.watch", True),
            prefix=self.texts.get("consul.prefix", "traefik").strip("/"),
            username=username,
            password=password,
            constraints=self._constraints("consul.constraints"),
            tls=self._client_tls("consul.tls"),
        )
        if not options.prefix:
            self.problem("consul.prefix", "the prefix is empty")
        if not options.endpoints:
            self.problem("consul.endpoint", "names no host:port")
        for endpoint in options.endpoints:
            self._check_endpoint("consul.endpoint", endpoint)
        return options if self.given("consul") else None

    def _check_endpoint(self, option: str, endpoint: str) -> None:
        username, password, tls = (self.spell(f"consul.{part}", option) for part in ("username", "password", "tls"))
        if "@" in endpoint:
            self.problem(option, f"contains a user name; use {username} and {password}")
            return
        if "://" in endpoint:
            bare = endpoint.partition("://")[2].rstrip("/")
            self.problem(option, f'"{endpoint}" has a scheme; write {bare} (and {tls} for TLS)')
            return
        try:
            host, port = split_address(endpoint)
        except ValueError as error:
            self.problem(option, str(error))
            return
        if not host or not port:
            self.problem(option, f'"{endpoint}" is not of the form host:port')

    def _client_tls(self, parent: str) -> ClientTLS | None:
        texts = {part: self.texts.get(f"{parent}.{part}", "") for part in ("ca", "cert", "key")}
        for part, other in (("cert", "key"), ("key", "cert")):
            if texts[part] and not texts[other]:
                name = f"{parent}.{part}"
                self.problem(name, f"also needs {self.spell(f'{parent}.{other}', name)}")
        cert, key = self._pem(f"{parent}.cert", texts["cert"]), self._pem(f"{parent}.key", texts["key"])
        reason = check_pair(CertificatePair(chain_pem=cert, key_pem=key)) if cert and key else None
        if reason:
            self.problem(f"{parent}.cert", reason)
        tls = ClientTLS(
            ca=self._authorities(f"{parent}.ca", [texts["ca"]] if texts["ca"] else []),
            cert=cert,
            key=key,
            insecure_skip_verify=self.switches.get(f"{parent}.insecureSkipVerify", False),
        )
        return tls if self.given(parent) else None


def _line(problem: Problem) -> int:
    number = problem.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0 if problem.where else sys.maxsize


def _unknown(name: str) -> str:
    near = nearest(name, (*KNOWN, "configFile"))
    return f"unknown option --{name}" + (f"; did you mean --{near}?" if near else "")


def _undefined(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known) or f" (defined: {', '.join(known)})"
    return f'entry point "{name}" is not defined{hint}'
