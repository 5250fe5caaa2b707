"""GDROTrainer: stock TRL where it must be, ragged and weighted where it should be, and clear
errors."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl_bench import Even, Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

import gdro
from gdro.core.errors import ModelError, OptionError, PlanError, PromptIdError
from gdro.engines.trl import GDROTrainer, loop, with_ids
from gdro.engines.trl import fast_path as module
from gdro.engines.trl.config import default_controller
from gdro.runs.model_size import model_size


def make(args, trainer=GDROTrainer, **arguments):
    defaults = {
        "model": tiny_model(),
        "reward_funcs": has_even_digit,
        "args": args,
        "train_dataset": sums(),
        "processing_class": character_tokenizer(),
    }
    return trainer(**(defaults | arguments))


def trained(args, **arguments):
    trainer = make(args, **arguments)
    trainer.train()
    return trainer


def history(trainer, key="loss"):
    return [entry[key] for entry in trainer.state.log_history if "loss" in entry]


def distance(first, second):
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    return max((mine - theirs).abs().max().item() for mine, theirs in pairs)


def stock(folder, **changes):
    ours = config(folder, **changes)
    names = {f.name for f in dataclasses.fields(GRPOConfig) if f.init}
    given = {
        "output_dir",
        "bf16",
        "use_cpu",
        "report_to",
        "disable_tqdm",
        "seed",
        "save_strategy",
        "max_steps",
    }
    given |= {
        "per_device_train_batch_size",
        "num_generations",
        "max_completion_length",
        "learning_rate",
    }
    given |= {"logging_steps", "gradient_checkpointing"} | changes.keys()
    return trained(
        GRPOConfig(**{name: getattr(ours, name) for name in given & names}), trainer=GRPOTrainer
    )


def test_canary_uniform_plan_is_stock_trl(tmp_path):
    """Equal groups and weight 1: the same losses and weights as GRPOTrainer, to the last bit on
    TRL's own path."""
    reference = stock(tmp_path, max_steps=8)
    slow = trained(
        config(
            tmp_path,
            max_steps=8,
            fast_generation=False,
            drop_dead_rows=False,
            shared_prefix=False,
            packing=False,
        ),
        controller=Even(),
    )
    assert history(slow) == history(reference)
    assert distance(slow, reference) == 0.0
    fast = trained(
        config(tmp_path, max_steps=8), controller=gdro.make_controller("uniform", mean_rollouts=4)
    )
    np.testing.assert_allclose(history(fast), history(reference), atol=1e-7)
    np.testing.assert_allclose(history(fast, "reward"), history(reference, "reward"))
    assert history(fast, "frac_reward_zero_std") == history(reference, "frac_reward_zero_std")
    assert distance(fast, reference) < 1e-6
    assert 0.1 < np.mean(history(fast, "frac_reward_zero_std")) < 0.9


@pytest.mark.parametrize(
    "loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
)
def test_dropping_dead_rows_keeps_every_loss(loss_type, tmp_path):
    """Off-policy too: two updates on one generation batch, ragged groups and weights."""
    changes = {
        "loss_type": loss_type,
        "steps_per_generation": 2,
        "per_device_train_batch_size": 8,
        "max_steps": 4,
    }
    whole = trained(config(tmp_path, drop_dead_rows=False, **changes), controller=Ragged())
    short = trained(config(tmp_path, **changes), controller=Ragged())
    np.testing.assert_allclose(history(short), history(whole), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(history(short, "grad_norm"), history(whole, "grad_norm"), rtol=1e-4)
    assert distance(short, whole) < 1e-5


@pytest.mark.parametrize("weighting", ["prompt", "row"])
def test_advantages_by_id(weighting, tmp_path):
    """The rows that reach the loss carry the advantage of their own prompt, times weight and nbar /
    n."""
    seen = []

    class Spy(GDROTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            seen.append(output["advantages"].tolist())
            return output

    controller = Ragged()
    weights = []
    observe = controller.observe

    def keep(ids, rewards):
        feedback = observe(ids, rewards)
        weights.append(feedback.weights)
        return feedback

    controller.observe = keep
    make(
        config(tmp_path, weighting=weighting, advantage_clip=1.2),
        trainer=Spy,
        controller=controller,
    ).train()
    assert len(seen) == 4
    assert any(len(set(map(len, rewards))) > 1 for _, rewards in controller.log)
    for (_, rewards), weight, found in zip(controller.log, weights, seen, strict=True):
        groups = gdro.group_advantages(rewards, ddof=1, clip=1.2)
        factors = [
            w * (4 / len(g) if weighting == "prompt" else 1)
            for w, g in zip(weight, groups, strict=True)
        ]
        expected = np.concatenate([f * g for f, g in zip(factors, groups, strict=True)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_surrogate_losses(tmp_path):
    """Zero for each prompt on-policy (advantages sum to zero), not zero after a first update; every
    rollout counted."""
    on_policy = Ragged(needs_losses=True)
    trained(config(tmp_path, loss_type="dr_grpo"), controller=on_policy)
    assert len(on_policy.losses) == 4
    for (ids, losses), (planned, _) in zip(on_policy.losses, on_policy.log, strict=True):
        assert ids == planned
        np.testing.assert_allclose(losses, 0, atol=1e-6)
    drifting = Ragged(needs_losses=True)
    trained(config(tmp_path, num_iterations=2, max_steps=8), controller=drifting)
    assert len(drifting.losses) == 4
    assert max(np.abs(losses).max() for _, losses in drifting.losses) > 1e-3
    whole = Ragged(needs_losses=True)
    trained(config(tmp_path, num_iterations=2, max_steps=8, drop_dead_rows=False), controller=whole)
    for (_, mine), (_, theirs) in zip(drifting.losses, whole.losses, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_evaluation_leaves_the_controller_alone(tmp_path):
    changes = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "per_device_eval_batch_size": 8,
        "num_generations_eval": 2,
    }
    controller = Ragged()
    trainer = trained(
        config(tmp_path, **changes),
        controller=controller,
        eval_dataset=sums(8).remove_columns("id"),
    )
    assert len(controller.log) == 4
    assert len([e for e in trainer.state.log_history if "eval_reward" in e]) == 2


def test_lora_and_kl(tmp_path):
    """LoRA with a KL term: dead rows stay in, the base does not move, the adapter does."""
    model = tiny_model()
    before = model.model.layers[0].self_attn.q_proj.weight.clone()
    trainer = trained(
        config(tmp_path, beta=0.1, num_iterations=2),
        model=model,
        controller=gdro.make_controller("paper", mean_rollouts=4),
        peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
    )
    layer = trainer.model.get_base_model().model.layers[0].self_attn.q_proj
    assert torch.equal(layer.base_layer.weight, before)
    assert layer.lora_B["default"].weight.abs().max() > 0
    assert history(trainer, "kl")[-1] > 0
    assert trainer.why_not_fast() is None


def test_logs_and_records(tmp_path):
    records = []
    trainer = trained(config(tmp_path), on_step=records.append)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert [record["rollouts_total"] for record in records] == [16, 32, 48, 64]
    assert records[-1]["loss"] == history(trainer)[-1]
    seconds = records[-1]["seconds"]
    assert seconds["step"] == pytest.approx(
        seconds["generate"] + seconds["score"] + seconds["update"]
    )
    assert len(records[-1]["controller"]["weight"]) == trainer.controller.bins
    entry = trainer.state.log_history[3]
    assert entry["gdro/batch_rollouts"] == 16
    assert entry["gdro/mass/bin_0"] >= 0
    assert not any(
        value is None or value != value for key, value in entry.items() if key.startswith("gdro/")
    )


@pytest.mark.parametrize("changes", [{}, {"drop_dead_rows": False}, {"num_iterations": 2}])
def test_trained_tokens_are_those_that_went_through_training_passes(changes, tmp_path):
    """All that were generated, but those of rollouts without an advantage, in each update."""
    records, live = [], []

    class Spy(GDROTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            tokens = output["completion_mask"].sum(1)
            live.append(int(tokens[output["advantages"] != 0].sum()))
            return output

    trained(config(tmp_path, **changes), controller=Ragged(), trainer=Spy, on_step=records.append)
    spent = [record["trained_tokens"] for record in records]
    generated = np.diff([0, *(record["tokens_total"] for record in records)]).tolist()
    if "drop_dead_rows" in changes:
        assert spent == generated
    elif "num_iterations" in changes:
        assert spent == [tokens for tokens in live for _ in range(2)]
    else:
        assert spent == live
        assert sum(spent) < sum(generated)


def test_two_rewards_with_gaps(tmp_path):
    """TRL's weighted sum, where a function that has nothing to say is left out."""

    def sometimes(completions, id, **_):
        return [None if int(name.split("/")[1]) % 2 else 1.0 for name in id]

    controller = Ragged()
    trained(
        config(tmp_path, reward_weights=[1.0, 0.5], max_steps=1),
        reward_funcs=[has_even_digit, sometimes],
        controller=controller,
    )
    for name, rewards in zip(*controller.log[0], strict=True):
        assert set(rewards) <= ({0.0, 1.0} if int(name.split("/")[1]) % 2 else {0.5, 1.5})


def test_a_wrong_plan_is_refused(tmp_path):
    class Generous(Even):
        def plan(self, prompt_ids):
            plan = super().plan(prompt_ids)
            plan.rollouts[0] += 1
            return plan

    with pytest.raises(PlanError, match="planned 17 rollouts"):
        trained(config(tmp_path), controller=Generous())


def test_bad_options(tmp_path):
    with pytest.raises(OptionError, match="advantage='mean'"):
        config(tmp_path, advantage="mean")
    with pytest.raises(OptionError, match="weighting='token'"):
        config(tmp_path, weighting="token")
    with pytest.raises(OptionError, match="scale_rewards='prompt'"):
        config(tmp_path, scale_rewards="prompt")
    with pytest.raises(OptionError, match="'normalize_then_sum', which is an advantage of its own"):
        config(tmp_path, multi_objective_aggregation="normalize_then_sum", advantage="grpo")
    for scaled, kind in (
        (True, "grpo"),
        (False, "dr_grpo"),
        ("none", "dr_grpo"),
        ("batch", "batch"),
    ):
        assert config(tmp_path, scale_rewards=scaled).advantage_kind == kind
    with pytest.raises(OptionError, match="takes a GDROConfig"):
        make(GRPOConfig(str(tmp_path), use_cpu=True, bf16=False))
    with pytest.raises(OptionError, match="plans 3 rollouts"):
        make(config(tmp_path), controller=Ragged(mean_rollouts=3))
    posterior = gdro.make_controller("posterior_gdro", baseline="posterior")
    for other in ({"advantage": "rloo"}, {"multi_objective_aggregation": "normalize_then_sum"}):
        with pytest.raises(
            OptionError, match="a baseline of its own, which does not go with the advantage"
        ):
            make(config(tmp_path, **other), controller=posterior)
    with pytest.raises(OptionError, match="3 prompts, and a batch takes 4"):
        make(config(tmp_path), train_dataset=sums(3), controller=Ragged())
    with pytest.raises(OptionError, match="candidates=4: a streamed data set"):
        make(config(tmp_path, candidates=4), train_dataset=sums().to_iterable_dataset())


def test_bad_ids(tmp_path):
    nameless = sums().remove_columns("id")
    twice = Dataset.from_dict({"prompt": ["1+1="] * 8, "id": ["a", "b"] * 4})
    with pytest.raises(PromptIdError, match="'a' occurs more than once"):
        make(config(tmp_path), train_dataset=twice)
    for wrong in ([True] * 8, [1.5] * 8, [""] * 8):
        with pytest.raises(PromptIdError, match="row 0: column 'id' holds"):
            make(
                config(tmp_path),
                train_dataset=Dataset.from_dict({"prompt": ["1+1="] * 8, "id": wrong}),
            )
    named = with_ids(nameless, "sums")
    assert named["id"][0].startswith("sums/")
    assert len(set(named["id"])) == len(named)
    again = with_ids(nameless.select(range(5, 10)), "sums")
    assert again["id"][0] == named["id"][5]
    with pytest.raises(PromptIdError, match="already has"):
        with_ids(named, "sums")
    with pytest.raises(
        PromptIdError, match=r"rows 0 and 2 are equal, .* \(6 rows repeat another\); drop"
    ):
        with_ids(Dataset.from_dict({"prompt": ["a", "b"] * 4}), "sums")
    assert [row["id"] for row in with_ids(nameless.to_iterable_dataset(), "sums")] == list(
        named["id"]
    )
    with pytest.raises(OptionError, match="not a list"):
        with_ids([{"prompt": "1"}], "sums")
    for blank in ("", " ", "a/"):
        with pytest.raises(OptionError, match="may not be blank or end in"):
            with_ids(nameless, blank)


def test_what_names_no_controller(tmp_path):
    for wrong in (None, gdro.make_controller("uniform")):
        with pytest.raises(
            OptionError, match=r"it must be a name, .* GDROTrainer\(controller=\.\.\.\)"
        ):
            config(tmp_path, controller=wrong)
    for wrong in ("joint", gdro.Controller):
        with pytest.raises(
            OptionError, match=r"is no controller yet: make one with gdro\.make_controller"
        ):
            make(config(tmp_path), controller=wrong)
    with pytest.raises(
        OptionError, match=r"object is no controller, it lacks name, selects, .*derive it from gdro"
    ):
        make(config(tmp_path), controller=object())
    for named in ({"controller": "uniform"}, {"controller_options": {"eta": 3.0}}):
        with pytest.raises(
            OptionError, match="and a controller of your own: leave one of them out"
        ):
            make(config(tmp_path, **named), controller=Even())
    with pytest.raises(OptionError, match="controller_options='eta=3': it must be a dict"):
        config(tmp_path, controller_options="eta=3")
    with pytest.raises(OptionError, match="candidates='x': it must be a whole number"):
        config(tmp_path, candidates="x")


def test_a_composition_goes_where_a_name_goes(tmp_path):
    """As a dict, and as the JSON text that a command line gives."""
    for parts in (
        {"selector": "mopps", "allocator": "sqrt_law"},
        '{"selector": "mopps", "allocator": "sqrt_law"}',
    ):
        made = default_controller(config(tmp_path, controller=parts, num_generations=2))
        assert (made.selects, made.plans_equally, made.mean_rollouts, made.seed) == (
            True,
            False,
            2,
            3,
        )


def test_ids_go_by_content_whatever_a_column_holds():
    images = pytest.importorskip("PIL.Image")
    pictures = [images.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    days = [datetime(2026, 1, 1, hour) for hour in (1, 2)]
    rows = Dataset.from_dict(
        {"image": pictures, "day": days},
        features=Features({"image": Image(), "day": Value("timestamp[s]")}),
    )
    first, again = with_ids(rows, "seen")["id"], with_ids(rows, "seen")["id"]
    assert first[0] != first[1]
    assert list(first) == list(again)


def test_generation_rows_bound_every_batch(tmp_path, monkeypatch):
    """At most so many rows are sampled together; every rollout still continues its own prompt."""
    sizes = []

    def keep(model, prompts, rows, options):
        sizes.append((len(rows), len(prompts), sorted(set(rows)) == list(range(len(prompts)))))
        return sample_rows(model, prompts, rows, options)

    sample_rows = module.sample_rows
    monkeypatch.setattr(module, "sample_rows", keep)
    controller = Ragged()
    trained(config(tmp_path, generation_rows=5), controller=controller)
    assert [size for size, _, _ in sizes] == [5, 5, 5, 1] * 4
    assert all(whole for _, _, whole in sizes)
    assert max(prompts for _, prompts, _ in sizes) < 5
    assert [sum(map(len, rewards)) for _, rewards in controller.log] == [16] * 4


def test_what_other_callbacks_do_at_a_steps_end_is_not_in_its_seconds(tmp_path, monkeypatch):
    clock, records = [0.0], []
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Evaluates(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            clock[0] += 100.0

    trained(config(tmp_path, max_steps=2), callbacks=[Evaluates()], on_step=records.append)
    assert [record["seconds"]["step"] for record in records] == [0.0, 0.0]


def test_a_models_own_min_p_counts_on_both_paths(tmp_path):
    found = []
    for fast in (True, False):
        model = tiny_model()
        model.generation_config.min_p = 0.5
        trainer = make(config(tmp_path, fast_generation=fast), model=model)
        assert (trainer.why_not_fast() is None) == fast
        torch.manual_seed(0)
        found.append(trainer._generate_single_turn([[5, 6], [7]] * 4, None, {}, 4)[0])
    assert found[0] == found[1]


def test_generation_rows_need_the_fast_path(tmp_path):
    with pytest.raises(OptionError, match="generation_rows=5 bounds the fast path only"):
        make(config(tmp_path, generation_rows=5, fast_generation=False))


def test_a_model_of_gdros_own_goes_by_its_name(tmp_path, monkeypatch):
    words = {"processing_class": None, "args": config(tmp_path, max_steps=1)}
    trainer = make(model="tiny", **words)
    trainer.train()
    assert trainer.model.num_parameters() == model_size("tiny")[0].parameters
    monkeypatch.setenv("GDRO_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="gdro fetch smollm2"):
        make(model="smollm2", **words)
