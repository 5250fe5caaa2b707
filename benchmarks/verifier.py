r"""What the verifier costs and what it withstands, stock math-verify beside it. Figures in
docs/verification.md.

    python benchmarks/verifier.py hostile [--stock]  each hostile completion: time, memory, cause
    python benchmarks/verifier.py mixed [--calls N]  both mixed: hangs, p50, p99, max
    python benchmarks/verifier.py throughput         1, 2 workers against serial math-verify

The corpora are the tests' own (tests/verify/hostile.py, ordinary.py). Stock math-verify runs in a
process of its own with a cap of 10 s and 2 GB, so that the machine survives it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "verify"))

from hostile import HOSTILE
from ordinary import ORDINARY, WORDINGS, generated

from gdro.verify import MathVerifier, Task

STOCK_SECONDS = 10.0
STOCK_MB = 2048
_STEP = "We simplify the expression, collect the terms on the left and divide both sides by two. "


def stock_score(completion: str, gold: str) -> float:
    """math-verify as its README calls it, limits at their defaults (5 s each for parsing and
    comparing)."""
    from math_verify import parse, verify

    return float(verify(parse(f"${gold}$"), parse(completion)))


def stock_child() -> None:
    """In a process of its own: one stock call on the (completion, gold) on standard input; JSON on
    standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (STOCK_MB << 20, STOCK_MB << 20))
    completion, gold = json.load(sys.stdin)
    stock_score(r"\boxed{1}", "1")
    start = time.perf_counter()
    try:
        end = f"score {stock_score(completion, gold):.0f}"
    except BaseException as error:  # noqa: BLE001
        end = type(error).__name__
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, end]))


def run_stock(completion: str, gold: str) -> tuple[float, float, str]:
    """Seconds, peak MB and end of one stock call, killed at STOCK_SECONDS (peak unknown then:
    nan)."""
    command = [sys.executable, __file__, "stock-child"]
    text = json.dumps([completion, gold])
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=STOCK_SECONDS + 2
        )
    except subprocess.TimeoutExpired:
        return STOCK_SECONDS, float("nan"), "killed at the cap"
    if done.returncode or not done.stdout:
        return float("nan"), float("nan"), f"died, exit status {done.returncode}"
    seconds, peak, end = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, end


def hostile(with_stock: bool) -> None:
    """Each hostile completion in a fresh worker: wall time of the call, peak memory of the worker,
    cause."""
    slowest = largest = 0.0
    stock: list[tuple[float, float, str]] = []
    causes: Counter[str] = Counter()
    print(
        f"{'completion':34} {'ms':>7} {'MB':>5} {'cause':18}"
        + ("stock s    MB  end" if with_stock else "")
    )
    for case in HOSTILE:
        with MathVerifier(workers=1) as verifier:
            verifier([r"\boxed{1}"], ["1"])
            (pid,) = verifier.pool.pids
            start = time.perf_counter()
            (outcome,) = verifier.outcomes([Task(case.name, case.completion, case.gold)])
            seconds = time.perf_counter() - start
            peak = verifier.pool.peak_mb or peak_mb(pid)
        causes[outcome.cause] += 1
        slowest, largest = max(slowest, seconds), max(largest, peak)
        line = f"{case.name:34} {seconds * 1e3:7.1f} {peak:5.0f} {outcome.cause:18}"
        if with_stock:
            stock.append(run_stock(case.completion, case.gold))
            line += f"{stock[-1][0]:7.2f} {stock[-1][1]:5.0f}  {stock[-1][2]}"
        print(line, flush=True)
    print(
        f"\n{len(HOSTILE)} completions: slowest {slowest:.3f} s, largest {largest:.0f} MB,"
        f" {dict(causes)}"
    )
    if with_stock:
        late = sum(not seconds <= 1.5 for seconds, _, _ in stock)
        big = sum(peak > 512 for _, peak, _ in stock)
        dead = sum(end.startswith(("killed", "died", "MemoryError")) for _, _, end in stock)
        print(
            f"stock math-verify: {late} over 1.5 s, {big} over 512 MB, {dead} killed at"
            f" {STOCK_SECONDS:.0f} s or died, {sum(s for s, _, _ in stock if s == s):.0f} s in all"
        )


def peak_mb(pid: int) -> float:
    """Peak resident memory of a living process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def mixed(calls: int, workers: int, hostile_share: float) -> None:
    """`calls` single calls, hostile with this share, the rest ordinary; a hang is a call of more
    than 1.5 s."""
    rng = random.Random(0)
    ordinary = [
        (WORDINGS[i % 5] % answer, gold) for i, (gold, answer) in enumerate(generated(2_000, 0))
    ]
    seconds: list[float] = []
    with MathVerifier(workers=workers) as verifier:
        verifier([r"\boxed{1}"], ["1"])
        begin = time.perf_counter()
        for _ in range(calls):
            if rng.random() < hostile_share:
                case = rng.choice(HOSTILE)
                completion, gold = case.completion, case.gold
            else:
                completion, gold = rng.choice(ordinary)
            start = time.perf_counter()
            verifier([completion], [gold])
            seconds.append(time.perf_counter() - start)
        total = time.perf_counter() - begin
        counts, restarts = verifier.counts, verifier.pool.restarts
    seconds.sort()
    print(
        f"{calls} calls in {total:.0f} s, {sum(s > 1.5 for s in seconds)} over 1.5 s; p50"
        f" {seconds[len(seconds) // 2] * 1e3:.2f} ms, p99"
        f" {seconds[int(len(seconds) * 0.99)] * 1e3:.0f} ms, max {seconds[-1]:.3f} s; {restarts}"
        f" workers replaced\n{counts}"
    )


def throughput_sets(count: int) -> dict[str, list[tuple[str, str]]]:
    """(completion, gold) pairs: integers alone, numbers and expressions, and those after 2,000
    characters of prose."""
    rng = random.Random(1)
    integers = []
    for _ in range(count):
        gold = rng.randint(-999, 99_999)
        integers.append((rng.choice(WORDINGS) % (gold + rng.choice((0, 1))), str(gold)))
    pairs = [(gold, answer) for gold, answer, _ in ORDINARY] + generated(count, 2)
    expressions = [(rng.choice(WORDINGS) % answer, gold) for gold, answer in pairs[:count]]
    prose = _STEP * (2_000 // len(_STEP))
    return {
        "integers": integers,
        "numbers and expressions": expressions,
        "the same after 2,000 characters": [
            (prose + completion, gold) for completion, gold in expressions
        ],
    }


def serial_child() -> None:
    """Serial stock math-verify over the pairs on standard input, in a fresh process; answers per
    second."""
    pairs = json.load(sys.stdin)
    stock_score(r"\boxed{\frac{1}{2}}", "1")
    start = time.perf_counter()
    for completion, gold in pairs:
        stock_score(completion, gold)
    print(len(pairs) / (time.perf_counter() - start))


def throughput(count: int, repeats: int) -> None:
    """Answers per second, best of `repeats`, each in fresh processes."""
    for name, pairs in throughput_sets(count).items():
        command = [sys.executable, __file__, "serial-child"]
        text = json.dumps(pairs)
        serial = max(
            float(
                subprocess.run(
                    command, input=text, capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(repeats)
        )
        line = f"{name}: serial math-verify {serial:.0f}/s"
        for workers in (1, 2):
            ours = max(pool_speed(pairs, workers) for _ in range(repeats))
            line += f"; {workers} worker{'s' * (workers > 1)} {ours:.0f}/s ({ours / serial:.2f}x)"
        print(line, flush=True)


def pool_speed(pairs: list[tuple[str, str]], workers: int) -> float:
    """Answers per second of a fresh verifier, its start not counted (serial math-verify's import is
    not either)."""
    with MathVerifier(workers=workers) as verifier:
        verifier([r"\boxed{1}"] * 8, ["1"] * 8)
        start = time.perf_counter()
        verifier([completion for completion, _ in pairs], [gold for _, gold in pairs])
        return len(pairs) / (time.perf_counter() - start)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("hostile").add_argument(
        "--stock", action="store_true", help="stock math-verify beside it"
    )
    mix = commands.add_parser("mixed")
    mix.add_argument("--calls", type=int, default=10_000)
    mix.add_argument("--workers", type=int, default=1)
    mix.add_argument("--share", type=float, default=0.2, help="share of hostile calls")
    speed = commands.add_parser("throughput")
    speed.add_argument("--count", type=int, default=2_000)
    speed.add_argument("--repeats", type=int, default=3)
    for child in ("stock-child", "serial-child"):
        commands.add_parser(child)
    args = parser.parse_args()
    if args.command == "hostile":
        hostile(args.stock)
    elif args.command == "mixed":
        mixed(args.calls, args.workers, args.share)
    elif args.command == "throughput":
        throughput(args.count, args.repeats)
    else:
        {"stock-child": stock_child, "serial-child": serial_child}[args.command]()


if __name__ == "__main__":
    main()
