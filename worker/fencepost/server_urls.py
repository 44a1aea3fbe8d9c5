"""What a server's URL may say, for client and commands alike: options are taken, translated, ignored with a note, or
refused with the reason, by the tables below.

Nothing of a URL that cannot be taken apart is ever shown: where a password holds ``/``, ``?`` or ``#`` as they are, its
rest looks like a path or a query. So no message quotes a URL before it has been read, and then its password is left
out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["postgres", "redis"]

ENCODE = (
    "if user or password hold one of / ? # [ ] @ or a space, percent-encode it (%2F %3F %23 %5B %5D %40 %20); the URL"
    " is not shown here, for it may hold a password"
)

SCHEMES: dict[Kind, dict[str, str]] = {
    "postgres": {"postgresql": "postgresql", "postgres": "postgresql"},
    "redis": {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"},
}
"""What a URL may begin with, and what the driver is told."""

EXAMPLE: dict[Kind, str] = {"postgres": "postgresql://user@host:5432/database", "redis": "redis://host:6379/0"}

TAKEN: dict[Kind, frozenset[str]] = {
    "postgres": frozenset(
        {
            "host", "port", "dbname", "database", "user", "password", "passfile", "sslmode", "sslcert", "sslkey",
            "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
            "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib", "service", "options",
        }
    ),
    "redis": frozenset(
        {
            "db", "username", "password", "client_name", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile",
            "ssl_keyfile", "ssl_password", "ssl_check_hostname",
        }
    ),
}  # fmt: skip

_OURS = "fencepost's own connections need it as it is"
_TIME = "use the setting connect_timeout_seconds"
_CALLS = "each call is bounded already; use the setting call_timeout_seconds"
_ALIVE = "dropped connections are found by a question before they are used"

IGNORED: dict[Kind, dict[str, str]] = {
    "postgres": {
        "connect_timeout": _TIME,
        "application_name": "sessions are called fencepost",
        "fallback_application_name": "sessions are called fencepost",
        "channel_binding": "the driver has none; sslmode=verify-full makes sure of the server",
        "client_encoding": "it is UTF-8",
        "gssencmode": "the driver has none",
        "keepalives": _ALIVE,
        "keepalives_idle": _ALIVE,
        "keepalives_interval": _ALIVE,
        "keepalives_count": _ALIVE,
        "tcp_user_timeout": _ALIVE,
        "sslcompression": "the driver has none",
        "sslsni": "the driver always sends it",
        "load_balance_hosts": "hosts are tried in their order",
    },
    "redis": {
        "decode_responses": _OURS,
        "encoding": _OURS,
        "encoding_errors": _OURS,
        "protocol": _OURS,
        "legacy_responses": _OURS,
        "socket_timeout": _CALLS,
        "timeout": _TIME,
        "socket_connect_timeout": _TIME,
        "socket_keepalive": "it is always on",
        "socket_read_size": _OURS,
        "health_check_interval": _ALIVE,
        "retry_on_timeout": "what may have been done is never sent again unasked",
        "retry_on_error": "what may have been done is never sent again unasked",
        "max_connections": "a process has one connection per purpose",
        "single_connection_client": _OURS,
        "lib_name": _OURS,
        "lib_version": _OURS,
    },
}
"""Options that change nothing here, and why."""

REFUSED: dict[Kind, dict[str, str]] = {
    "postgres": {
        "hostaddr": "give the address as the host",
        "replication": "such a connection runs no statements",
        "requirepeer": "the driver has none",
        "require_auth": "the driver has none",
        "requiressl": "use sslmode=require",
        "sslcertmode": "the driver has none",
        "krbspn": "the driver has none",
        "servicefile": "the driver takes it from the environment only: set PGSERVICEFILE",
    },
    "redis": {"path": "write unix:///path/to/socket", "host": "write it before the /", "port": "write it before the /"},
}
"""Options that would be needed, and cannot be had."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,40}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:,\s]*)(:[0-9]{0,5})?")
_SECRETS = ("pass", "secret", "token", "key")


class UrlError(ValueError):
    """A URL that cannot be used. The message quotes nothing of it but option names."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A URL that has been taken apart. ``driver``: what the driver is given. ``shown``: without secrets. ``notes``:
    what is ignored of it, and why."""

    driver: str
    shown: str
    notes: tuple[str, ...] = ()


def read(url: str, kind: Kind) -> ServerUrl:
    """Raises UrlError."""
    scheme, user, hosts, path, pairs = _parts(url, kind)
    kept: list[tuple[str, str]] = []
    notes: list[str] = []
    for name, value in pairs:
        if name in IGNORED[kind]:
            notes.append(f"the option {name} is ignored: {IGNORED[kind][name]}")
        elif name in REFUSED[kind]:
            raise UrlError(f"the option {name} cannot be used: {REFUSED[kind][name]}")
        elif name in TAKEN[kind]:
            kept.append((name, value))
        else:
            raise UrlError(f"the option {_quoted(name)} is unknown; {_unknown(kind)}")
    if kind == "redis":
        _check_redis(scheme, path, kept)
    told = SCHEMES[kind][scheme]
    shown_user = "" if not user else f"{user.partition(':')[0]}{':***' if ':' in user else ''}@"
    return ServerUrl(
        f"{told}://{user + '@' if user else ''}{hosts}{path}{_query(kept)}",
        f"{scheme}://{shown_user}{hosts}{path}{_query([(n, '***' if _is_secret(n) else v) for n, v in pairs])}",
        tuple(notes),
    )


def shown(url: str) -> str:
    """The URL without its password and other secrets; what cannot be read is hidden altogether."""
    if not url:
        return ""
    kind: Kind = "postgres" if url.partition("://")[0] in SCHEMES["postgres"] else "redis"
    try:
        return _shown(url, kind)
    except UrlError:
        return "***"


def _shown(url: str, kind: Kind) -> str:
    scheme, user, hosts, path, pairs = _parts(url, kind)
    account = "" if not user else f"{user.partition(':')[0]}{':***' if ':' in user else ''}@"
    query = _query([(name, "***" if _is_secret(name) else value) for name, value in pairs])
    return f"{scheme}://{account}{hosts}{path}{query}"


def _parts(url: str, kind: Kind) -> tuple[str, str, str, str, list[tuple[str, str]]]:
    """Scheme, user with password, hosts, path, options."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in SCHEMES[kind]:
        wanted = " or ".join(f"{one}://" for one in SCHEMES[kind])
        raise UrlError(f"expected a URL that begins with {wanted}, such as {EXAMPLE[kind]}")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    if "@" in behind or "#" in behind or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise UrlError(f"cannot be read as a URL: {ENCODE}")
    user, _, hosts = authority.rpartition("@")
    for host in hosts.split(",") if kind == "postgres" else [hosts]:
        found = _HOST.fullmatch(host)
        if found is None or "[" in user or "]" in user or int((found[2] or ":0")[1:] or 0) > 65_535:
            raise UrlError(f"cannot be read as a URL, at its host or port (at most 65535): {ENCODE}")
    path, _, query = behind.partition("?")
    pairs = [part.partition("=") for part in query.split("&") if part]
    if any(not equals for _, equals, _ in pairs):
        raise UrlError(f"cannot be read as a URL, an option has no value: {ENCODE}")
    return scheme, user, hosts, path, [(name, value) for name, _, value in pairs]


def _check_redis(scheme: str, path: str, kept: list[tuple[str, str]]) -> None:
    numbers = [value for name, value in kept if name == "db"]
    if scheme == "unix":
        if len(path) < 2:
            raise UrlError("unix:// needs the path of a socket, such as unix:///run/valkey.sock?db=0")
    elif path.strip("/"):
        numbers.append(path.strip("/"))
    if any(not number.isdecimal() for number in numbers) or len({int(number) for number in numbers}) > 1:
        raise UrlError("the database must be one number from 0, such as redis://host:6379/0")
    if scheme in ("redis", "valkey", "unix") and any(name.startswith("ssl_") for name, _ in kept):
        raise UrlError("the ssl_ options need TLS: begin the URL with rediss://")


def _unknown(kind: Kind) -> str:
    if kind == "postgres":
        return "a setting of the session is written options=-c%20name%3Dvalue"
    return f"known are {', '.join(sorted(TAKEN[kind]))}"


def _quoted(name: str) -> str:
    return name if NAME.fullmatch(name) else "whose name is not shown here"


def _query(pairs: list[tuple[str, str]]) -> str:
    return "?" + "&".join(f"{name}={value}" for name, value in pairs) if pairs else ""


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRETS)
