"""``streamjobs topics``: the way to the topics, and a ladder and counts that change in code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamjobs.kafka.brokers import Broker


def test_plan_apply_list(make_shop: Callable[[str], Any], kafka_broker: Broker) -> None:
    shop = make_shop(kafka_broker.bootstrap)
    # given nothing: the plan says what is missing, and changes nothing
    plan = shop.run("topics", "plan", "--json", expect=1).value()
    wanted = [step["topic"] for step in plan["steps"]]
    assert f"{shop.name}.mail.retry.1s" in wanted
    assert len(plan["problems"]) == len(wanted)
    assert not any(row["exists"] for row in shop.run("topics", "list", "--json").lines())
    # when applied, twice
    first = shop.run("topics", "apply", "--json").value()
    second = shop.run("topics", "apply", "--json").value()
    # then all is there and the second time nothing is done
    assert [step["topic"] for step in first["done"]] == wanted
    assert second["done"] == []
    rows = shop.run("topics", "list", "--json").lines()
    assert [row["topic"] for row in rows] == wanted
    assert all(row["exists"] and row["needed"] and row["topic_id"] for row in rows)
    assert "nothing to do" in shop.run("topics", "plan").out


def test_a_changed_ladder_and_another_count(shop: Any) -> None:
    # given code of a later release: another tier, and one partition more
    text = (shop.folder / "shop.py").read_text()
    changed = text.replace('("1s",)', '("2s",)').replace(
        'app.queue("slow", partitions=1', 'app.queue("slow", partitions=2'
    )
    (shop.folder / "shop.py").write_text(changed)
    # when it is applied
    done = shop.run("topics", "apply", expect=1)
    # then the new tier is made, the old one stays, and what cannot be mended is told
    assert f"create {shop.name}.mail.retry.2s" in done.out
    assert f"topic {shop.name}.slow has 1 partition," in done.err
    assert "set partitions=1" in done.err
    # and a second time, when nothing else is left to do, nobody is told that all is well
    assert shop.run("topics", "apply", expect=1).out == ""
    plan = shop.run("topics", "plan", "--json", expect=1).value()
    old = f"{shop.name}.mail.retry.1s"
    assert plan["old_tiers"] == [{"topic": old, "group": f"{shop.name}.mail", "empty": True}]
    rows = {row["topic"]: row for row in shop.run("topics", "list", "--json").lines()}
    assert (rows[old]["exists"], rows[old]["needed"]) == (True, False)
    assert rows[f"{shop.name}.slow"]["partitions"] == 1


def test_the_embedded_broker_says_where_its_topics_come_from(
    make_shop: Callable[[str], Any], embedded_broker: Broker
) -> None:
    shop = make_shop(embedded_broker.bootstrap)
    done = shop.run("topics", "apply", expect=1)
    assert "start it with -A" in done.err


def test_schemas_are_exported_without_a_broker(make_shop: Callable[[str], Any]) -> None:
    shop = make_shop("127.0.0.1:1")
    shop.run("schemas", "export", "--to", "out/avsc")
    names = {path.name for path in (shop.folder / "out" / "avsc").iterdir()}
    assert names == {"send_mail.avsc", "send_late.avsc"}
    assert '"customer"' in (shop.folder / "out" / "avsc" / "send_mail.avsc").read_text()
