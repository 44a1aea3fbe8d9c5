"""Codecs of the user's own: found by the path that the configuration gives, and tried once before they are trusted with
values. Raises ConfigError, with the way out.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fencepost.config import ConfigError
from fencepost.payload_codecs import PayloadCodec

SHIPPED = ("zlib", "aes-gcm")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
PROBES = (b"", b"\x02\xa5probe", bytes(range(256)) * 16)
"""What every codec must give back: nothing, something short, and every byte."""


def own_codecs(setting: str, paths: Iterable[str]) -> dict[str, PayloadCodec]:
    """The codecs of these paths by their path; what fencepost ships is passed over. ``setting`` is what named them."""
    return {path: _codec(setting, path) for path in paths if path not in SHIPPED}


def _codec(setting: str, path: str) -> PayloadCodec:
    where = f"{setting}: {path!r}"
    module, _, attribute = path.partition(":")
    found: object = getattr(_imported(module, where), attribute, None)
    if found is None:
        raise ConfigError(f"{where}: the module {module} has no {attribute}")
    if isinstance(found, type):
        raise ConfigError(f"{where} is a class: name an object, such as `{attribute.lower()} = {attribute}()`")
    name: object = getattr(found, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in SHIPPED:
        raise ConfigError(
            f"{where}: its name is {name!r}, must be 1 to 40 letters, digits, '_', '.' or '-', and none of "
            f"{', '.join(SHIPPED)}: it stands in every value that the codec writes, so choose it once"
        )
    if not callable(getattr(found, "encode", None)) or not callable(getattr(found, "decode", None)):
        raise ConfigError(f"{where}: must have the methods encode(bytes) and decode(bytes), see docs/codecs.md")
    codec: PayloadCodec = found  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] # what the checks above say
    _try(codec, where)
    return codec


def _try(codec: PayloadCodec, where: str) -> None:
    for probe in PROBES:
        made = _tried(codec.encode, probe, f"{where}: encode")
        if _tried(codec.decode, made, f"{where}: decode") != probe:
            raise ConfigError(f"{where}: decode does not give back what encode was given ({len(probe)} bytes)")


def _tried(method: Callable[[bytes], object], data: bytes, where: str) -> bytes:
    try:
        made = method(data)
    except Exception as error:
        raise ConfigError(f"{where} was tried and raised {type(error).__qualname__}: {error}") from error
    if not isinstance(made, bytes):
        raise ConfigError(f"{where} returned {type(made).__qualname__}, must return bytes")
    return made


def _imported(name: str, where: str) -> ModuleType:
    with _working_folder():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise ConfigError(
                    f"{where}: there is no module {name}, neither installed nor in {Path.cwd()}"
                ) from error
            raise ConfigError(f"{where} cannot be imported: {error}") from error
        except Exception as error:
            raise ConfigError(f"{where} cannot be imported: {type(error).__qualname__}: {error}") from error


@contextmanager
def _working_folder() -> Generator[None]:
    """The working folder on the path, behind all else, as a worker has it for the modules it is given: the command and
    a client find the codec as the worker does."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
