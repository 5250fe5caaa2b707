"""GDROTrainer and `gdro` with the real vLLM in the process of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cpu_colocate
import pytest
import torch
from traced import check, make

import gdro
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.vllm import engine_of, request_seeds

HERE = Path(__file__).parent
MICRO = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "steps_per_generation": 4,
}


@pytest.fixture(scope="module", autouse=True)
def _engine(tmp_path_factory):
    """One engine for all tests, built first: to build one sets all random generators."""
    cpu_colocate.install(cpu_colocate.shared)
    make(tmp_path_factory.mktemp("first"))


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("changes", [{}, MICRO, {"num_iterations": 2}])
def test_ragged_plans_are_traced_to_their_prompts(changes, tmp_path):
    trainer = make(tmp_path, **changes)
    trainer.train()
    sizes = check(trainer)
    assert any(len(set(size)) > 1 for size in sizes)
    assert all(sum(size) == 16 for size in sizes)
    assert trainer.place.rollouts_total == 16 * len(sizes)
    name = "sampling/importance_sampling_ratio/mean"
    ratios = [entry[name] for entry in trainer.state.log_history if name in entry]
    assert ratios == pytest.approx([1.0] * len(ratios), abs=1e-3), "weights are sent each step"


def test_candidates_are_chosen(tmp_path):
    """A controller that selects, from its own candidates; the plan is traced all the same."""
    chosen = make(
        tmp_path, controller=gdro.make_controller("live_gdro", mean_rollouts=4), max_steps=3
    )
    chosen.train()
    asked = {prompt for step in chosen.requests for prompt, _, _ in step}
    assert asked <= {
        tuple(chosen.processing_class(r["prompt"]).input_ids) for r in chosen.train_dataset
    }
    for requests, rewarded in zip(chosen.requests, chosen.rewarded, strict=True):
        assert [made for _, made, _ in requests] == [made for _, made, _ in rewarded]


def test_rounds_replay_what_was_kept(tmp_path):
    trainer = make(
        tmp_path,
        controller=gdro.make_controller("uniform", mean_rollouts=4),
        rounds="dynamic_sampling",
        max_steps=3,
    )
    trainer.train()
    made = {pair for step in trainer.requests for pair in ((p, c) for p, c, _ in step)}
    for batch in trainer.batches:
        for row in range(16):
            prompt = tuple(batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist())
            kept = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
            assert (prompt, tuple(kept.tolist())) in made


@pytest.mark.parametrize(
    ("stop", "changes"),
    [(3, {}), (3, {"steps_per_generation": 2, "per_device_train_batch_size": 8})],
)
def test_a_resume_is_the_run_that_never_stopped(stop, changes, tmp_path):
    """After a generation batch, and amid one."""
    saving = {"save_strategy": "steps", "save_steps": stop} | changes
    whole = make(tmp_path, **saving)
    whole.train()
    part = make(tmp_path, **saving)
    part.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}"))
    made = [[request[:2] for request in step] for step in whole.requests]
    assert made[-len(part.requests) :] == [[r[:2] for r in step] for step in part.requests]
    assert losses(part) == losses(whole)
    assert part.controller.visits == whole.controller.visits
    assert part.place.tokens_total == whole.place.tokens_total
    for mine, theirs in zip(part.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_seed_of_the_run_reaches_vllm(tmp_path):
    """TRL seeds an engine with the number of the process, whatever the run's seed."""
    runs = []
    for seed in (1, 1, 2):
        runs.append(make(tmp_path, seed=seed, data_seed=0, max_steps=1, temperature=2.0))
        runs[-1].train()
    first, again, other = ([r[1] for r in run.requests[0]] for run in runs)
    assert first == again
    assert first != other


def test_evaluation_has_a_seed_a_request(tmp_path):
    trainer = make(tmp_path, max_steps=2)
    trainer.train()
    engine, tokenizer = engine_of(trainer), trainer.processing_class
    prompts = [tokenizer(text).input_ids for text in ("1+1=", "2+12=", "1+1=")]
    options = SamplingOptions(8, (tokenizer.eos_token_id,), tokenizer.pad_token_id, temperature=2.0)
    before = torch.get_rng_state()
    seeds = request_seeds(["a", "b", "c"], 0)
    found = engine(prompts, 6, options, seeds)
    assert torch.equal(before, torch.get_rng_state())
    assert found == engine(prompts, 6, options, seeds)
    assert found[0] != found[2], "equal texts, two prompts"
    assert len({tuple(made) for made in found[0]}) > 1
    assert engine(prompts[:2], 6, options, seeds[:2]) == found[:2], "whoever is asked beside it"
    greedy = SamplingOptions(8, options.eos_ids, options.pad_id, temperature=0)
    said = engine(prompts, 1, greedy, seeds)
    for prompt, [made] in zip(prompts, said, strict=True):
        own = trainer.model.generate(
            torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=options.pad_id
        )
        assert own[0, len(prompt) :].tolist() == made, "the weights of now"


SMALL = [
    *("max_steps=3", "prompts_per_step=8", "data.size=64", "data.heldout_size=16", "save_steps=1"),
    *("generation.backend=vllm", "dtype=float32", "eval_steps=2", "evaluation.num_generations=2"),
    "lr_scheduler_type=constant",  # the course of another would know the number of steps
]


def _gdro(command, *settings, launcher=()):
    """In a process of its own, as a user has it: an engine ends with its process."""
    words = [word for text in settings for word in ("--set", text)]
    program = [*launcher, str(HERE / "cpu_colocate.py")]
    if not launcher:
        program = [sys.executable, *program]
    # TRL has put those of an engine in this process into the environment.
    own = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    done = subprocess.run(
        [*program, *command, *words],
        env={name: value for name, value in os.environ.items() if name not in own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Fast generation is off" not in done.stderr
    return done


def _record(run):
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shown = [e for e in events if e["event"] in ("step", "evaluation")]
    return [{k: v for k, v in e.items() if k not in ("seconds", "time")} for e in shown]


def test_train_resume_and_evaluate_from_the_command_line(tmp_path):
    run, again, out = tmp_path / "run", tmp_path / "again", tmp_path / "figures.json"
    _gdro(["train"], *SMALL, f"output_dir={run}")
    _gdro(["train"], *SMALL, f"output_dir={again}", "max_steps=2")
    _gdro(["train", "--resume", str(again)], "max_steps=3")
    assert _record(again) == _record(run)
    assert [e["step"] for e in _record(run) if e["event"] == "evaluation"] == [0, 2, 3]
    _gdro(["evaluate", str(run), "--output", str(out)])
    last = _record(run)[-1]
    assert json.loads(out.read_text())["mean_at_k"] == last["mean_at_k"], "same weights, same seed"


def test_two_processes(tmp_path):
    """Each with an engine of its own; groups straddle them. The processes part in order."""
    launcher = [str(Path(sys.executable).with_name("torchrun"))]
    launcher += ["--standalone", "--nproc-per-node=2"]
    _gdro(["train"], *SMALL, f"output_dir={tmp_path / 'two'}", launcher=launcher)
    steps = [e for e in _record(tmp_path / "two") if e["event"] == "step"]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert steps[-1]["rollouts_total"] == 96
