"""The app as a facade: what it takes, what it refuses, and that it asks nobody."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import Iterator
from datetime import date, datetime
from enum import Enum, StrEnum
from typing import Any, Literal, cast
from uuid import UUID

import pytest

import streamjobs
from streamjobs import (
    App,
    Context,
    DefinitionError,
    EnqueueError,
    InvalidArguments,
    Retry,
    SettingsError,
)
from streamjobs.client import BY_ARGUMENTS, Call
from streamjobs.keys import key_text


@pytest.fixture
def app() -> App:
    made = App("shop")
    made.queue("mail", partitions=3, retry=Retry(delays=("1s",)), retention="1d")
    return made


def anything(value: Any) -> Any:
    """A value the type checker would refuse."""
    return value


def key_of(call: Call) -> str | None:
    assert call.definition.key is not None
    return call.definition.key(call.args)


def test_what_is_public_is_there_and_listed() -> None:
    assert sorted(streamjobs.__all__) == streamjobs.__all__
    assert all(hasattr(streamjobs, name) for name in streamjobs.__all__)


def test_a_job_is_the_function_it_was(app: App) -> None:
    @app.job(queue="mail")
    def greet(name: str, *, loud: bool = False) -> str:
        """Say hello."""
        return name.upper() if loud else name

    assert greet("ann", loud=True) == "ANN"
    assert (greet.__name__, greet.__doc__) == ("greet", "Say hello.")  # type: ignore[attr-defined]
    assert greet.__module__ == __name__
    assert repr(greet) == "<job 'greet' of queue 'mail'>"
    assert app.jobs == {"greet": greet}
    assert app.registry.jobs["greet"] is greet.definition


def same(call: Call) -> Call:
    return call


def test_a_job_with_a_context_takes_it_when_it_is_called_plainly(app: App) -> None:
    @app.job
    def greet(ctx: Context, name: str) -> str:
        return f"{ctx.job_id} {name}"

    context = Context(job_id="7", job="greet", key=None, attempt=1, enqueued_at=0, outgoing=same)

    assert greet(context, name="ann") == "7 ann"
    assert greet.definition.takes_context
    assert [p.name for p in greet.definition.parameters] == ["name"]
    assert greet.definition.queue == "default"


def test_a_call_is_checked_and_complete(app: App) -> None:
    @app.job(queue="mail")
    def greet(ctx: Context, name: str, number: int = 3) -> None: ...

    for call in (greet.call("ann"), greet.call(name="ann"), greet.call("ann", 3)):
        assert call.args == {"name": "ann", "number": 3}
        assert call.definition is greet.definition
        assert (call.id, call.key) == (None, BY_ARGUMENTS)


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "name: missing"),
        (("ann", 3, True), {}, "loud: given by position"),
        (("ann", 3, 4, 5), {}, "takes 3 arguments"),
        (("ann",), {"name": "bob"}, "name: given twice"),
        (("ann",), {"nmae": "bob"}, "nmae: no such parameter"),
        ((7,), {}, "name: got 7"),
        (("ann", "3"), {}, "number: got '3'"),
        (("ann", True), {}, "number: got True"),
        (("ann", 2**63), {}, "number: got 9223372036854775808"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(
    app: App, args: tuple[Any, ...], kwargs: dict[str, Any], problem: str
) -> None:
    @app.job(queue="mail")
    def greet(name: str, number: int = 3, *, loud: bool = False) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        greet.call(*args, **kwargs)

    assert caught.value.job == "greet"
    assert problem in str(caught.value)


def test_by_name_only_means_by_name_only(app: App) -> None:
    @app.job(queue="mail")
    def greet(*, name: str) -> None: ...

    with pytest.raises(InvalidArguments, match="name: given by position"):
        anything(greet).call("ann")


def test_every_bad_argument_is_named(app: App) -> None:
    @app.job(queue="mail")
    def greet(name: str, number: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        anything(greet).call(nmae="ann", number="3")

    assert {p.split(":")[0] for p in caught.value.problems} == {"name", "nmae", "number"}


def test_parameters_may_be_called_as_ours_are(app: App) -> None:
    @app.job(queue="mail", key="key")
    def greet(self: str, key: str, id: int, args: str) -> str:  # noqa: A002
        return self + key

    call = greet.call(self="a", key="b", id=3, args="c")

    assert call.args == {"self": "a", "key": "b", "id": 3, "args": "c"}
    assert greet(self="a", key="b", id=3, args="c") == "ab"


def test_options_go_with_the_call_and_leave_the_job_as_it_was(app: App) -> None:
    @app.job(queue="mail", key="name")
    def greet(name: str) -> None: ...

    wanted = "6BA7B810-9DAD-41D1-80B4-00C04FD430C8"
    both = greet.options(id=wanted, key=7).call("ann")
    chained = greet.options(key=None).options(id=UUID(wanted)).call("ann")

    assert (both.id, both.key) == (wanted.lower(), "7")
    assert (chained.id, chained.key) == (wanted.lower(), None)
    assert greet.call("ann").key is BY_ARGUMENTS


@pytest.mark.parametrize(
    ("options", "problem"), [({"id": "seven"}, "is no UUID"), ({"key": 1.5}, "not float")]
)
def test_options_that_cannot_be(app: App, options: dict[str, Any], problem: str) -> None:
    @app.job
    def greet() -> None: ...

    with pytest.raises(InvalidArguments, match=problem):
        greet.options(**options)


@pytest.mark.parametrize("option", ["timeout", "delay", "eta", "executor", "tags"])
def test_what_is_not_built_yet_is_a_type_error(app: App, option: str) -> None:
    @app.job
    def greet() -> None: ...

    with pytest.raises(TypeError, match=option):
        anything(greet).options(**{option: "1s"})
    with pytest.raises(TypeError, match=option):
        anything(app).job(**{option: "1s"})
    with pytest.raises(TypeError, match=option):
        anything(app).queue("other", **{option: "1s"})
    with pytest.raises(TypeError, match=option):
        anything(App)("other", **{option: "1s"})


class Colour(Enum):
    RED = "#f00"


class Loud(StrEnum):
    YES = "ja"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("é", "é"),
        ("", ""),
        (7, "7"),
        (-(2**63), "-9223372036854775808"),
        (True, "true"),
        (UUID("6BA7B810-9DAD-41D1-80B4-00C04FD430C8"), "6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
        (date(2013, 1, 2), "2013-01-02"),
        (Colour.RED, "RED"),
        (Loud.YES, "YES"),
    ],
)
def test_keys_have_one_text(value: object, text: str | None) -> None:
    assert key_text(value) == text


@pytest.mark.parametrize("value", [1.5, b"x", datetime(2013, 1, 2), [1], object()])  # noqa: DTZ001
def test_what_has_many_texts_is_no_key(value: object) -> None:
    with pytest.raises(TypeError, match="a key is"):
        key_text(value)


def test_a_key_by_an_arguments_name(app: App) -> None:
    @app.job(queue="mail", key="who")
    def by_text(who: str) -> None: ...
    @app.job(queue="mail", key="who")
    def by_number(who: int) -> None: ...
    @app.job(queue="mail", key="who")
    def perhaps(who: UUID | None = None) -> None: ...
    @app.job(queue="mail", key="who")
    def by_choice(who: Literal["a", "b"]) -> None: ...

    assert key_of(by_text.call("ann")) == "ann"
    assert key_of(by_number.call(7)) == "7"
    assert key_of(perhaps.call()) is None
    assert key_of(by_choice.call("b")) == "b"


def test_a_key_by_a_callable_of_some_arguments(app: App) -> None:
    @app.job(queue="mail", key=lambda city, street: f"{street}, {city}")
    def visit(street: str, number: int, city: str) -> None: ...
    @app.job(queue="mail", key=lambda **address: len(address))
    def count(street: str, city: str) -> None: ...

    assert key_of(visit.call("High St", 1, city="Ely")) == "High St, Ely"
    assert key_of(count.call("a", "b")) == "2"


def test_a_key_callable_that_fails_is_told_at_the_call(app: App) -> None:
    @app.job(queue="mail", key=lambda name: name.missing)
    def one(name: str) -> None: ...
    @app.job(queue="mail", key=lambda name: 1.5)
    def two(name: str) -> None: ...

    with pytest.raises(InvalidArguments, match="key: the key callable fails: AttributeError"):
        key_of(one.call("a"))
    with pytest.raises(InvalidArguments, match="not float"):
        key_of(two.call("a"))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("nmae", "did you mean 'name'"),
        ("weight", "a key is"),
        ("when", "a key is"),
        (lambda nmae: nmae, "wants nmae"),
        (lambda name, /: name, "wants name"),
        (7, "must be the name of an argument, or a callable"),
    ],
)
def test_keys_that_cannot_be(app: App, key: Any, problem: str) -> None:
    def greet(name: str, weight: float, when: datetime) -> None: ...

    with pytest.raises(DefinitionError, match=problem):
        app.job(queue="mail", key=key)(greet)
    assert not app.jobs


async def coroutine() -> None: ...
def generator() -> Iterator[int]:
    yield 1


def untyped(name):  # type: ignore[no-untyped-def]
    ...
def hopeless(name: object) -> None: ...
def variadic(*names: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (coroutine, "async def is not supported yet"),
        (generator, "a generator does nothing"),
        (untyped, "has no type hint"),
        (hopeless, "name"),
        (variadic, "names"),
        (functools.partial(print, "x"), "takes a function, not partial"),
        (int, "takes a function, not type"),
        (7, "takes a function, not int"),
    ],
)
def test_functions_that_cannot_be_jobs(app: App, function: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        app.job(queue="mail")(function)
    assert not app.jobs
    assert not app.registry.jobs


def test_names_and_queues_are_checked(app: App) -> None:
    def greet(name: str) -> None: ...

    app.job(queue="mail")(greet)
    with pytest.raises(DefinitionError, match="defined twice"):
        app.job(queue="mail")(greet)
    with pytest.raises(DefinitionError, match="did you mean 'mail'"):
        app.job(queue="mial", name="other")(greet)
    assert app.job(queue="mail", name="other")(greet).definition.name == "other"
    assert sorted(app.jobs) == ["greet", "other"]


def test_settings_are_read_at_first_use_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App("shop", namespace="code", bootstrap_servers="code:1")
    monkeypatch.setenv("STREAMJOBS_NAMESPACE", "staging")

    assert app.name == "shop"
    assert app.prefix == "staging"
    assert app.settings.bootstrap_servers == "code:1"
    assert App("shop", namespace="code").registry.app == "shop"


def test_bad_settings_are_told_when_they_are_needed() -> None:
    app = App("shop", delivery="twice")

    with pytest.raises(SettingsError, match="delivery"):
        _ = app.client


def test_an_app_that_enqueued_nothing_closes_and_stays_closed(app: App) -> None:
    @app.job
    def greet() -> None: ...

    with app as same:
        assert same is app
    app.close()

    with pytest.raises(EnqueueError, match="app 'shop' is closed"):
        greet.enqueue()
    with pytest.raises(EnqueueError, match="app 'shop' is closed"):
        asyncio.run(greet.enqueue_async())
    with pytest.raises(EnqueueError, match="app 'shop' is closed"):
        app.enqueue_many([])
    with pytest.raises(EnqueueError, match="app 'shop' is closed"), app:
        pass


def test_apps_can_be_collected() -> None:
    def make() -> weakref.ref[App]:
        app = App("shop")

        @app.job
        def greet() -> None: ...

        return weakref.ref(app)

    ref = make()
    gc.collect()

    assert ref() is None


def test_two_apps_know_nothing_of_each_other(app: App) -> None:
    other = App("other")

    @other.job
    def greet() -> None: ...

    assert not app.jobs
    assert list(other.jobs) == ["greet"]


def test_a_context_takes_calls_of_jobs(app: App) -> None:
    @app.job(queue="mail")
    def greet(name: str) -> None: ...

    context = Context(job_id="7", job="other", key=None, attempt=1, enqueued_at=0, outgoing=same)
    context.enqueue(greet, "ann")

    [call] = cast("tuple[Call, ...]", context.children)
    assert call.args == {"name": "ann"}
