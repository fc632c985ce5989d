"""The surface under mypy and basedpyright, both strict: what must pass does, the rest does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("sample.py")
MARKED = frozenset(
    number for number, line in enumerate(SAMPLE.read_text().splitlines(), 1) if "  # error" in line
)


def refused_by_mypy(tmp_path: Path) -> dict[int, list[str]]:
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--no-error-summary",
            "--cache-dir", str(tmp_path), "--config-file", str(ROOT / "pyproject.toml"),
            str(SAMPLE),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        match = re.fullmatch(r"(\S+):(\d+): error: (.*)", line)
        if match:
            assert match[1].endswith("sample.py"), line
            found.setdefault(int(match[2]), []).append(match[3])
    return found


def refused_by_basedpyright(tmp_path: Path) -> dict[int, list[str]]:
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(SAMPLE)],
                "typeCheckingMode": "strict",
                "pythonVersion": "3.11",
                "extraPaths": [str(ROOT)],
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(config),
         "--pythonpath", sys.executable],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    found: dict[int, list[str]] = {}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            assert item["file"].endswith("sample.py"), item
            found.setdefault(item["range"]["start"]["line"] + 1, []).append(item["message"])
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", [refused_by_mypy, refused_by_basedpyright])
def test_what_must_pass_passes_and_the_rest_is_refused(check: object, tmp_path: Path) -> None:
    assert callable(check)
    refused = check(tmp_path)

    assert {n: text for n, text in refused.items() if n not in MARKED} == {}
    assert MARKED - refused.keys() == set()
    assert len(MARKED) >= 30
