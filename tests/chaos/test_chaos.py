"""A short campaign with every run of the tests: one broker, and one protocol.

`make test-all` plays it with both. It covers kills from outside and by jobs, halts past the
session, stops, scaling up, and deaths or stops at failpoints. What one broker cannot show (broker
loss), how long a take-over takes, and counts that take longer to reach, are `make chaos`'s.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.campaign import Plan, campaign_of, seconds_of
from chaos.verdict import known_gaps, report
from history.judge import judge
from history.model import Gap
from history.take_overs import take_overs

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

SECONDS, SEED = 30, 7
NEEDED = {
    "jobs": 500,
    "poison": 5,
    "children": 5,
    "retries": 50,
    "dead": 10,
    "kills": 1,
    "kills by jobs": 1,
    "kills and stops at failpoints": 1,
    "scale-ups": 1,
    "stops": 2,
    "halts past the session": 1,
    "rebalances": 5,
    "offset samples": 20,
    "hit txn.committed": 20,
    "hit cycle.plain-done": 5,
}


# A campaign whose drain never ends (`campaign.DRAIN`, and then `STOP`) is judged all the same.
@pytest.mark.timeout(330)
def test_a_short_campaign_breaks_no_guarantee(
    kafka_broker: Broker, tmp_path: Path, group_protocol: GroupProtocol
) -> None:
    # How long a take-over takes is not judged here: beside other tests it says little.
    gaps = known_gaps() | {Gap.OPEN_TRANSACTIONS}
    plan = Plan(SEED, SECONDS, group_protocol, most=4, quiet=False, gaps=gaps)
    with campaign_of(plan, kafka_broker, tmp_path) as campaign:
        history = campaign.play()

    violations = judge(history, NEEDED)

    if violations:
        found = list(take_overs(history))
        pytest.fail(report(history, violations, seconds_of(history), found))
