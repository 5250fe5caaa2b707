"""Completions that an evaluation keeps beside its counts, so that a person can read what changed,
and the section of the report that shows them: of the prompts that changed most, and of the hardest
tier.

Of each held-out prompt the first completion that was right and the first that was not, where there
is one, with the verdict and the answer that was read. One file an evaluation,
evaluations/completions-STEP.jsonl in the run's folder, one line a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import islice, zip_longest
from pathlib import Path

from gdro.core.prompts import source_of
from gdro.report.read import Record, RecordError

HEAD, TAIL = 800, 2_200
"""Characters kept of a longer text: at its start, and at its end, where an answer stands."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Attributes:
        text: what the model wrote, shortened by `shorten`.
        score: the verifier's.
        right: whether that counts as correct.
        cause: the verdict, one of `gdro.verify.causes`.
        answer: what was taken for the answer; None where there was none.
        ended: whether it ended by itself; False: it was cut off at the limit.
    """

    text: str
    score: float
    right: bool
    cause: str
    answer: str | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A held-out prompt and what was kept of its completions.

    Attributes:
        id, question, gold: of the prompt.
        correct: how many of the samples were right.
        samples: how many there were.
        completions: the first right and the first wrong one, in the order of sampling.
    """

    id: str
    question: str
    gold: str
    correct: int
    samples: int
    completions: tuple[Completion, ...]

    def one(self, right: bool) -> Completion:
        """A completion that was right, or was not; the other kind where there is none of it."""
        return next(
            (found for found in self.completions if found.right == right), self.completions[0]
        )


def shorten(text: str) -> str:
    """The text, or of a long one its start and its end, with how much is left out between."""
    left_out = len(text) - HEAD - TAIL
    if left_out <= 0:
        return text
    return f"{text[:HEAD]}\n[... {left_out:,} characters left out ...]\n{text[-TAIL:]}"


def completions_file(folder: Path, step: int) -> Path:
    """Where the completions of an evaluation stand, in the folder of its run."""
    return folder / "evaluations" / f"completions-{step:06d}.jsonl"


def write_completions(folder: Path, step: int, shown: Sequence[Shown]) -> None:
    """Write what an evaluation kept."""
    path = completions_file(folder, step)
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(asdict(prompt), ensure_ascii=False) + "\n" for prompt in shown)
    path.write_text("".join(lines), encoding="utf-8", errors="surrogatepass")


def read_completions(folder: Path, step: int) -> dict[str, Shown]:
    """By prompt id, what the evaluation of a step kept; empty where there is no such file.

    Raises:
        RecordError: a line that is damaged.
    """
    path = completions_file(folder, step)
    if not path.is_file():
        return {}
    found = {}
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            found[row["id"]] = _shown(row)
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(
                f"{path}, line {number}: damaged ({error}); remove the file to report without"
                " completions"
            ) from error
    return found


def _shown(row: Mapping[str, object]) -> Shown:
    kept = row["completions"]
    if not isinstance(kept, list) or not kept:
        raise ValueError("no completions")
    completions = tuple(Completion(**entry) for entry in kept)
    return Shown(**{**row, "completions": completions})  # type: ignore[arg-type]


MOST = 3
"""Prompts shown of those that rose most, and of those that fell most."""
HARDEST = 4
"""Prompts shown of the hardest tier."""
HARD = 0.1
"""The hardest tier: at most this share of the base model's samples was right."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt before and after training."""

    before: Shown
    after: Shown

    @property
    def gain(self) -> float:
        """Change of the share of right samples."""
        return self.after.correct / self.after.samples - self.before.correct / self.before.samples


def chosen_pairs(before: Mapping[str, Shown], after: Mapping[str, Shown]) -> dict[str, list[Pair]]:
    """The prompts to show, under their headings: no prompt twice, empty headings left out.

    The hardest are taken from one source after the other, so that no source hides the others.
    """
    pairs = [Pair(before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    rose = sorted((p for p in pairs if p.gain > 0), key=lambda pair: -pair.gain)[:MOST]
    fell = sorted((p for p in pairs if p.gain < 0), key=lambda pair: pair.gain)[:MOST]
    taken = {pair.before.id for pair in (*rose, *fell)}
    hard = [
        pair
        for pair in pairs
        if pair.before.correct <= HARD * pair.before.samples and pair.before.id not in taken
    ]
    found = {
        "Rose most": rose,
        "Fell most": fell,
        "Of the hardest tier": list(islice(_by_turns(hard), HARDEST)),
    }
    return {heading: chosen for heading, chosen in found.items() if chosen}


def _by_turns(pairs: list[Pair]) -> Iterable[Pair]:
    """The first of each source, then the second of each, ..."""
    by_source: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_source.setdefault(source_of(pair.before.id), []).append(pair)
    for turn in zip_longest(*by_source.values()):
        yield from (pair for pair in turn if pair is not None)


def completions_section(record: Record) -> str:
    """The section of the page, or a sentence that says why there is none."""
    if len(record.evaluations) < 2:
        return ""
    steps = [int(str(record.evaluations[place]["step"])) for place in (0, -1)]
    folder = record.path.parent
    groups = chosen_pairs(*(read_completions(folder, step) for step in steps))
    if not groups:
        return (
            '<p class="left-out">No completions: this run kept none of its held-out evaluations,'
            " or none that occur in both.</p>"
        )
    cards = "".join(
        f"<h3>{escape(heading)}</h3>" + "".join(_card(pair, steps) for pair in pairs)
        for heading, pairs in groups.items()
    )
    return (
        '<section class="completions"><h2>Completions, before and after</h2><p class="small">Of'
        " each held-out prompt the evaluation keeps the first completion that was right and the"
        " first that was not. “Answer read” is what the verifier took for the answer.</p>"
        f"{cards}</section>"
    )


def _card(pair: Pair, steps: list[int]) -> str:
    before, after = pair.before, pair.after
    rising = pair.gain >= 0
    first_line = " ".join(before.question.split())
    brief = first_line if len(first_line) <= 110 else first_line[:109] + "…"
    return (
        f'<details class="card"><summary><span class="asked">{escape(brief)}</span><span'
        f' class="counts">{before.correct}/{before.samples} → {after.correct}/{after.samples}'
        f'</span><span class="of">{escape(source_of(before.id))}</span></summary>'
        f"<dl><dt>id</dt><dd>{escape(before.id)}</dd><dt>prompt</dt>"
        f"<dd>{escape(before.question)}</dd><dt>gold</dt><dd>{escape(before.gold)}</dd></dl>"
        '<div class="sides">'
        f"{_side(f'Before (step {steps[0]})', before, before.one(not rising))}"
        f"{_side(f'After (step {steps[1]})', after, after.one(rising))}</div></details>"
    )


def _side(title: str, shown: Shown, one: Completion) -> str:
    verdict = "right" if one.right else "wrong"
    said = [f"score {one.score:g}", one.cause.replace("_", " ")]
    if not one.ended:
        said.append("cut off at the limit")
    answer = "none" if one.answer is None else one.answer.strip() or "(blank)"
    return (
        f'<div class="side"><h4>{escape(title)}: one of {shown.samples}, of which {shown.correct}'
        f" right</h4><pre>{escape(one.text) or '(empty)'}</pre>"
        f'<p>Answer read: {escape(answer)}</p><p><span class="{verdict}">{verdict}</span>'
        f" ({escape(', '.join(said))})</p></div>"
    )
