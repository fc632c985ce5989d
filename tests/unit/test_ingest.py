"""Reading rows: what a file is like must never stop the rows that are sound."""

from __future__ import annotations

import contextlib
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamjobs import ingest
from streamjobs.errors import SettingsError
from streamjobs.ingest import Columns, Reject, Row, parse_object, printable, read_csv, read_jsonl

TWO = Columns({"a": True, "b": False}, {})


def from_csv(data: bytes, columns: Columns = TWO) -> tuple[list[Row], list[Reject]]:
    rejects: list[Reject] = []
    return list(read_csv(io.BytesIO(data), columns, rejects.append)), rejects


def from_jsonl(data: bytes, columns: Columns = TWO) -> tuple[list[Row], list[Reject]]:
    rejects: list[Reject] = []
    return list(read_jsonl(io.BytesIO(data), columns, rejects.append)), rejects


def lines_of(rejects: list[Reject]) -> list[int]:
    return [reject.line for reject in rejects]


def test_csv_rows_are_text_by_argument_with_their_line() -> None:
    rows, rejects = from_csv(b"a,b\n1,x\n\n2,\n")
    assert rejects == []
    assert rows == [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_csv_with_bom_quotes_and_newlines_in_cells(newline: bytes) -> None:
    data = newline.join([b'\xef\xbb\xbf"a",b', b'1,"x, ""y""', b'z"', b"2,q", b""])
    rows, rejects = from_csv(data)
    assert rejects == []
    assert rows == [{"a": "1", "b": f'x, "y"{newline.decode()}z'}, {"a": "2", "b": "q"}]
    assert [row.line for row in rows] == [2, 4]


def test_ragged_rows_are_rejected_with_their_cells() -> None:
    rows, rejects = from_csv(b"a,b\n1\n1,2,3\n4,5\n")
    assert rows == [{"a": "4", "b": "5"}]
    assert rejects == [
        Reject(2, "1 cell under a header of 2 columns", ["1"]),
        Reject(3, "3 cells under a header of 2 columns", ["1", "2", "3"]),
    ]


def test_bytes_that_are_no_utf8_are_rejected_and_shown() -> None:
    rows, rejects = from_csv("a,b\n1,é\n".encode() + b"2,caf\xe9\n3,x\n")
    assert [row["a"] for row in rows] == ["1", "3"]
    (reject,) = rejects
    assert (reject.line, reject.row) == (3, ["2", "caf\\xe9"])
    assert "'b' is not valid UTF-8" in reject.reason
    json.dumps(reject.row).encode("utf-8")


def test_a_quote_that_nobody_closes_costs_one_line_only() -> None:
    rows, rejects = from_csv(b'a,b\n1,"open\n2,x\n3,y\n')
    assert [row["a"] for row in rows] == ["2", "3"]
    assert [row.line for row in rows] == [3, 4]
    (reject,) = rejects
    assert (reject.line, reject.row) == (2, '1,"open')
    assert reject.reason.startswith("not CSV")


def test_text_behind_a_closing_quote_is_rejected() -> None:
    rows, rejects = from_csv(b'a,b\n1,"x"y\n2,z\n')
    assert rows == [{"a": "2", "b": "z"}]
    assert lines_of(rejects) == [2]


def test_huge_cells_pass_and_endless_ones_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"x" * 1_000_000
    rows, _ = from_csv(b"a,b\n1," + large + b"\n")
    assert len(rows[0]["b"]) == 1_000_000
    # given a limit of 1,000 characters, and a line, a quoted cell and a JSON line beyond it
    monkeypatch.setattr(ingest, "MAX_ROW_CHARS", 1000)
    many = b'2,"' + b"y\n" * 600 + b'"\n'
    rows, rejects = from_csv(b"a,b\n1," + b"x" * 5000 + b"\n" + b"3,z\n" + many + b"4,z\n")
    assert [row["a"] for row in rows] == ["3", "4"]
    assert rejects[0].line == 2
    assert rejects[1].line == 4
    rows, rejects = from_jsonl(b'{"a": "' + b"x" * 5000 + b'"}\n{"a": 1}\n')
    assert (rows, lines_of(rejects)) == ([{"a": 1}], [1])
    assert rows[0].line == 2


def test_nul_bytes_are_text() -> None:
    rows, rejects = from_csv(b"a,b\n1,x\x00y\n")
    assert (rows, rejects) == ([{"a": "1", "b": "x\x00y"}], [])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"a,c", "column 'c' is no argument"),
        (b"b", "no column feeds argument 'a'"),
        (b"a,a", "column 'a' is there twice"),
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,\xff", "not valid UTF-8"),
        (b"\xff\xfea\x00,\x00b\x00", "not valid UTF-8"),
        (b'a,"b', "header cannot be read"),
    ],
)
def test_a_header_that_cannot_be_used_is_one_error(header: bytes, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        from_csv(header + b"\n1,2\n" if header.strip() else header)


def test_every_problem_of_a_header_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        from_csv(b"c,d\n1,2\n")
    text = str(raised.value)
    assert all(part in text for part in ("'c'", "'d'", "argument 'a'", "columns are: c, d"))


def test_mapping_renames_leaves_out_and_takes_the_key() -> None:
    columns = Columns({"a": True}, {"Alpha": "a", "junk": ""}, key="tail")
    rows, rejects = from_csv(b"tail,junk,Alpha\nN1,x,5\n", columns)
    assert (rows, rejects, rows[0].key) == ([{"a": "5"}], [], "N1")
    assert rows[0].source == {"tail": "N1", "junk": "x", "Alpha": "5"}
    (row,), _ = from_jsonl(b'{"tail": "N1", "junk": [], "Alpha": 5}\n', columns)
    assert (row, row.key) == ({"a": 5}, "N1")


def test_a_key_column_that_is_an_argument_stays_one() -> None:
    (row,), _ = from_csv(b"a,b\n7,x\n", Columns(TWO.parameters, {}, key="a"))
    assert (row, row.key) == ({"a": "7", "b": "x"}, "7")


def test_mapping_to_no_argument_or_from_no_column_is_refused() -> None:
    with pytest.raises(SettingsError, match="no argument 'z'; the job takes: a, b"):
        from_csv(b"a,b\n", Columns(TWO.parameters, {"x": "z"}))
    with pytest.raises(SettingsError, match="no column 'x'"):
        from_csv(b"a,b\n", Columns(TWO.parameters, {"x": "a"}))
    with pytest.raises(SettingsError, match="no column 'k'"):
        from_csv(b"a,b\n", Columns(TWO.parameters, {}, key="k"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not a JSON object"),
        (b"[1]", "not a list"),
        (b"7", "not a number"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e99999999}', "number 1e99999999 is out of range"),
        (b'{"a": 1e-99999999}', "number 1e-99999999 is out of range"),
        (b'{"a": 0e99999999}', "number 0e99999999 is out of range"),
        (b'{"a": 1e99999999999999999999}', "number 1e99999999999999999999 is out of range"),
        (b'{"a": 0.' + b"1" * 5000 + b"}", "number 0.1111111111111111111111111111 is out of range"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "limit"),
    ],
)
def test_json_lines_that_cannot_be_read_are_rejected(line: bytes, said: str) -> None:
    rows, rejects = from_jsonl(b'\xef\xbb\xbf{"a": 0}\n\n' + line + b'\r\n{"a": 1}')
    assert rows == [{"a": 0}, {"a": 1}]
    (reject,) = rejects
    assert reject.line == 3
    assert said in reject.reason


def test_json_numbers_lose_no_digit() -> None:
    assert parse_object('{"x": 12345678901234567.89}') == {"x": Decimal("12345678901234567.89")}


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refused_header(data: bytes) -> None:
    from_csv(b"a,b\n" + data)
    from_jsonl(data)
    with contextlib.suppress(SettingsError):
        from_csv(data)


@given(st.text(st.characters()))
@example("\ud800")
def test_whatever_json_can_spell_can_be_kept_as_a_reject(text: str) -> None:
    (row,), rejects = from_jsonl(json.dumps({"a": text}).encode())
    assert rejects == []
    assert isinstance(printable(row.source)["a"].encode(), bytes)


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), max_size=10))
def test_what_a_csv_writer_writes_comes_back(cells: list[tuple[str, str]]) -> None:
    import csv

    out = io.StringIO(newline="")
    csv.writer(out).writerows([("a", "b"), *cells])
    data = out.getvalue().encode("utf-8", "replace")
    want = [[c.encode("utf-8", "replace").decode() for c in row] for row in cells]
    rows, rejects = from_csv(data)
    got: list[Any] = [[row["a"], row["b"]] for row in rows]
    assert (got, rejects) == (want, [])
