"""docs/failures.md names tests: each has to exist, and each case that is claimed to have one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
CASES = re.findall(
    r"\w+",
    "A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 "
    "B16 B17 B18 B19 B21 B22 B23 B24 B25 B26 B27 "
    "C28 C29 C30 C31 C32 C33 C34 C35 C39 "
    "D42 D43 D44 D46 D47 D48 D49 D50 D51 D53 D54 D55 D65 D66 "
    "E67 E72 E74 E75 "
    "F76 F78 F79 F80",
)


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)

    assert named
    missing = [f"{path}::{test}" for path, test in named if test not in names_in(path)]
    assert missing == []


def test_every_case_has_a_test() -> None:
    shown = {
        row[1]: row[2] for row in re.finditer(r"^\| ([A-G]\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    }

    assert sorted(shown) == sorted(CASES)
    assert all("::test_" in tests for tests in shown.values())
