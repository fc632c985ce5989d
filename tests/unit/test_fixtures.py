"""The fixtures of ``streamjobs.testing``, tried in test runs of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

THREE_TESTS = """
    def test_one(group_protocol): print("ran with", group_protocol)
    def test_two(group_protocol): print("ran with", group_protocol)
    def test_four(group_protocol): print("ran with", group_protocol)
"""
NO_WAY = ("STREAMJOBS_TEST_BOOTSTRAP", "KAFKA_HOME", "JAVA_HOME", "CI", "STREAMJOBS_TEST_PROTOCOLS")


@pytest.fixture(autouse=True)
def bare_machine(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Given a machine with neither Java nor Docker, and a conftest with our fixtures."""
    for name in NO_WAY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    pytester.makeconftest('pytest_plugins = ["streamjobs.testing"]')


def run_tests(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    pytester.makepyfile(code)
    return pytester.runpytest_inprocess("-s", "-p", "no:cacheprovider", "-W", "error")


def test_protocols_come_in_turn_and_always_the_same(pytester: pytest.Pytester) -> None:
    first = [x for x in run_tests(pytester, THREE_TESTS).outlines if "ran with" in x]
    second = [x for x in run_tests(pytester, THREE_TESTS).outlines if "ran with" in x]

    assert first == second
    assert len(first) == 3
    assert {line.split()[-1].rstrip(".") for line in first} == {"classic", "consumer"}


def test_every_protocol_that_the_environment_names_is_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMJOBS_TEST_PROTOCOLS", "classic,consumer")
    run_tests(pytester, THREE_TESTS).assert_outcomes(passed=6)


def test_a_protocol_that_does_not_exist_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMJOBS_TEST_PROTOCOLS", "classic,share")
    result = run_tests(pytester, THREE_TESTS)
    assert "'share' is no group protocol, use classic or consumer" in str(result.outlines)


@pytest.mark.parametrize(
    ("wanted", "outcomes"),
    [
        ("", {"passed": 2}),
        ("classic,consumer", {"passed": 2}),
        ("classic", {"passed": 1, "skipped": 1}),
    ],
)
def test_one_that_is_about_one_protocol_runs_once_with_that_one(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    outcomes: dict[str, int],
) -> None:
    monkeypatch.setenv("STREAMJOBS_TEST_PROTOCOLS", wanted)
    code = """
        import pytest
        @pytest.mark.only_protocol("classic", why="")
        def test_one(group_protocol): assert group_protocol == "classic"
        @pytest.mark.only_protocol("consumer", why="")
        def test_two(group_protocol): assert group_protocol == "consumer"
    """
    run_tests(pytester, code).assert_outcomes(**outcomes)


def test_app_names_are_valid_and_never_the_same(pytester: pytest.Pytester) -> None:
    code = """
        import pytest
        from streamjobs.topics import check_name
        seen = set()
        @pytest.mark.parametrize("x", ["A_b C", "é/.."])
        @pytest.mark.parametrize("turn", [1, 2])
        def test_name(app_name, x, turn):
            assert check_name("app", app_name) not in seen
            seen.add(app_name)
    """
    run_tests(pytester, code).assert_outcomes(passed=4)


@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "errors")])
def test_without_a_way_to_kafka_its_tests_fail_in_ci_and_are_skipped_elsewhere(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile("def test_it(kafka_broker): pass\ndef test_three(kafka_cluster): pass")

    result = pytester.runpytest_inprocess("-rs", "-p", "no:cacheprovider")

    result.assert_outcomes(**{outcome: 2})
    assert "KAFKA_HOME of an unpacked Kafka 4" in str(result.outlines)


def test_an_error_in_a_background_thread_fails_the_test(pytester: pytest.Pytester) -> None:
    code = """
        import threading
        def test_thread():
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
    """
    run_tests(pytester, code).assert_outcomes(failed=1)
