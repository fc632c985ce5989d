"""``streamjobs enqueue``: one job, and files that are not what they should be."""

from __future__ import annotations

import json
from typing import Any

from streamjobs.kafka.admin import Admin
from streamjobs.kafka.reader import Record, read
from streamjobs.settings import load_settings


def enqueued(shop: Any) -> list[Record]:
    """Every record of the main topic."""
    settings = load_settings({}, bootstrap_servers=shop.bootstrap)
    topic = f"{shop.name}.mail"
    with Admin(settings) as admin:
        logs = admin.watermarks([(topic, 0), (topic, 1)])
    return list(read(settings, {p: (log.start, log.end) for p, log in logs.items()}))


def keys(shop: Any) -> list[bytes | None]:
    return sorted((record.key for record in enqueued(shop)), key=str)


def test_one_job(shop: Any) -> None:
    arguments = '{"customer": 7, "due": 123456789012345678.90}'
    ref = shop.run("enqueue", "send_mail", "--args", arguments, "--json").value()
    (record,) = enqueued(shop)
    assert (record.partition, record.offset) == (ref["partition"], ref["offset"])
    assert record.key == b"7"
    assert ref["topic"] == f"{shop.name}.mail"
    assert ref["id"].encode() in (record.value or b"")


def test_a_csv_file_with_bad_rows(shop: Any) -> None:
    # given a file with a BOM, a cell of two lines, and rows that do not fit
    shop.write(
        "mails.csv",
        b"\xef\xbb\xbfCustomer,template,due,note\r\n"
        b'1,"two\r\nlines",1.50,x\r\n'
        b"two,welcome,,x\r\n"
        b"3,welcome,1.555,x\r\n"
        b"4,caf\xe9,,x\r\n"
        b"5,welcome\r\n"
        b"6,welcome,,x\r\n",
    )
    options = ["--map", "Customer=customer", "--map", "note="]
    # when it is enqueued
    done = shop.run("enqueue", "send_mail", "--from", "mails.csv", *options, expect=3)
    # then the sound ones are sent, and each of the others is told with its line
    assert keys(shop) == [b"1", b"6"]
    assert "2 jobs of send_mail enqueued" in done.out
    assert "4 rows rejected: mails.csv.rejects.jsonl" in done.out
    text = (shop.folder / "mails.csv.rejects.jsonl").read_text()
    rejects = [json.loads(line) for line in text.splitlines()]
    assert [sorted(reject) for reject in rejects] == [["line", "reason", "row"]] * 4
    assert [reject["line"] for reject in rejects] == [4, 5, 6, 7]
    assert "customer" in rejects[0]["reason"]
    assert rejects[0]["row"] == {
        "Customer": "two",
        "template": "welcome",
        "due": "",
        "note": "x",
    }
    assert "due" in rejects[1]["reason"]
    assert "UTF-8" in rejects[2]["reason"]
    assert "2 cells" in rejects[3]["reason"]
    # and a run without rejects leaves none of the last one's behind
    shop.write("mails.csv", b"customer\n7\n")
    assert shop.run("enqueue", "send_mail", "--from", "mails.csv", "--json").value()["sent"] == 1
    assert (shop.folder / "mails.csv.rejects.jsonl").read_text() == ""


def test_json_lines_from_a_pipe_with_a_key_column(shop: Any) -> None:
    lines = (
        b'{"customer": 1, "tail": "N1"}\n'
        b"\n"
        b'{"customer": "2", "tail": ""}\n'
        b"{customer: 3}\n"
        b'{"customer": 4.5, "tail": "N4"}\n'
    )
    arguments = ["--from", "-", "--format", "jsonl", "--key", "tail", "--rejects", "r.jsonl"]
    done = shop.run("enqueue", "send_mail", *arguments, "--json", stdin=lines, expect=3)
    summary = done.value()
    assert (summary["sent"], summary["rejected"], summary["rejects"]) == (2, 2, "r.jsonl")
    assert keys(shop) == [None, b"N1"]
    text = (shop.folder / "r.jsonl").read_text()
    assert [json.loads(line)["line"] for line in text.splitlines()] == [4, 5]
    assert json.loads(text.splitlines()[1])["row"] == {"customer": 4.5, "tail": "N4"}


def test_a_row_too_large_for_the_topic_is_rejected(shop: Any) -> None:
    shop.write("mails.csv", b"customer,template\n1," + b"x" * 2_000_000 + b"\n2,ok\n")
    shop.run("enqueue", "send_mail", "--from", "mails.csv", expect=3)
    assert keys(shop) == [b"2"]


def test_many_rows(shop: Any) -> None:
    shop.write("m.csv", b"customer\n" + b"".join(b"%d\n" % n for n in range(20_000)))
    done = shop.run("enqueue", "send_mail", "--from", "m.csv")
    assert "20,000 jobs of send_mail enqueued" in done.out
    # into a pipe there is no progress bar
    assert done.err == ""
    assert len(enqueued(shop)) == 20_000
