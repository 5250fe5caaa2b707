"""`gdro sft`: fine-tune a language model on mixed sources, plainly and with a robust method, and
compare by source.

    gdro sft tiny                          the embedded model on four text domains: minutes on a CPU
    gdro sft smollm2                       SmolLM2-135M on them (gdro fetch smollm2 first)
    gdro sft tiny --set 'methods=[{name: doremi, eta: 0.1, reference: erm}]'
    gdro sft mine.yaml --check                       look at the settings alone

Writes output_dir/{table.md, figure.svg, outcomes.json} and each run's model; with DoReMi
domain_weights.json too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gdro.io import to_json, write_atomic
from gdro.overrides import add_set
from gdro.robust.batch import RobustError
from gdro.robust.domain_weights import read_domain_weights, write_domain_weights
from gdro.robust.group_methods import DoReMi
from gdro.robust.registry import ERM, make_method
from gdro.robust.sft_config import MethodSettings, SFTSettings, load_settings, recipe_names
from gdro.robust.sft_data import Sources, load_sources
from gdro.robust.sft_report import draw_figure, log_line, markdown

DONE = "outcome.json"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Raises:
        GDROError: a setting, the data or the model is not as it should be.
    """
    parser = argparse.ArgumentParser(
        prog="gdro sft", description="Robust fine-tuning on mixed sources."
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        help=f"a YAML file or one of {', '.join(recipe_names())} (default: tiny)",
    )
    add_set(parser)
    parser.add_argument("--check", action="store_true", help="print the settings, train nothing")
    chosen = parser.parse_args(words)
    settings = load_settings(chosen.recipe or "tiny", chosen.overrides)
    if chosen.check:
        print(yaml.safe_dump(settings.model_dump(), sort_keys=False), end="")
        return 0
    record = compare(settings)
    output = Path(settings.output_dir)
    write_atomic(output / "outcomes.json", to_json(record, indent=1) + "\n")
    write_atomic(output / "table.md", markdown(record))
    draw_figure(record, output / "figure.svg")
    print(f"\n{markdown(record)}\nwritten to {output}")
    return 0


def compare(settings: SFTSettings) -> dict[str, Any]:
    """Train `erm` and every method for every seed; the settings and each run's losses by source
    over time."""
    _quiet()
    data = load_sources(settings)
    plain = MethodSettings(name=ERM)
    methods = [plain, *(method for method in settings.methods if method.name != ERM)]
    for method in methods:  # what is wrong with one is said before anything is trained
        make_method(method.name, data.sources, **method.options)
    if len({method.name for method in methods}) < len(methods):
        raise RobustError(
            "methods: each method once; compare options of one method in runs of their own"
        )
    runs = [_run(settings, data, method, seed) for seed in settings.seeds for method in methods]
    return {"settings": settings.model_dump(), "sources": list(data.sources), "runs": runs}


def _run(settings: SFTSettings, data: Sources, method: MethodSettings, seed: int) -> dict[str, Any]:
    """One run, or what it left when it was finished before with the same settings."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(settings.output_dir) / f"{method.name}-{seed}"
    told = {
        **settings.model_dump(exclude={"seeds", "output_dir", "methods"}),
        **method.model_dump(),
        "seed": seed,
    }
    if (folder / DONE).is_file():
        found: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
        if found["settings"] != json.loads(to_json(told)):
            raise RobustError(
                f"{folder} holds a run with other settings; choose another output_dir or remove it"
            )
        return found
    folder.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(settings, data, method, seed, folder)
    _say_progress(trainer, f"{method.name}, seed {seed}")
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    trainer.save_model(str(folder / "model"))
    outcome = {
        "settings": told,
        "method": method.name,
        "seed": seed,
        "history": trainer.state.log_history,
    }
    if isinstance(trainer.method, DoReMi):
        write_domain_weights(folder / "domain_weights.json", trainer.method.average())
    write_atomic(folder / DONE, to_json(outcome) + "\n")
    for checkpoint in folder.glob("checkpoint-*"):  # of use only to a run that is not finished
        shutil.rmtree(checkpoint)
    return outcome


def _trainer(
    settings: SFTSettings, data: Sources, method: MethodSettings, seed: int, folder: Path
) -> Any:
    import torch
    from trl import SFTConfig

    from gdro.models.loading import load_model
    from gdro.robust.sft_trainer import RobustSFTTrainer

    model, tokenizer, _ = load_model(settings.model)
    tokenizer.padding_side = "right"
    reference = None
    if method.reference == ERM:
        reference, _, _ = load_model(str(Path(settings.output_dir) / f"{ERM}-{seed}" / "model"))
    on_gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=settings.max_steps,
        eval_strategy="steps",
        eval_steps=settings.eval_steps,
        eval_on_start=True,
        save_steps=settings.eval_steps,
        save_total_limit=1,
        logging_steps=max(settings.eval_steps // 5, 1),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(settings.max_steps // 20, 1),
        per_device_train_batch_size=settings.per_device_train_batch_size,
        per_device_eval_batch_size=4 * settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_length=settings.max_length,
        bf16=settings.bf16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        gradient_checkpointing=False,
        dataset_text_field=settings.text_column,
        seed=seed,
        report_to="none",
        disable_tqdm=True,
    )
    return RobustSFTTrainer(
        model=model,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=tokenizer,
        method=make_method(method.name, data.sources, **method.options),
        group_column=settings.source_column,
        id_column=settings.id_column,
        even_groups=(
            None if method.domain_weights is None else read_domain_weights(method.domain_weights)
        ),
        weights_from="this_step" if method.name == ERM else settings.weights_from,
        reference_model=reference,
    )


def _quiet() -> None:
    """Of what libraries print, errors alone: `_say_progress` tells how far a run is."""
    import datasets

    from gdro.models.pretrained import quiet_transformers

    quiet_transformers()
    datasets.disable_progress_bars()


def _say_progress(trainer: Any, run: str) -> None:
    """In the place of transformers' printer: a line for each of the trainer's logs."""
    from transformers import PrinterCallback, TrainerCallback

    class Lines(TrainerCallback):  # type: ignore[misc]
        began = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
            if line := log_line(logs):
                seconds = time.monotonic() - self.began
                step = f"step {state.global_step} of {state.max_steps}"
                print(f"{run}: {step}, {seconds:.0f} s: {line}", flush=True)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Lines())


if __name__ == "__main__":
    sys.exit(main())
