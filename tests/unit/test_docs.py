"""docs/operations.md against the code: its tables of settings, metrics and commands."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from streamjobs import settings
from streamjobs.cli.main import COMMANDS
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def metrics_table() -> str:
    """The table of metrics as it has to stand in the page."""
    lines = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for metric in vars(WorkerMetrics(CollectorRegistry())).values():
        assert isinstance(metric, MetricWrapperBase)
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = " ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(lines)


def test_the_table_of_metrics_is_the_codes() -> None:
    stands = re.search(r"<!-- metrics -->\n(.*?)\n\n", OPERATIONS, re.DOTALL)
    assert stands is not None
    assert stands[1] == metrics_table()


def test_every_setting_is_told_and_no_other() -> None:
    # given the table's variables, and the settings there are
    told = set(re.findall(r"^\| `(STREAMJOBS_[A-Z_]+)…?` \|", OPERATIONS, re.MULTILINE))
    there = {f"STREAMJOBS_{name.upper()}" for name in Settings.model_fields if name != "kafka"}
    # then they are the same, and no variable is named anywhere that nothing reads
    assert told == {*there, "STREAMJOBS_KAFKA_"}
    named = set(re.findall(r"`(STREAMJOBS_[A-Z_]+)", OPERATIONS)) - told
    assert all(n in settings._ELSEWHERE or n.startswith("STREAMJOBS_KAFKA_") for n in named)


def test_the_commands_that_pages_name_exist() -> None:
    found = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        found |= set(re.findall(r"(?:`|\$ |\| )streamjobs (?:-A \S+ )?([a-z]+)", text))
    assert {"worker", "enqueue", "dlq"} <= found
    assert found <= set(COMMANDS)
