"""Finding the App that ``-A module:app`` names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from streamjobs.errors import SettingsError, StreamjobsError

if TYPE_CHECKING:
    from streamjobs.app import App

HOW = "give -A module:app before the command, or set STREAMJOBS_APP"


class AppLoader:
    """What ``-A`` said, and the App it stands for; the context object of every command."""

    def __init__(self, spec: str | None) -> None:
        self._spec = spec
        self._app: App | None = None

    @property
    def app_given(self) -> bool:
        """Whether ``-A`` or ``STREAMJOBS_APP`` says which app is meant."""
        return self._spec is not None

    @property
    def spec(self) -> str | None:
        """What was said, for processes that are started in turn."""
        return self._spec

    def load(self) -> App:
        """Import the module and return its App; the second time, the same one.

        Raises:
            UsageError: no app was named.
            SettingsError: there is no such module or App, or importing it failed.
        """
        if self._spec is None:
            raise click.UsageError(f"this command needs an app: {HOW}")
        if self._app is None:
            self._app = load_app(self._spec)
        return self._app


def load_app(spec: str) -> App:
    """Import ``module:attribute``, or the one App of ``module``; the working directory counts.

    Raises:
        SettingsError: naming the module, what was wanted of it and what was found.
    """
    from streamjobs.app import App

    module_name, colon, attribute = spec.partition(":")
    if not module_name or (colon and not attribute):
        raise SettingsError(f"-A {spec!r}: must be module:app, such as shop.jobs:app")
    if "/" in module_name or module_name.startswith(".") or module_name.endswith(".py"):
        raise SettingsError(
            f"-A {spec}: must be module:app, such as shop.jobs:app, and not the path of a file; "
            "the folder that modules are looked for in is the one you are in"
        )
    module = _import(module_name)
    if not attribute:
        return _only_app(module, App)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise SettingsError(
                f"-A {spec}: module {module_name!r} has no {attribute!r}"
                f"{_others(module, App, attribute)}"
            )
        value = getattr(value, part)
    if not isinstance(value, App):
        raise SettingsError(
            f"-A {spec}: {attribute!r} is a {type(value).__name__}, not a streamjobs.App"
            f"{_others(module, App, attribute)}"
        )
    return value


def _import(name: str) -> ModuleType:
    here = os.getcwd()  # noqa: PTH109 (sys.path holds text)
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except StreamjobsError as error:
        raise SettingsError(
            *(f"module {name!r}{_where(error)}: {p}" for p in _lines(error))
        ) from error
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(
                f"there is no module {error.name!r} in {here} nor on the Python path: {HOW}"
            ) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> SettingsError:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return SettingsError(f"importing module {name!r} failed{_where(error)}: {said}")


def _lines(error: StreamjobsError) -> tuple[str, ...]:
    return getattr(error, "problems", None) or (str(error),)


def _where(error: BaseException) -> str:
    """Name the line of the user's code that an error comes from, if there is one."""
    ours = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 (compared as text)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen"))
        and os.path.dirname(importlib.__file__) not in frame.filename  # noqa: PTH120 (as above)
    ]
    return f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _only_app(module: ModuleType, app_type: type[App]) -> App:
    apps = _apps(module, app_type)
    distinct = list({id(app): app for app in apps.values()}.values())
    if len(distinct) == 1:
        return distinct[0]
    found = f"it has {len(distinct)}: {', '.join(apps)}" if apps else "it has none"
    raise SettingsError(
        f"-A {module.__name__}: without an attribute the module must have exactly one App, "
        f"and {found}; write -A {module.__name__}:NAME"
    )


def _others(module: ModuleType, app_type: type[App], attribute: str) -> str:
    apps = list(_apps(module, app_type))
    if apps:
        return f"; its Apps are: {', '.join(apps)}"
    close = get_close_matches(attribute, vars(module), n=1)
    return "; it has no App at all" + (f" (did you mean {close[0]!r}?)" if close else "")


def _apps(module: ModuleType, app_type: type[App]) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, app_type)}
