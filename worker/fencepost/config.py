"""The configuration: every limit and period of a worker or client, its default, its bounds and its reason.

Three sources, the later ones winning: the defaults below, one TOML file, the environment (``FENCEPOST_<FIELD>``); then
what the caller passes (command line options). ``config.example.toml`` is this table in the form of a file, and a test
keeps the two equal. Reading raises ConfigError.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from fencepost import server_urls
from fencepost.errors import FencepostError

PREFIX = "FENCEPOST_"
FILE_NAME = "fencepost.toml"
"""Read from the working folder if neither FENCEPOST_CONFIG nor the caller names a file."""
UNNAMED_BUILD = "dev"
"""The build of whoever has not named one, so two that have it may still be of two versions."""

Positive = Annotated[float, Meta(gt=0, le=31_536_000)]
"""Seconds, up to a year: infinity is not a limit."""
Count = Annotated[int, Meta(ge=1)]
_CODEC = r"^(zlib|aes-gcm|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*)$"
_NAME = r"^[a-z][a-z0-9_]{0,40}$"
_QUEUE = r"^[A-Za-z0-9_.-]{1,80}$"
CodecName = Annotated[str, Meta(pattern=_CODEC)]
"""A codec of fencepost's, or MODULE:NAME of one of your own."""

Ratio = Annotated[float, Meta(gt=0, le=1)]
Name = Annotated[str, Meta(pattern=_NAME)]
QueueName = Annotated[str, Meta(pattern=_QUEUE)]


_IN_WORDS = {
    _NAME: "it must have 1 to 41 characters, lower-case letters, digits and _, and begin with a letter",
    _QUEUE: "a queue's name has 1 to 80 characters, letters, digits, _, . and -",
    _CODEC: "a codec is zlib, aes-gcm, or MODULE:NAME of one of your own",
}
"""What a pattern asks for, in words."""


SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
"""What Kubernetes puts into every pod's environment for a Service that happens to be called ``fencepost``: no
settings.
"""


HIDDEN = ("payload_keys", "webhook_secrets")
"""Settings that are never shown."""


class ConfigError(FencepostError):
    """A setting that cannot be used. The message names the source, the field, the value, the bound and the way out."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of one process. Units stand last in the names. Terms: docs/protocol.md, section 1."""

    # Where the servers are. Empty: the dev servers of ./.fencepost, never so in production.
    database_url: str = ""
    redis_url: str = ""
    namespace: Name = "fencepost"
    env: Literal["development", "production", "test"] = "development"

    # What a worker takes on.
    queues: Annotated[tuple[QueueName, ...], Meta(min_length=1)] = ("default",)
    processes: Annotated[int, Meta(ge=1, le=1024)] = 1
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 64
    shards: Annotated[int, Meta(ge=1, le=256)] = 1
    build: str = UNNAMED_BUILD
    divergence: Literal["park", "fail"] = "park"
    drain_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 25.0
    health_file: str = ""
    http: str = ""
    webhook_secrets: str = ""

    # Leases and what follows from them.
    lease_seconds: Positive = 10.0
    renewal_seconds: Positive = 3.0
    idle_block_seconds: Positive = 2.0
    suspect_crashes: Count = 2
    poison_proofs: Count = 2

    # Deadlines and the reconciler.
    reconcile_period_seconds: Positive = 5.0
    grace_seconds: Positive = 10.0
    recovery_interval_seconds: Positive = 60.0
    recovery_interval_max_seconds: Positive = 3600.0
    near_horizon_seconds: Positive = 600.0
    reconcile_batch: Count = 500

    # Turns.
    conflict_limit: Count = 5
    lock_budget_ms: Count = 250
    replay_budget_seconds: Positive = 10.0
    cache_instances_max: Annotated[int, Meta(ge=0)] = 1000
    check_replay: bool = False
    trace: bool = False

    # Limits of a run.
    payload_bytes_max: Annotated[int, Meta(ge=1024, le=67_108_864)] = 1_048_576
    events_max: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000
    open_entities_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    hook_backlog_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    log_bytes_max: Annotated[int, Meta(ge=1_048_576, le=1_099_511_627_776)] = 268_435_456
    event_warn_ratio: Ratio = 0.8
    stream_bytes_max: Annotated[int, Meta(ge=1024, le=1_099_511_627_776)] = 268_435_456
    stream_buffer_bytes_max: Annotated[int, Meta(ge=1024, le=1_073_741_824)] = 1_048_576

    # Steps.
    heartbeat_write_seconds: Positive = 1.0
    transaction_connections: Annotated[int, Meta(ge=1, le=1000)] = 8
    lost_threads_max: Annotated[int, Meta(ge=1, le=10_000)] = 128

    # Codecs of user values.
    payload_codecs: tuple[CodecName, ...] = ()
    payload_codecs_read: tuple[CodecName, ...] = ()
    payload_key_file: str = ""
    payload_keys: str = ""

    # Connections.
    store_connections: Annotated[int, Meta(ge=1, le=1000)] = 4
    prepared_statements: bool = True
    connect_timeout_seconds: Positive = 5.0
    call_timeout_seconds: Positive = 30.0
    batch_bytes_max: Annotated[int, Meta(ge=1024)] = 262_144

    # Which source named the servers, for people; set by load_config, never by a file.
    servers_source: str = ""

    def __repr__(self) -> str:
        """Fields and values, with passwords taken out of URLs."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown().items())
        return f"Config({shown})"

    def shown(self) -> dict[str, object]:
        """Every field with its value, safe to print: passwords taken out of URLs."""
        values: dict[str, object] = msgspec.structs.asdict(self)
        values.update(database_url=redacted_url(self.database_url), redis_url=redacted_url(self.redis_url))
        values.update({name: "***" for name in HIDDEN if getattr(self, name)})
        return values

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """As repr, for tracebacks that show locals."""
        return list(self.shown().items())


class Relation(msgspec.Struct, frozen=True):
    """A bound between two fields: ``holds`` or the sentence ``because`` is told, naming ``field`` and ``other``."""

    field: str
    other: str
    holds: Callable[[Config], bool]
    because: str


RELATIONS = (
    Relation(
        "renewal_seconds",
        "lease_seconds",
        lambda c: c.renewal_seconds < c.lease_seconds / 2,
        "must be less than half of it, so that one lost renewal does not lose the lease",
    ),
    Relation(
        "recovery_interval_max_seconds",
        "recovery_interval_seconds",
        lambda c: c.recovery_interval_max_seconds >= c.recovery_interval_seconds,
        "must not be below it: it is what the interval grows to",
    ),
    Relation(
        "idle_block_seconds",
        "lease_seconds",
        lambda c: c.idle_block_seconds <= c.lease_seconds,
        "must not exceed it: a worker that blocks longer finds expired leases late",
    ),
    Relation(
        "near_horizon_seconds",
        "reconcile_period_seconds",
        lambda c: c.near_horizon_seconds >= 2 * c.reconcile_period_seconds,
        "must be at least twice it, or a timer comes near between two looks of the reconciler and fires late",
    ),
    Relation(
        "batch_bytes_max",
        "payload_bytes_max",
        lambda c: c.batch_bytes_max <= 64 * c.payload_bytes_max,
        "must be at most 64 times it: a larger call would hold row locks for long",
    ),
)


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any) -> Config:
    """The configuration from ``path`` (or $FENCEPOST_CONFIG, or ./fencepost.toml if there is one), ``environ`` (None:
    empty) and ``overrides`` (None values are options that were not given). Raises ConfigError.
    """
    environ = environ or {}
    file = _file(path, environ)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    layers = [
        *_from_file(file),
        *_from_environ(environ),
        ({name: value for name, value in overrides.items() if value is not None}, "the call"),
    ]
    for layer, source in layers:
        for name, value in layer.items():
            _check_name(name, source, table=isinstance(value, dict))
            values[name] = value
            sources[name] = source
    config = _converted(values, sources)
    for relation in RELATIONS:
        if not relation.holds(config):
            _refuse_relation(config, relation, sources)
    _check_servers(config, sources)
    return msgspec.structs.replace(config, servers_source=_servers_source(sources))


def redacted_url(url: str) -> str:
    """The URL without its password and the values of its options that may hold one. What cannot be read as a URL is
    hidden altogether.
    """
    return server_urls.shown(url)


def field_names() -> tuple[str, ...]:
    """The settings that may stand in a file or the environment, in order."""
    return tuple(name for name in Config.__struct_fields__ if name != "servers_source")


def _file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or (Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None)
    if named is not None:
        return named
    default = Path(FILE_NAME)
    return default if default.is_file() else None


def _from_file(file: Path | None) -> list[tuple[dict[str, Any], str]]:
    if file is None:
        return []
    try:
        # With or without a byte order mark, which some editors write.
        return [(tomllib.loads(file.read_text(encoding="utf-8-sig")), f"config file {file}")]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config file {file} is not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {file} is no UTF-8 text (at byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(
            f"config file {file} cannot be read: {error.strerror}; name another one with --config or {PREFIX}CONFIG"
        ) from error


def _from_environ(environ: Mapping[str, str]) -> list[tuple[dict[str, Any], str]]:
    """One layer per variable, so that each is its own source. FENCEPOST_CONFIG names the file and is no setting."""
    layers: list[tuple[dict[str, Any], str]] = []
    for key in sorted(environ):
        if not key.startswith(PREFIX) or key == PREFIX + "CONFIG" or SERVICE_LINK.search(key):
            continue
        if environ[key] != "":
            name = key.removeprefix(PREFIX).lower()
            source = f"environment {key}"
            _check_name(name, source)
            layers.append(({name: _parsed(name, environ[key])}, source))
    return layers


def _parsed(name: str, text: str) -> Any:
    """A variable's text in the shape that the field's type wants; msgspec turns numbers in strings into numbers."""
    if name in ("queues", "payload_codecs", "payload_codecs_read"):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _check_name(name: str, source: str, *, table: bool = False) -> None:
    known = field_names()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    from_environment = source.startswith("environment")
    if near:
        hint = f"did you mean {PREFIX + near[0].upper() if from_environment else near[0]}?"
    elif table:
        hint = f"settings stand at the top level, without a table such as [{name}]"
    else:
        hint = "config.example.toml lists all settings"
    raise ConfigError(f"{source}: unknown setting{'' if from_environment else f' {name!r}'}; {hint}")


def _converted(values: dict[str, Any], sources: dict[str, str]) -> Config:
    """Field by field first, so that an error names the source that set it."""
    hints = get_type_hints(Config, include_extras=True)
    converted: dict[str, Any] = {}
    for name, value in values.items():
        strict = not sources[name].startswith("environment")
        try:
            converted[name] = msgspec.convert(value, hints[name], strict=strict)
        except msgspec.ValidationError as error:
            shown = "***" if name in HIDDEN else value
            shown = redacted_url(value) if name.endswith("_url") and isinstance(value, str) else shown
            problem = _in_words(str(error).replace(" - at `$", f" - at `{name}"), hints[name])
            raise ConfigError(
                f"{sources[name]}: {name} = {shown!r}: {problem}; its default is {getattr(Config(), name)!r}"
            ) from error
    return Config(**converted)


def _in_words(problem: str, hint: Any) -> str:
    """What msgspec says, without its patterns, and with the values that there are to choose from."""
    for pattern, words in _IN_WORDS.items():
        problem = problem.replace(f"Expected `str` matching regex {pattern!r}", words)
    if problem.startswith("Invalid enum value"):
        problem = f"it must be one of {', '.join(map(str, get_args(hint)))}"
    return problem


def _refuse_relation(config: Config, relation: Relation, sources: dict[str, str]) -> None:
    def told(name: str) -> str:
        return f"{name} = {getattr(config, name)!r} ({sources.get(name, 'default')})"

    raise ConfigError(f"{told(relation.field)} does not go with {told(relation.other)}: it {relation.because}")


SERVERS: dict[str, server_urls.Kind] = {"database_url": "postgres", "redis_url": "redis"}


def server_url(config: Config, name: str, source: str = "") -> server_urls.ServerUrl:
    """The setting of that name, taken apart. Raises ConfigError, which shows nothing of what cannot be read."""
    try:
        return server_urls.read(getattr(config, name), SERVERS[name])
    except server_urls.UrlError as error:
        problem = f"{source + ': ' if source else ''}{name}: {error}"
    raise ConfigError(problem)  # out here: the traceback of a reader's error may show what it has read


def _check_servers(config: Config, sources: dict[str, str]) -> None:
    for name in SERVERS:
        if getattr(config, name):
            server_url(config, name, sources[name])
    if config.env == "production":
        missing = [name for name in SERVERS if not getattr(config, name)]
        if missing:
            wanted = " and ".join(PREFIX + name.upper() for name in missing)
            raise ConfigError(
                f"env = 'production' ({sources['env']}) and no {' and no '.join(missing)}: dev servers are never used"
                f" in production; set {wanted}, or name the servers in a config file"
            )


def _servers_source(sources: dict[str, str]) -> str:
    """In words, for the client to print."""
    dev = "dev servers of ./.fencepost"
    database, redis = sources.get("database_url", dev), sources.get("redis_url", dev)
    return database if database == redis else f"{database} (Postgres), {redis} (Redis)"
