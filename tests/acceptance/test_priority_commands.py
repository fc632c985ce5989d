"""The commands on a queue with priorities, beside queues that have none."""

from __future__ import annotations

from typing import Any

PRIORITIES = ["high", "normal", "low"]
QUEUE = """
app.queue("alert", partitions=2, retry=Retry(delays=("1s",)), priorities=("high", "normal", "low"))


@app.job(queue="alert", key="customer")
def alert(customer: int) -> None: ...
"""


def test_commands_with_priorities(shop: Any) -> None:
    # Given a queue with priorities, its topics made
    path = shop.folder / "shop.py"
    path.write_text(path.read_text() + QUEUE)
    shop.run("topics", "apply")
    rows = shop.run("topics", "list", "--json").lines()
    names = {row["topic"] for row in rows if row["exists"] and row["needed"]}
    base = f"{shop.name}.alert"
    alerts = {f"{base}.{name}" for name in (*PRIORITIES, "retry.1s", "dlq", "marks")}
    assert {name for name in names if name.startswith(base)} == alerts
    assert "nothing to do" in shop.run("topics", "plan").out

    # When jobs are enqueued with a priority and without one, one by one and from a file
    one = ["enqueue", "alert", "--args", '{"customer": 7}', "--json"]
    refs = [shop.run(*one, *more).value() for more in ([], ["--priority", "high"])]
    shop.write("alerts.csv", b"customer\n1\n2\n3\n")
    shop.run("enqueue", "alert", "--from", "alerts.csv", "--priority", "low")
    refused = shop.run(*one, "--priority", "urgent", expect=2)

    # Then each is where it belongs, and the status tells all of it and each
    assert [ref["topic"] for ref in refs] == [f"{base}.normal", f"{base}.high"]
    assert "queue 'alert' has high, normal, low" in refused.err
    queues = shop.run("status", "--json").value()["queues"]
    assert queues["alert"]["waiting"] == 5
    assert queues["alert"]["waiting_by_priority"] == {"high": 1, "normal": 1, "low": 3}
    assert "waiting_by_priority" not in queues["mail"]
    assert "low: 3" in shop.run("status", "-q", "alert").out

    # And when a worker has run them, nothing waits and nothing is dead
    shop.run("worker", "-q", "alert", "--drain")
    alert = shop.run("status", "-q", "alert", "--json").value()["queues"]["alert"]
    assert (alert["waiting"], set(alert["waiting_by_priority"].values())) == (0, {0})
    assert shop.run("dlq", "list", "-q", "alert", "--json").lines() == []
