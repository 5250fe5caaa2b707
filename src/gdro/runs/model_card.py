"""README.md of a trained model, written from the run's record: what it was, what was done to it,
what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gdro.config.yaml_text import dump_yaml, parse_yaml
from gdro.controllers.registry import controller_label
from gdro.io import write_atomic
from gdro.models.locate import ADAPTER
from gdro.models.releases import RELEASES
from gdro.runs.folder import RunFolder
from gdro.runs.record import interval_words, machine_words, read_events

LOCAL = ("output_dir",)
"""Settings that say something of the machine alone."""
GRPO = "https://arxiv.org/abs/2402.03300"
GDRO = "https://arxiv.org/abs/2601.19280"


def write_card(run: RunFolder) -> Path:
    """Write the card into the model's folder, over what an engine may have left there.

    Raises:
        OSError: it cannot be written.
    """
    events = read_events(run.record)
    settings, _ = parse_yaml(run.config.read_text(encoding="utf-8"), str(run.config))
    path = run.model / "README.md"
    write_atomic(path, model_card(events, settings, adapters=(run.model / ADAPTER).is_file()))
    return path


def model_card(events: list[dict[str, Any]], settings: Mapping[str, Any], *, adapters: bool) -> str:
    """The card's text: the front matter that the hub reads, and five short parts.

    Args:
        events: of the run's record, in their order.
        settings: the run's, complete.
        adapters: whether the folder holds LoRA adapters and not the whole model.
    """
    start = next(event for event in events if event["event"] == "start")
    evaluations = [event for event in events if event["event"] == "evaluation"]
    parts = [
        _front_matter(settings, adapters),
        f"# {settings['run_name']}\n\n{_sentence(settings, start)}",
        "\n".join(_results(settings, evaluations)),
        "\n".join(_training(events, settings, start)),
        _use(settings, adapters),
        (
            "## The whole settings\n\n`gdro train settings.yaml`"
            f" with\n\n```yaml\n{_own(settings)}```\n"
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def base_name(model: str) -> str:
    """The base as the hub calls it, where it does."""
    return RELEASES[model].hub if model in RELEASES else model


def _front_matter(settings: Mapping[str, Any], adapters: bool) -> str:
    base = base_name(settings["model"])
    facts: dict[str, Any] = {
        "library_name": "peft" if adapters else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gdro", "grpo", "reinforcement-learning"],
    }
    if base.count("/") == 1 and not base.startswith((".", "/", "~")) and not base.endswith(".gguf"):
        facts["base_model"] = base
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"


def _sentence(settings: Mapping[str, Any], start: Mapping[str, Any]) -> str:
    controller = controller_label(settings["controller"])
    how = "plain GRPO" if controller == "uniform" else f"GRPO with the controller `{controller}`"
    return (
        f"`{base_name(settings['model'])}` after reinforcement learning on verified answers:"
        f" [GRPO]({GRPO}), [group distributionally robust]({GDRO}), by gdro {start['version']}"
        f" ({how})."
    )


def _results(settings: Mapping[str, Any], evaluations: list[dict[str, Any]]) -> Iterator[str]:
    if not evaluations:
        return
    before, after = evaluations[0], evaluations[-1]
    k, sampling = after["k"], settings["evaluation"]
    yield "## Results\n"
    yield (
        f"{after['prompts']} held-out prompts, {k} samples each, temperature"
        f" {sampling['temperature']:g}, top-p {sampling['top_p']:g}, top-k {sampling['top_k']}; 95"
        " % bootstrap intervals over prompts.\n"
    )
    yield f"| | prompts | mean@{k} before | mean@{k} after | pass@{k} before | pass@{k} after |"
    yield "|---|---:|---:|---:|---:|---:|"
    rows = {"all": (before, after)} | {
        name: (before["by_source"][name], row)
        for name, row in after["by_source"].items()
        if name in before["by_source"]
    }
    for name, (old, new) in rows.items():
        figures = (
            interval_words(row[score]) for score in ("mean_at_k", "pass_at_k") for row in (old, new)
        )
        yield f"| {name} | {new['prompts']} | {' | '.join(figures)} |"
    yield (
        f"\nChange of mean@{k}, prompt by prompt:"
        f" {interval_words(after['change']['mean_at_k'], sign='+')}."
    )


def _training(
    events: list[dict[str, Any]], settings: Mapping[str, Any], start: Mapping[str, Any]
) -> Iterator[str]:
    steps = [event for event in events if event["event"] == "step"]
    end = next((event for event in events if event["event"] == "end"), None)
    data = settings["data"]
    rows = {
        "base": f"`{base_name(settings['model'])}`",
        "data": (
            f"{data['kind']}{_source(data)}: {start['train_prompts']} prompts,"
            f" {start['heldout_prompts']} held out"
        ),
        "answers checked by": settings["verifier"]["kind"],
        "controller": f"`{json.dumps(settings['controller'])}`",
        "steps": (
            f"{steps[-1]['step'] if steps else 0} of {settings['prompts_per_step']} prompts x "
            f"{settings['num_generations']} rollouts"
        ),
        "rollouts": f"{steps[-1]['rollouts_total']:,}" if steps else "0",
        "learning rate": f"{settings['learning_rate']:g}, {settings['lr_scheduler_type']}",
        "arithmetic": (
            settings["dtype"]
            + ("" if settings["lora"] is None else f", LoRA of rank {settings['lora']['r']}")
        ),
        "machine": machine_words(start["machine"]),
        "time": f"{end['seconds'] / 60:.1f} minutes" if end else "unknown",
        "seed": str(settings["seed"]),
    }
    yield "## Training\n"
    yield "| | |\n|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"


def _use(settings: Mapping[str, Any], adapters: bool) -> str:
    base = base_name(settings["model"])
    if adapters:
        code = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM,"
            " AutoTokenizer\n\n"
            f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"),'
            ' "FOLDER")\n'
        )
    else:
        code = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("FOLDER")\n'
        )
    return (
        f'## Use\n\n```python\n{code}tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n```\n\n'
        "`gdro evaluate FOLDER settings.yaml` gives the figures above again, from other samples."
    )


def _own(settings: Mapping[str, Any]) -> str:
    return dump_yaml({k: v for k, v in settings.items() if k not in LOCAL})


def _source(data: Mapping[str, Any]) -> str:
    if data["kind"] == "reasoning_gym":
        return f" ({len(data['cells'])} cells)" if data.get("cells") else ""
    paths = data["path"] if isinstance(data["path"], list) else [data["path"]]
    return f" ({', '.join(Path(path).name if data['kind'] != 'hub' else path for path in paths)})"
