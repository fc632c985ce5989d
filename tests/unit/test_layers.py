"""The tree of folders is the architecture: what may import what, read from the imports themselves.

Deferred imports and those under ``TYPE_CHECKING`` count: an import is an arrow wherever it stands.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2] / "streamjobs"

# Each layer may import what stands above it, and its own; "streamjobs" is the facade of __init__.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "wording", "clock", "ingest", "failpoints"),
    ("job", "retry", "breaker", "topics", "context", "settings", "headers"),
    ("registry", "keys"),
    ("codec",),
    ("observe",),
    ("kafka",),
    ("client", "handle"),
    ("app",),
    ("streamjobs",),
    ("engine",),
    ("executors",),
    ("worker",),
    ("scheduler", "replay", "workflow"),
    ("marks", "deadletters", "requeue", "status"),
    ("monitor",),
    ("testing",),
    ("demo",),
    ("cli", "__main__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# What decides everything reads no clock, no file and no network.
PURE = {
    "engine": {"errors", "clock", "job", "retry", "breaker", "topics", "registry", "headers"},
    "executors": {
        "errors",
        "clock",
        "job",
        "retry",
        "breaker",
        "topics",
        "registry",
        "headers",
        "context",
        "engine",
    },
}
# Libraries that one package alone may import.
OWNED = {"confluent_kafka": "kafka", "fastavro": "codec"}

Sources = Mapping[str, str]  # dotted module name to source text


def sources(root: Path = ROOT) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = ("streamjobs", *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imports(module: str, text: str, modules: Sources) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, wherever in it."""
    is_package = any(other.startswith(f"{module}.") for other in modules)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if is_package else module.rpartition(".")[0]
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) + 1 - node.level], *([base] if base else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if submodule in modules else base
        elif isinstance(node, ast.Call):
            yield from _by_name(node)


def _by_name(node: ast.Call) -> Iterator[str]:
    """Yield what ``importlib.import_module("x")`` or ``__import__("x")`` names."""
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called in {"import_module", "__import__"} and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def complaints(modules: Sources) -> list[str]:
    """Say what breaks the rules, one line each."""
    graph = {name: set(imports(name, text, modules)) for name, text in modules.items()}
    found = [
        f"{name}: layer {layer(name)!r} is not in LAYERS: say where it stands"
        for name in graph
        if layer(name) not in RANK
    ]
    for name, targets in graph.items():
        for target in sorted(targets):
            found += _arrow(name, target, modules)
    ours = {
        name: {t for t in targets if t in modules and t != name} for name, targets in graph.items()
    }
    try:
        TopologicalSorter(ours).prepare()
    except CycleError as error:
        found.append("cycle: " + " -> ".join(error.args[1]))
    return found


def _arrow(name: str, target: str, modules: Sources) -> Iterable[str]:
    here, top = layer(name), target.split(".", maxsplit=1)[0]
    if top in OWNED and here != OWNED[top]:
        yield f"{name} imports {target}: only streamjobs/{OWNED[top]}/ may"
    if top != "streamjobs":
        return
    if target not in modules:
        yield f"{name} imports {target}, which is not there"
    there = layer(target)
    if here == there or here not in RANK or there not in RANK:
        return
    if RANK[there] > RANK[here]:
        yield f"{name} imports {target}: {there!r} stands below {here!r}"
    if here in PURE and there not in PURE[here]:
        yield f"{name} imports {target}: {here!r} is pure"


def test_the_imports_keep_to_the_layers() -> None:
    modules = sources()
    assert len(modules) > 10, "found next to nothing to judge"
    assert not complaints(modules), "\n".join(complaints(modules))


SOUND = {
    "streamjobs": "from streamjobs.app import App",
    "streamjobs.errors": "import time",
    "streamjobs.settings": "from streamjobs.errors import SettingsError",
    "streamjobs.topics": "from streamjobs import errors",
    "streamjobs.codec": "",
    "streamjobs.codec.avro": "import fastavro\nfrom . import limits\nfrom ..errors import X",
    "streamjobs.codec.limits": "",
    "streamjobs.kafka": "",
    "streamjobs.kafka.admin": "from confluent_kafka.admin import AdminClient",
    "streamjobs.app": "from streamjobs.kafka.admin import Admin",
    "streamjobs.engine": "",
    "streamjobs.engine.shard": "from streamjobs.topics import TopicSpec",
    "streamjobs.cli": "",
    "streamjobs.cli.main": "from streamjobs import App",
}

PLANTED = [
    ("streamjobs.cli.main", "import confluent_kafka", "only streamjobs/kafka/ may"),
    ("streamjobs.app", "from fastavro.schema import load", "only streamjobs/codec/ may"),
    ("streamjobs.errors", "import streamjobs.app", "stands below"),
    ("streamjobs.app", "from streamjobs.cli import main", "stands below"),
    ("streamjobs.errors", "from streamjobs import App", "stands below"),
    ("streamjobs.topics", "def f():\n    from streamjobs.app import App", "stands below"),
    ("streamjobs.topics", "if TYPE_CHECKING:\n    from .app import App", "stands below"),
    ("streamjobs.topics", "import_module('streamjobs.app')", "stands below"),
    ("streamjobs.topics", "importlib.import_module('confluent_kafka')", "only streamjobs/kafka/"),
    ("streamjobs.codec.limits", "from streamjobs.codec import avro", "cycle"),
    ("streamjobs.codec.limits", "from .avro import x", "cycle"),
    ("streamjobs.engine.shard", "from streamjobs.settings import Settings", "is pure"),
    ("streamjobs.engine.shard", "from streamjobs.kafka.admin import Admin", "is pure"),
    ("streamjobs.helpers", "", "is not in LAYERS"),
    ("streamjobs.app", "from streamjobs.gone import x", "not there"),
]


def test_sound_imports_are_let_through() -> None:
    assert complaints(SOUND) == []


@pytest.mark.parametrize(("module", "planted", "expected"), PLANTED)
def test_a_planted_import_is_caught(module: str, planted: str, expected: str) -> None:
    # given sound sources, and one of them with a line too many
    modules = {**SOUND, module: dedent(SOUND.get(module, "")) + "\n" + planted}
    # when they are judged, then the line is named
    found = complaints(modules)
    assert any(expected in line for line in found), found
