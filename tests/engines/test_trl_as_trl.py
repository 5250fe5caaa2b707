"""What TRL's users expect of their trainer, each with the value that is right: data sets, ids,
rewards, arguments."""

from __future__ import annotations

import logging

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset
from test_trl_trainer import history, make, stock, trained
from trl import GRPOConfig, GRPOTrainer
from trl_bench import Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

import gdro
from gdro.core.errors import OptionError, PlanError, PromptIdError
from gdro.engines.compat import DEFAULT_CONTROLLER
from gdro.engines.trl import GDROTrainer, SamplingOptions, sample, with_ids

logging.getLogger("gdro").propagate = True


def same_weights(first, second) -> bool:
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def seen_ids(kept):
    def reward(completions, id, **_):
        kept.append(list(id))
        return has_even_digit(completions)

    return reward


def test_arguments_come_in_trls_order(tmp_path):
    trainer = GDROTrainer(
        tiny_model(), has_even_digit, config(tmp_path), sums(), None, character_tokenizer()
    )
    trainer.train()
    assert len(history(trainer)) == 4


def test_whole_numbers_are_ids(tmp_path):
    kept = []
    numbered = Dataset.from_dict({"prompt": sums(8)["prompt"], "id": list(range(8))})
    trainer = trained(config(tmp_path), train_dataset=numbered, reward_funcs=seen_ids(kept))
    assert {type(value) for ids in kept for value in ids} == {int}, (
        "reward functions see the column as it is"
    )
    assert set(trainer.prompts.all()) == {str(i) for i in range(8)}
    assert trainer.controller.metrics()["batch_prompts"] == 4


def test_unused_columns_go_and_the_id_stays(tmp_path):
    kept = []

    def columns(completions, **given):
        kept.append(set(given))
        return has_even_digit(completions)

    data = sums().add_column("answer", ["1"] * 24)
    for controller in ("live_gdro", "joint"):
        arguments = {"train_dataset": data, "reward_funcs": columns}
        trained(config(tmp_path, controller=controller, remove_unused_columns=True), **arguments)
    assert all("id" in given and "answer" not in given for given in kept)


def test_prompts_without_ids_are_named_by_their_content(tmp_path, caplog):
    kept = []
    nameless = sums().remove_columns("id")
    with caplog.at_level(logging.WARNING):
        trained(config(tmp_path), train_dataset=nameless, reward_funcs=seen_ids(kept))
    assert "each prompt is named by its content" in caplog.text
    expected = set(with_ids(nameless, "data")["id"])
    assert {name for ids in kept for name in ids} <= expected
    twice = Dataset.from_dict({"prompt": ["1+1=", "2+2="] * 4})
    trainer = make(config(tmp_path), train_dataset=twice)
    assert sorted(name[21:] for name in trainer.prompts.all()) == [
        "",
        "",
        "~2",
        "~2",
        "~3",
        "~3",
        "~4",
        "~4",
    ]


@pytest.mark.parametrize("named", [True, False])
def test_a_stream_trains_and_resumes(named, tmp_path, caplog):
    """In the second pass over the stream, with ids from its column or its content."""
    data = (sums(8) if named else sums(8).remove_columns("id")).to_iterable_dataset()
    changes = {"max_steps": 5, "save_strategy": "steps", "save_steps": 1}
    kept: list[list[str]] = []
    with caplog.at_level(logging.WARNING):
        whole = make(
            config(tmp_path / "whole", **changes), train_dataset=data, reward_funcs=seen_ids(kept)
        )
    assert "offers none beside a batch's own" in caplog.text
    whole.train()
    names = sums(8)["id"] if named else with_ids(sums(8).remove_columns("id"), "data")["id"]
    assert {name for ids in kept for name in ids} == set(names)
    assert whole.controller.metrics()["seen_prompts"] == 8
    part = make(config(tmp_path / "part", max_steps=5), train_dataset=data)
    part.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert history(part) == history(whole)
    assert same_weights(part, whole)
    assert gdro.state_hash(part.session.state_dict()) == gdro.state_hash(whole.session.state_dict())


def test_a_stream_row_without_its_id_is_named(tmp_path):
    rows = [{"prompt": "1+1=", "id": f"s/{i}" if i < 6 else ""} for i in range(8)]
    data = Dataset.from_list(rows).to_iterable_dataset()
    with pytest.raises(PromptIdError, match="column 'id' holds ''"):
        trained(config(tmp_path, shuffle_dataset=False), train_dataset=data)


def test_an_id_that_comes_twice_in_a_batch_of_a_stream_is_named(tmp_path):
    rows = [{"prompt": f"{i}+1=", "id": f"s/{i % 7}"} for i in range(8)]
    data = Dataset.from_list([*rows[::7], *rows[1:7]]).to_iterable_dataset()
    with pytest.raises(PromptIdError, match="'s/0' of column 'id' is twice among the 4 prompts"):
        trained(config(tmp_path, shuffle_dataset=False), train_dataset=data)


class Guess:
    """An environment that makes its own prompts and scores them."""

    def reset(self, **_):
        return "12"

    def get_reward(self):
        return 1.0


class Exact:
    """An environment whose `reset` names the columns of its data set."""

    def reset(self, prompt, answer):
        return answer

    def get_reward(self):
        return 1.0


def chat_tokenizer():
    tokenizer = character_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{% if m['tool_calls'] %}{{"
        " m['tool_calls'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}a {% endif %}"
    )
    return tokenizer


def test_an_environment_gets_the_columns_of_the_data_set_alone(tmp_path):
    asked = [[{"role": "user", "content": text}] for text in sums(8)["prompt"]]
    data = Dataset.from_dict({"prompt": asked, "answer": [str(i) for i in range(8)]})
    trainer = GDROTrainer(
        tiny_model(),
        args=config(tmp_path, max_steps=1),
        train_dataset=data,
        processing_class=chat_tokenizer(),
        environment_factory=Exact,
    )
    trainer.train()
    assert trainer.controller.metrics()["reward_mean"] == 1.0
    assert trainer.prompts.kind == "content"


def test_an_environment_may_own_the_data(tmp_path, caplog):
    tokenizer = chat_tokenizer()
    trainer = GDROTrainer(
        tiny_model(), args=config(tmp_path), processing_class=tokenizer, environment_factory=Guess
    )
    assert "an environment says them, after the plan: it is told empty ones" in caplog.text
    trainer.train()
    metrics = trainer.controller.metrics()
    assert (metrics["batch_prompts"], metrics["reward_mean"]) == (4, 1.0)
    assert metrics["unseen_share"] == 1.0, "each prompt that the environment makes is a new one"


def test_a_completion_without_reward_trains_nothing_and_is_counted(tmp_path):
    def none_for_one(completions, id, **_):
        scores = has_even_digit(completions)
        return [None if name == id[-1] else score for name, score in zip(id, scores, strict=True)]

    class Spy(GDROTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            outputs.append(
                (output["advantages"].numpy(), self.session.metrics()["gdro/missing_rollouts"])
            )
            return output

    outputs = []
    make(config(tmp_path, controller="joint"), trainer=Spy, reward_funcs=none_for_one).train()
    assert len(outputs) == 4
    for step, (advantages, missing) in enumerate(outputs):
        assert (advantages[-4:] == 0.0).all(), "the last prompt of each batch"
        assert missing == 4.0 * (step + 1)
    assert any(advantages.any() for advantages, _ in outputs)


def test_a_run_goes_on_without_any_reward(tmp_path):
    """Longer than other engines wait for one."""

    def none(completions, **_):
        return [None] * len(completions)

    data = sums(12)
    for controller in ("uniform", DEFAULT_CONTROLLER):
        args = config(tmp_path, controller=controller, max_steps=12, per_device_train_batch_size=4)
        trainer = make(args, train_dataset=data, reward_funcs=none)
        before = [weights.clone() for weights in trainer.model.parameters()]
        trainer.train()
        skipped = trainer.session.metrics()["gdro/skipped_steps"]
        assert (trainer.state.global_step, skipped) == (12, trainer.place.batches)
        assert skipped > 10
        assert all(map(torch.equal, before, trainer.model.parameters()))


def test_a_run_with_unscored_completions_is_stock_trls(tmp_path):
    """`uniform`, one completion of some batches unscored: TRL's own losses."""
    calls = [0]

    def flaky(completions, **_):
        calls[0] += 1
        scores = has_even_digit(completions)
        return [None if calls[0] % 2 and i == 5 else score for i, score in enumerate(scores)]

    slow = {
        "fast_generation": False,
        "drop_dead_rows": False,
        "shared_prefix": False,
        "packing": False,
    }
    ours = trained(
        config(tmp_path, controller="uniform", weighting="row", **slow), reward_funcs=flaky
    )
    calls[0] = 0
    theirs = trained(stock_config(tmp_path), trainer=GRPOTrainer, reward_funcs=flaky)
    assert history(ours) == history(theirs)
    assert same_weights(ours, theirs)
    assert (ours.session.missing, ours.session.skipped) == (2, 0)


def stock_config(folder, **changes) -> GRPOConfig:
    ours = config(folder)
    names = (
        "output_dir",
        "per_device_train_batch_size",
        "num_generations",
        "max_completion_length",
        "learning_rate",
    )
    names += (
        "max_steps",
        "logging_steps",
        "save_strategy",
        "report_to",
        "use_cpu",
        "bf16",
        "seed",
        "disable_tqdm",
    )
    given = (
        {name: getattr(ours, name) for name in names} | {"gradient_checkpointing": False} | changes
    )
    return GRPOConfig(**given)


def real_valued(completions, **_):
    return [0.1 * len(completion) for completion in completions]


AGGREGATIONS = [
    {"scale_rewards": "group"},
    {"scale_rewards": False},
    {"scale_rewards": "batch"},
    {"multi_objective_aggregation": "normalize_then_sum"},
]


@pytest.mark.parametrize("how", AGGREGATIONS, ids=lambda how: str(next(iter(how.values()))))
def test_a_uniform_run_is_stock_trls_bit_for_bit_whatever_the_rewards(how, tmp_path):
    slow = {
        "fast_generation": False,
        "drop_dead_rows": False,
        "shared_prefix": False,
        "packing": False,
    }
    rewards = {"reward_funcs": [real_valued, has_even_digit]}
    ours = trained(config(tmp_path, controller="uniform", **how, **slow), **rewards)
    theirs = trained(stock_config(tmp_path, **how), trainer=GRPOTrainer, **rewards)
    assert history(ours) == history(theirs)
    assert same_weights(ours, theirs)


@pytest.mark.parametrize("how", AGGREGATIONS, ids=lambda how: str(next(iter(how.values()))))
def test_advantages_are_trls_by_prompt_id(how, tmp_path):
    """Equal groups again, through our own way: TRL's advantages times the weights."""

    class Weighing(Ragged):
        """Every prompt weighs 2, so TRL's own advantages are not what is trained on."""

        def plan(self, prompt_ids):
            ids = tuple(prompt_ids)
            self.outstanding.append(
                gdro.Plan(ids, np.full(len(ids), 4), np.zeros(len(ids), np.int64))
            )
            return self.outstanding[-1]

        def observe(self, prompt_ids, rewards):
            feedback = super().observe(prompt_ids, rewards)
            return gdro.Feedback(
                feedback.prompt_ids, np.full(len(feedback.prompt_ids), 2.0), feedback.bins
            )

    pairs = []

    class Spy(GDROTrainer):
        def _weigh(self, output, *arguments):
            before = output["advantages"].clone()
            super()._weigh(output, *arguments)
            pairs.append((before, output["advantages"]))

    rewards = {"reward_funcs": [real_valued, has_even_digit]}
    make(config(tmp_path, **how), trainer=Spy, controller=Weighing(), **rewards).train()
    assert len(pairs) == 4
    for stock_advantages, ours in pairs:
        assert stock_advantages.any()
        torch.testing.assert_close(ours, 2.0 * stock_advantages, rtol=1e-4, atol=1e-5)


def test_a_posterior_baseline_goes_with_every_scale(tmp_path):
    """r - baseline, over the controller's deviation, over nothing, or over the deviation of the
    batch."""
    found = {}

    class Spy(GDROTrainer):
        def _weigh(self, output, batch, scored, answer, plan):
            super()._weigh(output, batch, scored, answer, plan)
            rewards, groups = scored.rewards, scored.groups
            feedback, scale = answer.feedback, self.args.scale_rewards
            centred = rewards - feedback.baselines[groups]
            spread = {
                "group": feedback.deviations[groups],
                "none": 1.0,
                "batch": rewards.std(ddof=1) + 1e-4,
            }
            found.setdefault(scale, []).append(
                (output["advantages"].numpy(), centred / spread[scale])
            )

    for scale in ("group", "none", "batch"):
        make(config(tmp_path, scale_rewards=scale), trainer=Spy).train()
    for scale in ("group", "none", "batch"):
        for ours, expected in found[scale]:
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_default_takes_rewards_of_any_size(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trained(
            config(tmp_path),
            reward_funcs=lambda completions, **_: [9.0 * len(c) for c in completions],
        )
    assert trainer.controller.name == DEFAULT_CONTROLLER
    assert "State reward_range=(lowest, highest)" in caplog.text
    stated = config(tmp_path, controller_options={"reward_range": [0.0, 1.0]})
    with pytest.raises(gdro.RewardError, match="outside reward_range"):
        trained(stated, reward_funcs=lambda completions, **_: [9.0 for _ in completions])


def test_one_prompt_a_batch_is_told(tmp_path, caplog):
    one = {"per_device_train_batch_size": 4, "num_generations": 4}
    with caplog.at_level(logging.WARNING):
        make(config(tmp_path, controller="prompt_gdro", **one))
    assert (
        "A generation batch holds 1 prompt (generation_batch_size 4 / num_generations 4)"
        in caplog.text
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        make(config(tmp_path, controller="uniform", **one))
        make(config(tmp_path, controller="prompt_gdro"))
    assert "generation batch holds" not in caplog.text


def test_one_token_prompts_whose_completions_are_all_cut_off(tmp_path):
    data = Dataset.from_list([{"prompt": c, "id": f"s/{c}"} for c in "abcdefgh"])
    cut = {"max_completion_length": 1, "mask_truncated_completions": True, "max_steps": 2}
    trainer = trained(config(tmp_path, **cut), train_dataset=data)
    assert trainer.update.shares_prefix
    assert np.isfinite(history(trainer)).all()


def test_a_models_own_generate_is_used(tmp_path):
    """In training and in evaluation, whatever the fast sampler could do."""
    calls = []
    model = tiny_model()

    class Own(type(model)):
        def generate(self, *arguments, **keywords):
            calls.append(len(calls))
            return super().generate(*arguments, **keywords)

    model.__class__ = Own
    trainer = trained(config(tmp_path, max_steps=1), model=model)
    assert len(calls) == 1
    assert trainer.why_not_fast() == "the model has a `generate` of its own"
    sample(model, [[2, 3]], 1, SamplingOptions(max_new_tokens=2, eos_ids=(1,), pad_id=0), seed=1)
    assert len(calls) == 2


@pytest.mark.parametrize("rounds", ["dynamic_sampling", "reinforce_ada"])
def test_what_a_reward_function_notes_of_a_row_stays_with_it(rounds, tmp_path):
    def noting(completions, id, log_extra, **_):
        log_extra("whose", [f"{i}|{c}" for i, c in zip(id, completions, strict=True)])
        return has_even_digit(completions)

    tables = {"log_completions": True, "num_completions_to_print": 0, "max_steps": 2}
    trained(config(tmp_path, controller="uniform", rounds=rounds, **tables), reward_funcs=noting)
    rows = pandas.concat(
        map(pandas.read_parquet, sorted((tmp_path / "completions").glob("*.parquet")))
    )
    assert len(rows) == 32
    assert (rows["whose"].str.split("|", n=1).str[1] == rows["completion"]).all()


def test_rounds_go_on_without_a_reward(tmp_path):
    def none_for_one(completions, **_):
        return [
            None if place == 3 else score for place, score in enumerate(has_even_digit(completions))
        ]

    for rounds in ("dynamic_sampling", "reinforce_ada"):
        trainer = trained(
            config(tmp_path, controller="uniform", rounds=rounds), reward_funcs=none_for_one
        )
        assert len(history(trainer)) == 4
    args = config(tmp_path, controller="uniform", rounds="dynamic_sampling")
    with pytest.raises(OptionError, match=r"does not go with tools, .* a streamed data set"):
        make(args, train_dataset=sums().to_iterable_dataset())


def test_an_error_in_a_reward_function_comes_first_with_its_place(tmp_path):
    def broken(completions, **_):
        return [1 / 0 for _ in completions]

    controller = Ragged()
    trainer = make(config(tmp_path), reward_funcs=broken, controller=controller)
    with pytest.raises(ZeroDivisionError) as caught:
        trainer.train()
    assert controller.outstanding == [], "the plan is forgotten"
    place = f"raised in {__file__}:{broken.__code__.co_firstlineno + 1}, in "
    assert [note for note in caught.value.__notes__ if note.startswith(place)]


def test_an_error_in_ones_own_controller_comes_first_with_its_place(tmp_path):
    class Own(Ragged):
        def observe(self, prompt_ids, rewards):
            super().observe(prompt_ids, rewards)  # the plan is answered: none is left to cancel
            raise KeyError("my own mistake")

        def cancel(self, plan):
            raise PlanError("no such plan is outstanding")

    with pytest.raises(KeyError, match="my own mistake") as caught:
        trained(config(tmp_path), controller=Own())
    line = Own.observe.__code__.co_firstlineno + 2
    assert caught.value.__notes__ == [f"raised in {__file__}:{line}, in observe"]


def test_an_objective_takes_the_place_of_trls_loss(tmp_path):
    """GRPO's own loss through it: the losses and weights of TRL's `grpo`."""
    seen = []

    class GRPO:
        zero_advantage_is_dead = True

        def __call__(self, terms):
            seen.append(terms)
            ratio = torch.exp(terms.logps - terms.old_logps)
            clipped = ratio.clamp(0.8, 1.2)
            per_token = -torch.min(
                ratio * terms.advantages[:, None], clipped * terms.advantages[:, None]
            )
            tokens = terms.mask.sum(1).clamp(min=1)
            return ((per_token * terms.mask).sum(1) / tokens).mean() / terms.window

    changes = {
        "loss_type": "grpo",
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 8,
    }
    changes |= {"drop_dead_rows": False, "max_steps": 3}
    ours = trained(config(tmp_path, **changes), controller=Ragged(), objective=GRPO())
    theirs = trained(config(tmp_path, **changes), controller=Ragged())
    np.testing.assert_allclose(history(ours), history(theirs), rtol=1e-5, atol=1e-7)
    assert len(seen) == 6
    for terms in seen:
        assert terms.logps.shape == terms.mask.shape
        assert len(terms.rewards) == len(terms.groups) == len(terms.unweighted) == 8
        assert terms.window == 2
    assert {int(group) for terms in seen[:2] for group in terms.groups} == {0, 1, 2, 3}


def test_the_canary_runs_on_trls_own_config(tmp_path):
    """`stock_config` says what the canary of test_trl_trainer says."""
    assert history(stock(tmp_path)) == history(trained(stock_config(tmp_path), trainer=GRPOTrainer))
