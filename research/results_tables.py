"""Every published comparison's table and figure again, and the tables of the docs and the README
between their marks: `make results`.

    python research/results_tables.py             write what is not up to date
    python research/results_tables.py --check     only name it; 1 when something is not
    python research/results_tables.py --print glance_uniform      one of the page's tables

A table of a page stands between `<!-- table: NAME -->` and `<!-- end -->`; all of them follow
from results/ alone. The studies of robustness and diffusion write their table.md themselves, from
outcomes; pages quote a table of it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gdro.io import write_atomic
from gdro.lab.compare import from_baseline
from gdro.lab.compare_archive import is_archive, load_archive, published_settings
from gdro.lab.compare_page import published_files
from gdro.lab.compare_record import Comparison, comparison_of
from gdro.lab.compare_scores import Judge
from gdro.lab.compare_summary import summarize
from gdro.lab.compare_table import COST_TITLES, cost_known
from gdro.lab.stats import seed_interval
from gdro.lab.text import estimate_of, moved, table
from gdro.report.read import RecordError

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results", ROOT / "docs" / "results.md"
PAGES = (
    ROOT / "README.md",
    PAGE,
    *(ROOT / "docs" / f"{name}.md" for name in ("objectives", "robust", "diffusion")),
)
OURS = "paced"
OF_A_RUN = ("name", "output", "run_name", "output_dir", "data.cells")
"""Settings in which runs that are pooled may differ: they have the same held-out prompts, or are
replicates."""
SCORES = {
    "pass_at_k": "pass@8",
    "mean_at_k": "mean@8",
    "worst_bin": "worst tier",
    "trained_mean": "mean@8, shares of training",
}


class Row(NamedTuple):
    """A row of the tables at a glance: its words, and the folders whose seeds it pools."""

    words: str
    folders: tuple[str, ...]


CLEAN = ("first_mixture_again", "two_rollouts", "small_steps")
"""The first mixture on seeds on which nothing had been run and by which nothing was decided: 80 to
99."""
GLANCE = (
    Row("first mixture, 20 clean seeds", CLEAN),
    Row("the same, a model of 36 M, 5 seeds", ("larger_model",)),
    Row("24 mixtures of its form, drawn at random", ("drawn_mixtures",)),
    Row(
        "second mixture: half of the tail is guessed, prompts come again, 5 seeds",
        ("second_mixture",),
    ),
    Row("third mixture: its cells, prompts do not come again, 5 seeds", ("third_mixture",)),
)


@cache
def pooled(folders: tuple[str, ...], methods: tuple[str, ...]) -> Comparison:
    """Comparisons of the same prompts and settings as one, with these methods alone.

    A setting that one of them does not know yet was at its default there.

    Raises:
        RecordError: a method had other settings in one of them.
    """
    first = load_archive(RESULTS / folders[0])
    runs: dict[str, dict[int, Any]] = {method: {} for method in methods}
    sizes: dict[int, Mapping[str, int]] = {}
    known: dict[str, dict[str, Any]] = {}
    for folder in folders:
        found, settings = load_archive(RESULTS / folder), published_settings(RESULTS / folder)
        sizes |= found.training_sizes
        for method in methods:
            runs[method] |= found.runs[method]
            for seed, values in settings[method].items():
                known.setdefault(method, values)
                different = [
                    key
                    for key in values
                    if key in known[method] and values[key] != known[method][key]
                ]
                different = [
                    key for key in different if key not in OF_A_RUN and not key.endswith("seed")
                ]
                if different:
                    raise RecordError(
                        f"{folder}, {method} seed {seed}: other settings than before: {different}"
                    )
    seeds = tuple(runs[methods[0]])
    kept = {method: first.plan.methods[method] for method in methods}
    plan = first.plan.model_copy(
        update={"seeds": seeds, "methods": kept, "baseline": methods[0], "claims": ()}
    )
    return comparison_of(plan, runs, sizes, RESULTS / folders[0])


@cache
def summary_of(folders: tuple[str, ...], against: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """The summary of pooled comparisons, as differences from a method."""
    return summarize(from_baseline(pooled(folders, (against, *methods)), against))


def short(text: str) -> str:
    """Without the 0 before each point."""
    return text.replace("0.", ".")


def glance(against: str, title: str) -> str:
    """One row a comparison: the default run's settings against a method, in per cent too."""
    rows = []
    for row in GLANCE:
        methods = summary_of(row.folders, against, (OURS,))["methods"]
        cells = [row.words]
        for score in SCORES:
            entry = methods[OURS]["scores"][score]["difference"]
            cells.append(short(moved(estimate_of(entry))) + relative(score, entry["relative"]))
        rows.append(cells)
    return table([title, *SCORES.values()], rows)


def percent(share: float) -> str:
    """`+27 %`; nothing has no sign."""
    return f"{100 * share:+.0f} %" if abs(share) >= 0.005 else "0 %"


def relative(score: str, gain: float) -> str:
    """A gain as a user says it: pass@8 and mean@8 in per cent, the worst tier as a factor."""
    if score == "trained_mean":
        return ""
    return f", x {1 + gain:.1f}" if score == "worst_bin" else f", {100 * gain:+.1f} %"


def methods_table(
    folders: tuple[str, ...],
    names: Mapping[str, str],
    scores: Mapping[str, str],
    title: str,
    first: str,
    *,
    costs: Sequence[str] = ("tokens", "seconds"),
) -> str:
    """One row a method: scores with differences from the first; costs beside the first's."""
    methods = summary_of(folders, first, tuple(name for name in names if name != first))["methods"]
    rows = []
    for name, words in names.items():
        entry = methods[name]
        cells = [short(f"{entry['scores'][score]['value']:.3f}") for score in scores]
        if name != first:
            gaps = [
                short(moved(estimate_of(entry["scores"][score]["difference"]))) for score in scores
            ]
            cells = [f"{value} ({gap})" for value, gap in zip(cells, gaps, strict=True)]
        spent = [percent(entry[cost] / methods[first][cost] - 1.0) for cost in costs]
        rows.append([words, *cells, *(spent if name != first else ["" for _ in costs])])
    return table([title, *scores.values(), *costs], rows)


def differences(folder: str, names: Mapping[str, str], title: str) -> str:
    """One row a method: what it adds to the first one's scores, and its costs beside the first's;
    trained tokens where all runs say them."""
    first, *others = names
    summary = summary_of((folder,), first, tuple(others))
    methods = summary["methods"]
    known = {
        cost: words
        for cost, words in COST_TITLES.items()
        if cost != "rollouts" and cost_known(summary, cost)
    }
    scores = {key: SCORES[key] for key in ("mean_at_k", "pass_at_k", "worst_bin")}
    base = [short(f"{methods[first]['scores'][score]['value']:.3f}") for score in scores]
    rows = [[names[first], *base, *("" for _ in known)]]
    for name in others:
        entry = methods[name]
        gaps = [short(moved(estimate_of(entry["scores"][score]["difference"]))) for score in scores]
        spent = [percent(entry[cost] / methods[first][cost] - 1.0) for cost in known]
        rows.append([names[name], *gaps, *spent])
    return table([title, *scores.values(), *known.values()], rows)


def over_replicates(folders: tuple[str, ...], method: str, against: str, title: str) -> str:
    """A method's differences over the replicates of several comparisons, which may have been
    evaluated at other steps: Student's 95 % interval over all."""
    judges = [Judge(from_baseline(load_archive(RESULTS / name), against)) for name in folders]
    cells = []
    for score in SCORES:
        gaps = [
            judge.value(score, method, [seed]) - judge.value(score, against, [seed])
            for judge in judges
            for seed in judge.paired(method, against)
        ]
        cells.append(short(moved(seed_interval(gaps))))
    words = f"all {len(gaps)} replicates of the three comparisons"
    return table([title, *SCORES.values()], [[words, *cells]])


SMOLLM2 = {
    "uniform": "GRPO",
    "balanced": "GRPO, sources drawn evenly by hand",
    "mt_grpo": "MT-GRPO, told the sources",
    "gdro": "**gdro**, told the sources",
    "text": "**gdro**, told nothing",
}
SMOLLM2_SCORES = {
    "trained_pass": "pass@8",
    "trained_mean": "mean@8",
    "mean_at_k": "mean@8, cells alike",
    "worst_family": "worst family",
}
REGIME = {
    "uniform": "GRPO",
    "joint": "both games, failure signal: `joint`",
    "prompt_gdro": "its weights alone: `prompt_gdro`",
    "mt_grpo": "MT-GRPO over bins",
    "gdro": "**the default, `text_gdro`**",
    "grpo_2": "GRPO, two updates a step",
    "paper_prompt": "the paper's weights, two updates",
    "paper_rollout": "the paper's rollouts, two updates",
}
CONTROL = {
    "balanced": "GRPO, sources drawn evenly by hand",
    "uniform": "GRPO on the data as they are",
    "gdro": "**gdro**",
    "sec": "SEC, temperature 1.0",
    "dump": "DUMP",
}
UNLABELLED = {
    "uniform": "GRPO on the data as they are",
    "blind": "no labels: `live_gdro`",
    "text": "**no labels: `live_gdro`, `text_posterior`**",
    "balanced": "labels: GRPO, drawn evenly by hand",
    "gdro": "labels: **gdro**",
}


def quoted(study: str, heading: str = "", first: str = "|") -> str:
    """A table of a study's table.md: the first one below a heading that begins with these words.

    Raises:
        RecordError: there is none.
    """
    path = RESULTS / study / "table.md"
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^(?:\|[^\n]*\|\n)+", text, flags=re.MULTILINE):
        if heading in text[: found.start()] and found[0].startswith(first):
            return found[0]
    raise RecordError(f"{path}: no table {first!r} below {heading!r}")


RIVALS = {
    "uniform": "GRPO",
    "balanced": "GRPO, sources drawn evenly by hand",
    "gdro": "**gdro**",
    "mt_grpo": "MT-GRPO",
    "curverl": "CurveRL",
    "hora": "HORA",
    "bbg": "BBG",
    "c_grpo": "C-GRPO",
}
DISCO = {"uniform": "GRPO", "dr_grpo": "Dr. GRPO", "disco": "DisCO", "disco_b": "DisCO-b"}
DAGRPO = {
    "uniform": "GRPO",
    "mask": "the mask",
    "anchors": "anchors",
    "both": "both",
    "grpo_sft": "GRPO, fine-tuned on the same solutions",
}
PRUNED = {
    "balanced": "GRPO, sources drawn evenly by hand",
    "gdro": "**gdro**",
    "pruned": "**gdro**, PPS of prompts",
}
PRUNING = {
    "uniform": "GRPO",
    "dppo_30": "DPPO, both levels, r .3",
    "dppo_50": ".5",
    "dppo_70": ".7",
    "rows_50": "its rollout level, .5",
    "prompts_50": "its prompt level, .5",
    "pps_50": "PPS, .5",
    "cppo_30": "CPPO, .3",
    "cppo_50": ".5",
    "cppo_70": ".7",
}

FOUR = {key: SCORES[key] for key in ("pass_at_k", "mean_at_k", "worst_bin", "trained_mean")}
TABLES: dict[str, Callable[[], str]] = {
    "glance_uniform": lambda: glance("uniform", "gdro - GRPO"),
    "front": lambda: methods_table(
        ("smollm2",),
        SMOLLM2,
        {key: SMOLLM2_SCORES[key] for key in ("trained_pass", "trained_mean")},
        "tested as trained",
        "uniform",
        costs=(),
    ),
    "smollm2": lambda: methods_table(
        ("smollm2",), SMOLLM2, SMOLLM2_SCORES, "seeds 400, 402 to 405", "uniform"
    ),
    "control": lambda: methods_table(
        ("control",), CONTROL, FOUR, "seeds 310 to 315, each with data of its own", "balanced"
    ),
    "unlabelled": lambda: methods_table(
        ("unlabelled",), UNLABELLED, FOUR, "seeds 330 to 334, each with data of its own", "uniform"
    ),
    "replicates": lambda: over_replicates(
        ("control", "unlabelled", "texts_and_names"),
        "gdro",
        "balanced",
        "gdro - drawn evenly by hand",
    ),
    "regime": lambda: methods_table(
        ("paper_regime",),
        REGIME,
        {key: SCORES[key] for key in ("pass_at_k", "mean_at_k", "worst_bin")},
        "seeds 400 to 405, each with data of its own",
        "uniform",
    ),
    "rivals": lambda: differences("rivals_2026", RIVALS, "seeds 530 to 534"),
    "disco": lambda: differences("disco", DISCO, "seeds 510 to 514"),
    "dagrpo": lambda: differences("dagrpo", DAGRPO, "seeds 520 to 524"),
    "pruned": lambda: differences("pruned_update", PRUNED, "seeds 350 to 354"),
    "pruning": lambda: differences("pruning", PRUNING, "seeds 500 to 504"),
    "robust_label": lambda: quoted("robust_groups", "setting chosen by the label rule"),
    "robust_sft": lambda: quoted("robust_sft"),
    "robust_convex": lambda: quoted("robust_convex"),
    "diffusion_drift": lambda: quoted("diffusion_digits", first="| at drift"),
}
"""The tables of the pages by name."""


def filled(page: str) -> str:
    """The page with its tables as they follow from results/.

    Raises:
        RecordError: a mark names no table.
    """

    def fill(mark: re.Match[str]) -> str:
        if mark[1] not in TABLES:
            raise RecordError(f"no table {mark[1]!r}; there are {', '.join(TABLES)}")
        return f"<!-- table: {mark[1]} -->\n{TABLES[mark[1]]()}<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def all_files() -> dict[Path, str]:
    """Every file that follows from results/, as it should be."""
    files: dict[Path, str] = {}
    for folder in sorted(folder for folder in RESULTS.iterdir() if is_archive(folder)):
        for name, text in published_files(summarize(load_archive(folder))).items():
            files[folder / name] = text
    return files | {page: filled(page.read_text(encoding="utf-8")) for page in PAGES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when --check finds something that is not up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, name what is not up to date"
    )
    parser.add_argument(
        "--print", choices=TABLES, metavar="TABLE", dest="shown", help=f"print {', '.join(TABLES)}"
    )
    chosen = parser.parse_args(arguments)
    if chosen.shown:
        print(TABLES[chosen.shown](), end="")
        return 0
    files = all_files()
    if chosen.check:  # figures that no page shows are not kept
        files = {p: text for p, text in files.items() if p.is_file() or p.name != "figure.svg"}
    old = [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_bytes() != text.encode()
    ]
    for path in old:
        print(f"{'not up to date' if chosen.check else 'written'}: {path.relative_to(ROOT)}")
        if not chosen.check:
            write_atomic(path, files[path])
    print(
        f"{len(files)} files, {len(old)} of them {'not up to date' if chosen.check else 'written'}"
    )
    return int(bool(old) and chosen.check)


if __name__ == "__main__":
    sys.exit(main())
