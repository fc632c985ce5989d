"""What users write, under a strict type checker: each wrong line says which error it must get.

The markers are read by ``test_typing.py``: ``# error`` lines must be refused by every checker, all
other lines must pass. This module is never run.
"""

# pyright: reportUnusedExpression=false, reportUnusedCallResult=false

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type
from uuid import UUID

from streamjobs import App, Breaker, Call, Context, Job, JobRef, Queue, Retry, Summary

app = App("shop", bootstrap_servers="localhost:9092", kafka={"linger.ms": 5})
mail = app.queue("mail", partitions=8, retry=Retry(delays=("1s", "10s")), retention="7d")
assert_type(mail, Queue)
urgent = app.queue(
    "urgent", retry=Retry(immediate=2), priorities=("high", "low"), ordering="partition"
)
assert_type(urgent, Queue)
app.queue("loose", priorities=["high", "low"], ordering="none", breaker=None)
app.queue("careful", breaker=Breaker(share=0.5, outcomes=50, within="30s", probe_every=2))
app.queue("careless", breaker=False)  # error


@app.job(queue="mail", key="customer_id", name="send")
def send_mail(ctx: Context, customer_id: int, template: str = "welcome") -> None: ...


@app.job
def resize(image: bytes, *, width: int) -> str:
    return f"{len(image)} at {width}"


# A lambda works too, but a strict basedpyright wants to know its parameters' types.
def by_county(city: str) -> str:
    return city[:2]


@app.job(key=by_county)
def visit(city: str) -> int:
    return len(city)


@app.job
def tidy(ctx: Context) -> None: ...


# The function's own signature, without the context.
assert_type(send_mail.enqueue(7), JobRef)
assert_type(send_mail.enqueue(customer_id=7, template="x"), JobRef)
assert_type(send_mail.call(7, "x"), Call)
assert_type(resize.enqueue(b"x", width=3), JobRef)
assert_type(tidy.enqueue(), JobRef)
send_mail.enqueue("7")  # error
send_mail.enqueue(customer_id=7, template=8)  # error
send_mail.enqueue()  # error
send_mail.enqueue(customer_id=7, tempalte="x")  # error
send_mail.enqueue(7, "x", "y")  # error
send_mail.call("7")  # error
send_mail.call()  # error
resize.enqueue(b"x", 3)  # error
resize.call(b"x")  # error
tidy.enqueue(7)  # error


def with_context(ctx: Context) -> None:
    send_mail.enqueue(ctx, 7)  # error
    # Called plainly it is the function, context and all.
    assert_type(send_mail(ctx, 7), None)
    send_mail(7)  # error
    send_mail(ctx, "7")  # error
    # A child job has its own signature too.
    ctx.enqueue(send_mail, 7)
    ctx.enqueue(visit, city="Ely")
    ctx.enqueue(send_mail, "7")  # error
    ctx.enqueue(visit)  # error


assert_type(resize(b"x", width=3), str)
assert_type(visit("Ely"), int)
visit(7)  # error


# Options keep the signature.
assert_type(send_mail.options(key="k", id=UUID(int=4)).enqueue(7), JobRef)
send_mail.options(key=None).enqueue(7)
send_mail.options(key=7).enqueue("7")  # error
send_mail.options(id=7)  # error
send_mail.options(key=1.5)  # error
send_mail.options(delay="1s")  # error
assert_type(send_mail.options(priority="high").enqueue(7), JobRef)
send_mail.options(priority="high").enqueue("7")  # error
send_mail.options(priority=1)  # error


async def awaited() -> None:
    assert_type(await send_mail.enqueue_async(7), JobRef)
    await send_mail.enqueue_async("7")  # error


# Many.
def calls() -> Iterator[Call]:
    for number in range(10):
        yield send_mail.call(number)


assert_type(app.enqueue_many(calls()), Summary)
assert_type(app.enqueue_rows(send_mail, [{"customer_id": "7"}]), Summary)
app.enqueue_rows(send_mail.options(key=None), [], on_reject=lambda index, row, error: None)
app.enqueue_many(send_mail)  # error
app.enqueue_many([7])  # error
app.enqueue_rows(with_context, [])  # error


# A job as a parameter.
def twice(job: Job[[int, str], None]) -> None:
    job.enqueue(7, "x")
    job.enqueue("x")  # error


# What is not built is not taken.
app.queue("other", priority=3)  # error
app.queue("other", partitions="8")  # error
app.queue("other", priorities=(1, 2))  # error
app.queue("other", priorities=3)  # error
app.queue("other", ordering="keys")  # error
Retry(immediate="2")  # error
app.job(timeout="1s")  # error
App()  # error
App("shop", timeout=3)  # error

with app as same:
    assert_type(same, App)
