"""The pool: deadlines, crashes, memory, order, threads, leaks. Workers run the functions of
functions.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdro.data.prompts import Prompt
from gdro.verify import (
    MathVerifier,
    PoolVerifier,
    RewardFunctionError,
    VerifierError,
    causes,
    make_verifier,
)

FUNCTIONS = Path(__file__).parent / "functions.py"


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"set/{i}", "?", "4", "set", {"weight": i}) for i in range(count)]


def verifier(function: str = "by_word", **options: object) -> PoolVerifier:
    settings: dict[str, object] = {"workers": 2, "deadline": 1.0, "memory_mb": 128, **options}
    return make_verifier("function", function=f"{FUNCTIONS}:{function}", **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words() -> Iterator[PoolVerifier]:
    with verifier() as one:
        yield one


def score(one: PoolVerifier, *words: str) -> tuple[list[float], dict[str, int]]:
    """Scores, and what the counts grew by."""
    before = one.counts
    scores = one.score(prompts(len(words)), list(words))
    return scores, {
        cause: n - before.get(cause, 0)
        for cause, n in one.counts.items()
        if n != before.get(cause, 0)
    }


def test_order_is_kept_over_many_batches() -> None:
    with verifier("length", workers=3) as one:
        texts = ["x" * (i * 7919 % 101) for i in range(1000)]
        assert one.score(prompts(1000), texts) == [len(text) / 10 for text in texts]
        assert one.counts == {causes.SCORED: 1000}


def test_the_prompt_arrives_whole() -> None:
    with verifier("from_prompt") as one:
        assert one.score(prompts(4), ["4", "5", "4", "44"]) == [0.0, 0.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("sleep", causes.TIMED_OUT),
        ("spin", causes.TIMED_OUT),
        ("segfault", causes.CRASHED),
        ("exit", causes.CRASHED),
        ("bomb", causes.OUT_OF_MEMORY),
        ("creep", causes.OUT_OF_MEMORY),
    ],
)
def test_only_the_guilty_answer_is_wrong(words: PoolVerifier, word: str, cause: str) -> None:
    texts = ["fine"] * 30
    texts[11] = word
    scores, grown = score(words, *texts)
    assert scores == [float(i != 11) for i in range(30)]
    assert grown == {causes.SCORED: 29, cause: 1}


def test_several_guilty_answers_in_one_batch(words: PoolVerifier) -> None:
    texts = ["segfault", "fine", "bomb", "exit", "fine", "sleep", "sleep", "fine"]
    scores, grown = score(words, *texts)
    assert scores == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert grown == {
        causes.SCORED: 3,
        causes.CRASHED: 2,
        causes.OUT_OF_MEMORY: 1,
        causes.TIMED_OUT: 2,
    }


def test_the_deadline_is_per_answer_and_not_per_batch() -> None:
    with verifier(workers=1, deadline=0.6) as one:
        assert score(one, *["nap"] * 60) == ([1.0] * 60, {causes.SCORED: 60})


def test_printing_does_not_disturb(words: PoolVerifier) -> None:
    assert score(words, "print", "fine")[0] == [1.0, 1.0]


def test_a_worker_killed_in_a_call_costs_one_answer() -> None:
    with verifier(workers=1, deadline=30.0) as one:
        assert score(one, "fine")[0] == [1.0]
        (pid,) = one.pool.pids
        killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        assert score(one, "fine", "sleep", "fine") == (
            [1.0, 0.0, 1.0],
            {causes.SCORED: 2, causes.CRASHED: 1},
        )
        killer.join()
        assert one.pool.pids != [pid]


def test_a_worker_killed_while_idle_costs_nothing() -> None:
    with verifier(workers=1) as one:
        score(one, "fine")
        os.kill(one.pool.pids[0], signal.SIGKILL)
        time.sleep(0.2)
        assert score(one, "fine", "fine") == ([1.0, 1.0], {causes.SCORED: 2})


def test_a_killed_nursery_is_replaced() -> None:
    with verifier(workers=2) as one:
        score(one, *["nap"] * 40)
        assert one.pool._nursery is not None
        assert len(one.pool.pids) == 2
        os.kill(one.pool._nursery.pid, signal.SIGKILL)
        time.sleep(0.5)
        assert score(one, *["nap"] * 40) == ([1.0] * 40, {causes.SCORED: 40})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("raise", r"raised KeyError: 'no such answer' for prompt 'set/1'"),
        ("nan", r"returned nan for prompt 'set/1'"),
        ("inf", r"returned inf for prompt 'set/1'"),
        ("none", r"returned None for prompt 'set/1'"),
        ("bool", r"returned True for prompt 'set/1'"),
        ("two", r"returned 2 values for prompt 'set/1'"),
        ("no list", r"returned 1.0 for prompt 'set/1'"),
        ("text", r"returned '1' for prompt 'set/1'"),
    ],
)
def test_a_fault_of_the_function_stops_the_run(
    words: PoolVerifier, word: str, message: str
) -> None:
    with pytest.raises(RewardFunctionError, match=message) as caught:
        words.score(prompts(3), ["fine", word, "fine"])
    assert "by_word" in str(caught.value)
    assert score(words, "fine")[0] == [1.0]


def test_a_fault_can_be_counted_instead() -> None:
    with verifier(errors="wrong") as one:
        assert score(one, "fine", "raise", "nan") == (
            [1.0, 0.0, 0.0],
            {causes.SCORED: 1, causes.FAILED: 2},
        )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("missing.py:f", "does not exist"),
        (f"{FUNCTIONS}:missing", "has no function 'missing'"),
        (f"{FUNCTIONS}:not_a_function", "is of type int, which cannot be called"),
        ("no_such_module:f", "'no_such_module:f': write path/to/file.py:name"),
        ("nothing", "'nothing': write path/to/file.py:name"),
        (
            "os.path:join",
            "'os.path:join': write path/to/file.py:name.*a module's name is not looked up",
        ),
    ],
)
def test_a_function_that_does_not_load_is_one_error(function: str, message: str) -> None:
    with (
        make_verifier("function", function=function) as one,
        pytest.raises(VerifierError, match=message),
    ):
        one.check(prompts(1))


def test_too_little_memory_to_load_is_one_error() -> None:
    with (
        MathVerifier(workers=1, memory_mb=64) as one,
        pytest.raises(VerifierError, match="memory_mb"),
    ):
        one(["3"], ["3"])


def test_four_threads_at_once_share_two_workers() -> None:
    results: dict[int, list[float]] = {}
    with verifier("length") as one:

        def work(k: int) -> None:
            results[k] = [
                x
                for _ in range(5)
                for x in one.score(prompts(40), ["x" * (k + i) for i in range(40)])
            ]

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(one.pool.pids) <= 2
        assert one.counts == {causes.SCORED: 800}
    assert results == {k: [(k + i) / 10 for i in range(40)] * 5 for k in range(4)}


def test_closing_ends_a_call_in_another_thread() -> None:
    one = verifier(workers=1, deadline=30.0)
    score(one, "fine")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            one.score(prompts(2), ["sleep", "sleep"])
        except VerifierError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    one.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_closed_and_forked_verifiers_say_so() -> None:
    one = verifier()
    score(one, "fine")
    child = os.fork()
    if child == 0:
        try:
            one.score(prompts(1), ["fine"])
        except VerifierError:
            one.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert score(one, "fine")[0] == [1.0]
    one.close()
    one.close()
    with pytest.raises(VerifierError, match="closed"):
        one.score(prompts(1), ["fine"])


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _children() -> set[int]:
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


def test_nothing_leaks_over_many_verifiers() -> None:
    def once() -> list[int]:
        with make_verifier("exact", workers=2) as one:
            assert one.score(prompts(4), ["4"] * 4) == [1.0] * 4
            return one.pool.pids

    once()
    files, children, threads = (
        len(os.listdir("/proc/self/fd")),
        _children(),
        threading.active_count(),
    )
    workers = [pid for _ in range(15) for pid in once()]
    assert len(os.listdir("/proc/self/fd")) == files
    assert _children() == children
    assert threading.active_count() == threads
    assert [pid for pid in workers if _alive(pid)] == []


def test_workers_die_with_a_killed_trainer(tmp_path: Path) -> None:
    script = """
import sys, threading
from test_pool import verifier, prompts
one = verifier(workers=2, deadline=60.0)
one.score(prompts(20), ["fine"] * 20)
print(one.pool._nursery.pid, *one.pool.pids, flush=True)
one.score(prompts(4), ["spin"] * 4)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    trainer = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert trainer.stdout is not None
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(pids) >= 2
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    limit = time.monotonic() + 20
    while any(_alive(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.1)
    assert [pid for pid in pids if _alive(pid)] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers = 0"),
        ({"deadline": 0.0}, "deadline = 0.0"),
        ({"deadline": float("nan")}, "deadline = nan"),
        ({"memory_mb": 10}, "memory_mb = 10"),
        ({"errors": "ignore"}, "errors = 'ignore'"),
    ],
)
def test_settings_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verifier(**options)


def test_nothing_starts_before_the_first_use() -> None:
    before = _children()
    with verifier():
        assert _children() == before


def test_a_start_that_is_killed_does_not_blame_the_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gdro.verify.process.START_SECONDS", 0.001)
    with (
        MathVerifier(workers=1) as one,
        pytest.raises(VerifierError, match=r"libraries was killed \(signal 9\)"),
    ):
        one([r"\boxed{1}"], ["1"])
