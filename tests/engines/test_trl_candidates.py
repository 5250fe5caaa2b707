"""Selecting controllers in the TRL engine: what is offered, what is trained on, and that a resume
offers the same."""

from __future__ import annotations

import pytest
import torch
from trl_bench import Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

import gdro
from gdro.core.errors import OptionError, PlanError
from gdro.engines.candidates import CandidatePool
from gdro.engines.trl import GDROTrainer


class Picky(Ragged):
    """Selects the candidates whose ids sort last, and keeps what it was offered."""

    selects = True
    pool_factor = 4

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.offered = []

    def select(self, candidate_ids, m):
        self.offered.append(list(candidate_ids))
        return sorted(candidate_ids, reverse=True)[:m]


def make(folder, controller, count=24, **changes):
    return GDROTrainer(
        model=tiny_model(),
        reward_funcs=has_even_digit,
        args=config(folder, **changes),
        train_dataset=sums(count),
        processing_class=character_tokenizer(),
        controller=controller,
    )


def test_trains_on_what_was_selected(tmp_path):
    controller = Picky()
    trainer = make(tmp_path, controller, candidates=3)
    seen = []
    original = trainer._calculate_rewards

    def keep(inputs, prompts, completions, lists):
        seen.append([row["prompt"] for row in inputs])
        return original(inputs, prompts, completions, lists)

    trainer._calculate_rewards = keep
    trainer.train()
    prompt_of = dict(zip(sums()["id"], sums()["prompt"], strict=True))
    assert len(controller.offered) == len(controller.log) == 4
    for offered, (ids, rewards), prompts in zip(
        controller.offered, controller.log, seen, strict=True
    ):
        assert len(offered) == len(set(offered)) == 12
        assert list(ids) == sorted(offered, reverse=True)[:4]
        assert sum(map(len, rewards)) == 16
        expected = [prompt_of[i] for i, group in zip(ids, rewards, strict=True) for _ in group]
        assert prompts == expected
    assert len({tuple(offered) for offered in controller.offered}) == 4


def test_offers_are_a_function_of_seed_and_number():
    pool = CandidatePool(Picky(), sums()["id"], 3, seed=1)
    drawn = ("sum/3", "sum/0")
    offered = pool.offer(drawn, 7)
    again = CandidatePool(Picky(), sums()["id"], 3, seed=1).offer(drawn, 7)
    other = CandidatePool(Picky(), sums()["id"], 3, seed=2).offer(drawn, 7)
    assert list(offered) == list(again)
    assert offered[:2] == list(drawn)
    assert offered[2] == list(offered)[2]
    assert len(set(offered)) == len(offered) == 6
    assert list(offered) != list(pool.offer(drawn, 8))
    assert list(offered) != list(other)


def test_a_small_set_is_offered_whole():
    pool = CandidatePool(Picky(), sums(5)["id"], 100, seed=0)
    assert sorted(pool.offer(("sum/4", "sum/2"), 0)) == sorted(sums(5)["id"])


@pytest.mark.parametrize("name", ["mopps", "greso", "adarft"])
def test_resume_is_bit_for_bit(name, tmp_path):
    """In the second epoch, with the candidates that the whole run was offered."""

    def controller():
        return gdro.make_controller(name, mean_rollouts=4, seed=1)

    saving = {"save_strategy": "steps", "save_steps": 1, "max_steps": 9}
    first, second = controller(), controller()
    whole = make(tmp_path / "whole", first, **saving)
    whole.train()
    part = make(tmp_path / "part", second, **(saving | {"save_steps": 99}))
    part.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-7"))
    assert whole.session.pool.factor == first.pool_factor == 4
    assert gdro.state_hash(first.state_dict()) == gdro.state_hash(second.state_dict())
    for mine, theirs in zip(part.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("controller", "candidates", "message"),
    [
        (Ragged(), 2, "does not select"),
        (Picky(), 1, "no choice"),
    ],
)
def test_options_that_do_not_go_together(controller, candidates, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        make(tmp_path, controller, candidates=candidates)


@pytest.mark.parametrize(
    "answer",
    [
        lambda ids, m: ids[: m - 1],
        lambda ids, m: [ids[0]] * m,
        lambda ids, m: [*ids[: m - 1], "sum/none"],
    ],
)
def test_a_wrong_selection_is_an_error(answer, tmp_path):
    controller = Picky()
    controller.select = answer
    with pytest.raises(PlanError, match="select must answer 4 distinct ones of the 16 candidates"):
        make(tmp_path, controller).train()


def reads(folder, **changes):
    changes = {"controller_options": {"bins": 3}, "candidates": 2} | changes
    return make(folder, None, save_strategy="steps", save_steps=2, **changes)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_texts_are_told_when_they_are_offered_and_again_after_a_resume(tmp_path, power):
    options = {"bins": 3, "token_power": power}
    whole = reads(tmp_path / "whole", max_steps=4, controller_options=options)
    whole.train()
    assert 8 < len(whole.controller.facts.texts) <= 24
    assert whole.controller.parts.estimator.posterior.weights.any()
    again = reads(tmp_path / "whole", max_steps=4, controller_options=options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert gdro.state_hash(again.controller.state_dict()) == gdro.state_hash(
        whole.controller.state_dict()
    )


def test_the_tokens_of_each_prompts_completions_are_told(tmp_path, monkeypatch):
    """Of truncated ones too, which `mask_truncated_completions` takes out of the loss."""
    made: dict[str, list[int]] = {}

    def graded(completions, completion_ids, id, **_):
        for prompt, ids in zip(id, completion_ids, strict=True):
            made.setdefault(prompt, []).append(len(ids))
        return has_even_digit(completions)

    trainer = GDROTrainer(
        model=tiny_model(),
        reward_funcs=graded,
        args=config(
            tmp_path,
            max_steps=2,
            controller_options={"token_power": 1.0},
            mask_truncated_completions=True,
        ),
        train_dataset=sums(),
        processing_class=character_tokenizer(),
    )
    told: list[dict[str, float]] = []
    learn = trainer.controller.observe_tokens

    def observe_tokens(prompt_ids, tokens):
        told.append(dict(zip(prompt_ids, tokens.tolist(), strict=True)))
        learn(prompt_ids, tokens)
        means = {prompt: sum(lengths) / len(lengths) for prompt, lengths in made.items()}
        assert told[-1] == pytest.approx(means)
        made.clear()

    monkeypatch.setattr(trainer.controller, "observe_tokens", observe_tokens)
    trainer.train()
    assert len(told) == 2
    assert len(set(told[0].values())) > 1
    assert trainer.controller.metrics()["tokens_error"] >= 0.0
    assert not trainer.controller.parts.selector.tokens.empty


def test_the_texts_of_a_stream_are_told_as_they_come(tmp_path):
    trainer = GDROTrainer(
        model=tiny_model(),
        reward_funcs=has_even_digit,
        args=config(tmp_path, max_steps=2),
        train_dataset=sums().to_iterable_dataset(),
        processing_class=character_tokenizer(),
    )
    trainer.train()
    assert trainer.controller.reads_texts
    assert len(trainer.controller.facts.texts) == trainer.controller.metrics()["seen_prompts"] + 4
    assert trainer.controller.parts.estimator.posterior.weights.any()
