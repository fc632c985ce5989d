"""Finding the App: what is there is found, what is not is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import click
import pytest

from streamjobs.cli.app_loader import AppLoader, load_app
from streamjobs.errors import SettingsError

Module = Callable[[str], str]
_numbers = count()
HEAD = "from streamjobs import App\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module into the working directory; its name is new each time."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)

    def write(text: str) -> str:
        name = f"app_under_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("app_under_test"):
            del sys.modules[name]


def refused(spec: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load_app(spec)
    return str(raised.value)


def test_module_and_attribute(module: Module) -> None:
    name = module(HEAD + "app = App('one')\nother = App('two')\nclass Shop: app = other\n")
    assert load_app(f"{name}:app").name == "one"
    assert load_app(f"{name}:Shop.app").name == "two"


def test_the_attribute_may_be_left_out_where_there_is_one_app(module: Module) -> None:
    assert load_app(module(HEAD + "shop = App('one')\nsame = shop\n")).name == "one"
    said = refused(module(HEAD + "a = App('one')\nb = App('two')\n"))
    assert "it has 2: a, b" in said
    assert "it has none" in refused(module("x = 1"))


def test_the_same_app_is_loaded_once(module: Module) -> None:
    loader = AppLoader(module(HEAD + "app = App('one')\n"))
    assert loader.load() is loader.load()


def test_no_app_named_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match="STREAMJOBS_APP"):
        AppLoader(None).load()


@pytest.mark.parametrize("spec", ["", ":app", "mod:"])
def test_half_a_name_is_refused(spec: str) -> None:
    assert "must be module:app" in refused(spec)


@pytest.mark.parametrize("spec", ["../shop:app", "shop.py:app", "shop/jobs.py:app", ".shop:app"])
def test_the_path_of_a_file_is_refused(spec: str) -> None:
    assert "not the path of a file" in refused(spec)


def test_a_missing_module_is_named(module: Module) -> None:
    module("")
    assert "no module 'app_under_test_nowhere'" in refused("app_under_test_nowhere:app")
    assert "no module 'json.nowhere'" in refused("json.nowhere:app")


def test_a_missing_attribute_is_named_with_what_is_there(module: Module) -> None:
    said = refused(module(HEAD + "shop = App('one')\n") + ":app")
    assert "has no 'app'" in said
    assert "its Apps are: shop" in said
    assert "did you mean 'ap'" in refused(module("ap = 1\n") + ":app")


def test_what_is_no_app_is_named_with_its_type(module: Module) -> None:
    assert "'app' is a dict, not a streamjobs.App" in refused(module("app = {}\n") + ":app")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("import not_installed\n", "line 1: ModuleNotFoundError: No module named 'not_installed'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("def f(:\n", "SyntaxError"),
        (HEAD + "App('Not A Name')\n", "line 2: app name 'Not A Name'"),
    ],
)
def test_an_import_that_fails_is_told_with_its_line(module: Module, text: str, said: str) -> None:
    name = module(text)
    message = refused(f"{name}:app")
    assert said in message
    assert name in message
