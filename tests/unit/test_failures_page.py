"""Pages that name tests for failures: each has to exist, and each case and bug has to have one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
OTHERS = (ROOT / "docs" / "others-bugs.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
BUGS = re.findall(
    r"\S+",
    "pc#857 pc#547 pc#826 pc#875 pc#894 pc#834 pc#835 pc#196 pc#310 pc#409 pc#647 pc#832 pc#579 "
    "pc#638 pc#184 astubbs#183 astubbs#217 astubbs#119 astubbs#150 karafka#3216 karafka#3220",
)
CASES = re.findall(
    r"\w+",
    "A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 "
    "B16 B17 B18 B19 B21 B22 B23 B24 B25 B26 B27 "
    "C28 C29 C30 C31 C32 C33 C34 C35 C36 C37 C39 "
    "D42 D43 D44 D46 D47 D48 D49 D50 D51 D53 D54 D55 D65 D66 "
    "E67 E72 E74 E75 "
    "F76 F78 F79 F80",
)


def names_in(path: str) -> set[str]:
    """The tests of a file as pytest is told them; those of a class as ``Class::test``."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} | {
        f"{each.name}::{node.name}"
        for each in tree.body
        if isinstance(each, ast.ClassDef)
        for node in each.body
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("page", [PAGE, OTHERS], ids=["failures", "others-bugs"])
def test_every_test_it_names_exists(page: str) -> None:
    named = TEST.findall(page)

    assert len(named) > 20
    assert len(named) == page.count("`tests/") - page.count("`tests/unit/test_failures_page.py`")
    assert [f"{path}::{test}" for path, test in named if test not in names_in(path)] == []


def test_every_bug_of_others_has_a_test() -> None:
    rows = re.findall(r"^\| ([^|]+) \|.*\| (.*) \|$", OTHERS, re.MULTILINE)

    shown = {bug: tests for bugs, tests in rows for bug in bugs.split(", ") if "#" in bug}
    assert sorted(shown) == sorted(BUGS)
    assert all(TEST.search(tests) for tests in shown.values())


def test_every_case_has_a_test() -> None:
    shown = {
        row[1]: row[2] for row in re.finditer(r"^\| ([A-G]\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    }

    assert sorted(shown) == sorted(CASES)
    assert all("::test_" in tests for tests in shown.values())
