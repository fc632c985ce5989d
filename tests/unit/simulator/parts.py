"""The code under test, as it is or with lines replaced: loaded from its text under another name.

Nothing on disk is touched. The engine's modules and the pure modules it uses are compiled from
their source, with their imports of each other rewritten, so that several versions can live side
by side. The model shell is one of them: the order of its steps belongs to what is tested.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "streamjobs" / "engine"
WANTED = tuple(
    f"streamjobs.{m}" for m in ("engine.engine", "engine.ladder", "engine.results", "headers")
)
# Limits of the engine that a history of some hundred jobs would not reach.
SMALL = {
    "HELD_PER_TIER": 8, "LANE_CAP": 6, "SHARD_CAP": 15, "HEAD_PATIENCE": 2.0, "WEED_FROM": 4,
    "ROOM": 32,
}  # fmt: skip
PARKING = "streamjobs.engine.parking"
WORKER = "unit.simulator.model_worker"
SHELL = "tests/unit/simulator/model_worker.py"
COMMITS = "tests/unit/simulator/model_commit.py"


@dataclass(frozen=True, slots=True)
class Patch:
    """One line of source replaced by another.

    Attributes:
        name: what is broken, in a few words.
        file: path from the project's root.
        old: the whole line, or lines, as they are but for the indentation of the first.
        new: what stands there instead.
        fencing: whether it is about fencing, taking a shard or rebuilding.
        seed: where to begin looking for it: it shows in few histories, and this is one.
    """

    name: str
    file: str
    old: str
    new: str
    fencing: bool = False
    seed: int = 0


class StalePatch(Exception):
    """The line that a patch replaces is not there, or is there more than once."""


@dataclass(frozen=True)
class Parts:
    """What a history is played with: the modules' names that it needs.

    Attributes:
        hurried: whether it counts as running in circles sooner.
    """

    engine: Any
    ladder: Any
    results: Any
    headers: Any
    shell: Any
    evictions: Counter[str]
    modules: tuple[ModuleType, ...]
    hurried: bool = False

    def shrink(self, small: bool) -> None:
        """Set the engine's limits small, so that short histories reach them, or as they are."""
        for name, few in SMALL.items():
            holders = [module for module in self.modules if hasattr(module, name)]
            for module in holders:
                usual = module.__dict__.setdefault(f"_usual_{name}", getattr(module, name))
                setattr(module, name, few if small else usual)


def load(patches: Iterable[Patch] = ()) -> Parts:
    """Load the code with these lines replaced; without any, the modules themselves.

    Raises:
        StalePatch: the code has changed and the patch with it must.
    """
    wanted = list(patches)
    if not wanted:
        engine, ladder, results, headers, shell = map(import_module, (*WANTED, WORKER))
        inside = [m for name, m in sys.modules.items() if name.startswith("streamjobs.engine.")]
        evictions = _count_evictions(sys.modules[PARKING].Parking)
        return Parts(engine, ladder, results, headers, shell, evictions, tuple(inside))
    sources = _sources()
    for patch in wanted:
        sources[patch.file] = _patched(sources[patch.file], patch)
    alias = f"planted_{abs(hash(tuple(wanted)))}"
    return _Loader(alias, sources).parts()


def _count_evictions(parking: Any) -> Counter[str]:
    """Have it counted how often a record makes room in memory for one that stands before it.

    That cannot be told from the outside, where it is one more record that is moved to wait.
    """
    counts: Counter[str] | None = getattr(parking, "counts", None)
    if counts is not None:
        return counts
    room, counts = parking._room, Counter()

    def counted(self: Any, shard: Any, lane: Any, record: Any, now: float) -> Any:
        last = lane.waiting[-1] if lane.waiting else None
        stays = room(self, shard, lane, record, now)
        if stays and last is not None and last not in lane.waiting[-1:]:
            counts["evictions"] += 1
        return stays

    parking.counts, parking._room = counts, counted
    return counts


def _sources() -> dict[str, str]:
    files = [*sorted(ENGINE.glob("*.py")), ROOT / "streamjobs/headers.py"]
    files += [ROOT / "streamjobs/retry.py", ROOT / SHELL, ROOT / COMMITS]
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def _patched(source: str, patch: Patch) -> str:
    lines, old = source.split("\n"), [line.strip() for line in patch.old.split("\n")]
    stripped = [line.strip() for line in lines]
    at = [n for n in range(len(lines)) if stripped[n : n + len(old)] == old]
    if len(at) != 1:
        raise StalePatch(f"{patch.name}: {patch.old!r} stands {len(at)} times in {patch.file}")
    (first,) = at
    indent = lines[first][: len(lines[first]) - len(stripped[first])]
    new = (
        [indent + line for line in dedent(patch.new).split("\n")]
        if patch.new
        else [indent + "pass"]
    )
    return "\n".join([*lines[:first], *new, *lines[first + len(old) :]])


class _Loader:
    """Imports the sources under another name, each when it is first asked for."""

    def __init__(self, alias: str, sources: dict[str, str]) -> None:
        self._alias = alias
        self._names = {
            f: f.removeprefix("tests/").removesuffix(".py").replace("/", ".") for f in sources
        }
        self._sources = {self._names[file]: text for file, text in sources.items()}
        self._package = "streamjobs.engine.__init__"

    def parts(self) -> Parts:
        for name in (self._alias, f"{self._alias}.streamjobs", f"{self._alias}.streamjobs.engine"):
            package = sys.modules[name] = ModuleType(name)
            package.__path__ = []
        try:
            engine, ladder, results, headers, shell = map(self._load, (*WANTED, WORKER))
            inside = [m for name, m in sys.modules.items() if name.startswith(self._alias)]
            evictions = _count_evictions(self._load(PARKING).Parking)
            return Parts(
                engine, ladder, results, headers, shell, evictions, tuple(inside), hurried=True
            )
        finally:
            for name in [n for n in sys.modules if n.startswith(self._alias)]:
                del sys.modules[name]

    def _load(self, name: str) -> ModuleType:
        full = f"{self._alias}.{name}"
        if full in sys.modules:
            return sys.modules[full]
        text = self._sources[name]
        for other in self._sources:
            if other != self._package and f"from {other} import" in text:
                self._load(other)
                text = text.replace(f"from {other} import", f"from {self._alias}.{other} import")
        module = sys.modules[full] = ModuleType(full)
        exec(compile(text, f"<{full}>", "exec"), module.__dict__)  # noqa: S102 - our own source
        return module
