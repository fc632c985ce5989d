"""One of a thing is not many, and a line for people that counts says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from streamjobs.wording import counted

ROOT = Path(__file__).resolve().parents[2] / "streamjobs"
# What is counted in lines for people.
WORDS = (
    "attempts arguments bytes cells columns flights groups items jobs letters moves "
    "offsets partitions problems rows schemas topics"
)
# A bare number, then a word that is wrong after a one: f"{n:,} jobs", "%d dead letters". "The last
# %d attempts" are a window of many.
BARE = re.compile(rf"(?<!last )(?:%d|\x00) (?:dead )?(?:{'|'.join(WORDS.split())})\b(?!/s)")
# Never one: problems are counted there where there are several, and aircraft have no singular.
FINE = {"cli/main.py", "demo/screen.py"}


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (336_776, "336,776 rows"), (-1, "-1 rows")],
)
def test_one_is_singular(count: int, said: str) -> None:
    assert counted(count, "row") == said


def test_more_than_the_word_can_change() -> None:
    assert counted(1, "topic is", "topics are") == "1 topic is"
    assert counted(3, "topic is", "topics are") == "3 topics are"


def said_in(tree: ast.AST) -> list[str]:
    """The texts of a module; a number put into one is a NUL."""
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "\x00" for p in node.values)
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


@pytest.mark.parametrize("text", ['f"{n:,} jobs done"', 'f"{n} dead letters"', '"%d attempts"'])
def test_the_check_finds_a_bare_plural(text: str) -> None:
    assert any(map(BARE.search, said_in(ast.parse(text))))


def test_no_text_puts_a_plural_behind_a_bare_number() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text!r}"
        for path in sorted(ROOT.rglob("*.py"))
        if str(path.relative_to(ROOT)) not in FINE
        for text in said_in(ast.parse(path.read_text(encoding="utf-8")))
        if BARE.search(text)
    ]
    assert found == []
