"""Bringing the user's code into a worker: import its modules, so that the decorators register, and say in words what
went wrong where they cannot be.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from fencepost.authoring.registry import Registry
from fencepost.authoring.step import Step
from fencepost.authoring.workflow import Workflow
from fencepost.errors import DuplicateName
from fencepost.replay import asyncio_patches


class LoadError(Exception):
    """A module of the user's cannot be used. The message names it, what is wrong and the way out; ``files`` are the
    files that a cure may be in, as in ``project_files``.
    """

    def __init__(self, message: str, files: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.files: dict[str, int] = files or {}


def load_modules(names: Sequence[str], registry: Registry) -> None:
    """Import every module, with the working folder on the path. Raises LoadError, also for a module without a
    workflow or step. What workflow code sees instead of the standard library's clocks is put in place before, so that a
    module may keep one (``def f(clock=time.monotonic)``).
    """
    asyncio_patches.install()
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    for name in names:
        _load(name, registry, folder)


def project_files() -> dict[str, int]:
    """The loaded source files below the working folder that are the project's own (not installed, not hidden), each
    with the time of its last change in nanoseconds.
    """
    folder = Path.cwd()
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    found: set[str] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        path = Path(file).absolute()
        if not path.is_relative_to(folder) or any(path.is_relative_to(place) for place in installed):
            continue
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            found.add(str(path))
    return changed_at(found)


def changed_at(files: Iterable[str]) -> dict[str, int]:
    """When each file was last changed, in nanoseconds; 0 for one that is not there."""
    times: dict[str, int] = {}
    for file in sorted(files):
        try:
            times[file] = Path(file).stat().st_mtime_ns
        except OSError:  # deleted, or being replaced at this moment
            times[file] = 0
    return times


def _load(name: str, registry: Registry, folder: str) -> None:
    if name.endswith(".py") or os.sep in name:
        dotted = os.path.normpath(name.removesuffix(".py")).lstrip(f".{os.sep}").replace(os.sep, ".")
        raise LoadError(f"{name!r} is a path: name the module as an import would, such as {dotted!r}")
    before = len(registry.workflows) + len(registry.steps)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise LoadError(
                f"there is no module {name!r}: looked in {folder} and on Python's path; run this in the folder that"
                f" holds {name.partition('.')[0]}, or add its folder to PYTHONPATH"
            ) from error
        raise LoadError(
            f"module {name!r} needs {error.name!r}, which is not installed here{_where(error)}", _files(error)
        ) from error
    except DuplicateName as error:
        raise LoadError(f"module {name!r}: {error}", _files(error)) from error
    except KeyboardInterrupt:  # Ctrl-C, while a worker starts
        raise
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
        raise LoadError(f"module {name!r} failed while it was imported: {problem}{_where(error)}", _files(error)) from (
            error
        )
    registers = len(registry.workflows) + len(registry.steps) > before
    if not registers and not any(isinstance(value, (Workflow, Step)) for value in vars(module).values()):
        raise LoadError(
            f"module {name!r} ({getattr(module, '__file__', None) or 'a folder without __init__.py'}) registers no"
            " workflow and no step: decorate a function with @fencepost.workflow or @fencepost.step, or name the module"
            " that does"
        )


def _where(error: BaseException) -> str:
    """The way through the user's files to the line that failed, without the importing machinery."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    return "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)


def _is_users(filename: str) -> bool:
    return not filename.startswith("<") and filename != __file__ and Path(filename) != Path(importlib.__file__)


def _files(error: BaseException) -> dict[str, int]:
    found = [f.filename for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if isinstance(error, SyntaxError) and error.filename:
        found.append(error.filename)
    return {**project_files(), **changed_at(found)}
