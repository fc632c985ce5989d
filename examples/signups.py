"""A pipeline: one job enqueues the next, and a file of sign-ups feeds the first.

Child jobs are part of their parent's success: an attempt that fails enqueues none. Run it:

    streamjobs -A signups:app topics apply
    streamjobs -A signups:app enqueue sign_up --from signups.csv    # exits 3: one row is bad
    streamjobs -A signups:app worker --drain
    streamjobs -A signups:app dlq list -q accounts
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated

from pydantic import Field

from streamjobs import App, Context, DeadLetter, Discard, Retry, RetryAfter, current_context

app = App("signups")
app.queue("accounts", partitions=4, retry=Retry(delays=("500ms", "2s")))
app.queue("letters", partitions=4, retry=Retry(delays=("500ms",)))

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]


class Plan(Enum):
    """What a customer pays for; on the wire by name."""

    FREE = "free"
    PRO = "pro"


@dataclass
class Letter:
    """What is written to a customer; a record on the wire."""

    title: str
    lines: list[str]


@app.job(queue="letters", key="email")
def send_letter(email: str, letter: Letter) -> None:
    current_context().log.info("to %s: %s, %d lines", email, letter.title, len(letter.lines))


@app.job(queue="accounts", key="email")
def sign_up(ctx: Context, email: str, plan: Plan, since: date, fee: Money | None = None) -> None:
    if email.endswith("@example.invalid"):
        raise Discard("a test address")
    if plan is Plan.PRO and fee is None:
        raise DeadLetter("a paid plan without a fee")
    if email.startswith("slow") and ctx.attempt == 1:
        raise RetryAfter("1s")  # waits in the shortest tier that is at least as long: 2 s
    lines = [f"since {since:%d.%m.%Y}", f"fee {fee or 0}"]
    ctx.enqueue(send_letter, email=email, letter=Letter(f"Welcome to {plan.value}", lines))
