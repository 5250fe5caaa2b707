"""Dynamic sampling and Reinforce-Ada in the TRL engine: who is trained on, what is counted, and
exact resume."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from trl_bench import Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

import gdro
from gdro.core.errors import OptionError, PlanError, StateError
from gdro.engines.compat import Rounds
from gdro.engines.trl import GDROTrainer
from gdro.engines.trl.rounds import CGRPO, METHODS, dynamic_sampling, hora, reinforce_ada


class World:
    """Prompts with fixed success rates; keeps what was asked."""

    def __init__(self, rates: dict[str, float]) -> None:
        self.rates, self.asked, self.rng = rates, [], np.random.default_rng(0)

    def ask(self, ids, n):
        self.asked.append((list(ids), n))
        return [(self.rng.random(n) < self.rates[i]).astype(float) for i in ids]


def test_dynamic_sampling_replaces_groups_that_agree():
    world = World({"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.0, "e": 0.5, "f": 0.5, "g": 0.5})
    kept = dynamic_sampling(["a", "b", "c"], ["d", "e", "f", "g"], world.ask, 16)
    assert [ids for ids, _ in world.asked] == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert kept.ids == ("c", "e", "f")
    assert kept.baselines is None


def test_dynamic_sampling_fills_up_with_dead_groups_when_the_data_run_out():
    world = World({"a": 0.0, "b": 0.5, "c": 0.0, "d": 1.0})
    kept = dynamic_sampling(["a", "b", "c"], ["d"], world.ask, 16)
    assert kept.ids == ("b", "d", "c")


def test_reinforce_ada_keeps_both_kinds_and_compares_with_all():
    world = World({"easy": 0.9, "hard": 0.0})
    kept = reinforce_ada(["easy", "hard"], [], world.ask, 4)
    assert world.asked[0] == (["easy", "hard"], 8)
    assert [ids for ids, _ in world.asked].count(["hard"]) + [ids for ids, _ in world.asked].count(
        ["easy", "hard"]
    ) == 4
    assert [len(places) for places in kept.places] == [4, 4]
    assert 0.5 < kept.baselines[0] < 1.0
    assert kept.baselines[1] == 0.0
    assert kept.deviations.min() > 0.0


def test_hora_gives_the_rest_of_the_budget_where_hits_are_expected():
    world = World({"solved": 1.0, "half": 0.5, "hopeless": 0.0, "rare": 0.0})
    kept = hora(["solved", "half", "hopeless", "rare"], [], world.ask, 8)
    assert world.asked[0] == (["solved", "half", "hopeless", "rare"], 4)
    counts = dict(zip(kept.ids, kept.counts.tolist(), strict=True))
    assert sum(counts.values()) == 32 == sum(len(ids) * n for ids, n in world.asked)
    assert counts["solved"] == min(counts.values()) >= 4
    assert counts["hopeless"] >= 6
    assert abs(counts["hopeless"] - counts["rare"]) <= 1
    assert kept.uneven
    again = hora(list(kept.ids)[::-1], [], World(world.rates).ask, 8)
    assert dict(zip(again.ids, again.counts.tolist(), strict=True))["solved"] == counts["solved"]


def test_hora_trains_on_every_rollout_and_spends_what_one_round_does(tmp_path):
    trainer = make(tmp_path, "hora", num_generations=8, reward=by_prompt)
    heard, shares = Listening(trainer), []
    share_out = trainer.session.share_out

    def listening(rollouts):
        shares.append(rollouts)
        return share_out(rollouts)

    trainer.session.share_out = listening
    trainer.train()
    assert trainer.place.rollouts_total == sum(heard.generated) == 4 * 16
    assert shares
    for counts in shares:
        assert counts.sum() == 16
        assert counts.min() >= 4


def by_prompt(completions, prompts, **_):
    """1 for every completion of some prompts, of the others as `has_even_digit`."""
    sure = ["1" in str(prompt) or "4" in str(prompt) for prompt in prompts]
    return [max(s, r) for s, r in zip(map(float, sure), has_even_digit(completions), strict=True)]


def make(folder, rounds, controller=None, count=48, reward=has_even_digit, **changes):
    named = {"controller": "uniform"} if controller is None else {}
    return GDROTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=config(folder, **({"rounds": rounds} | named | changes)),
        train_dataset=sums(count),
        processing_class=character_tokenizer(),
        controller=controller,
    )


def telling(completions, log_extra, **_):
    """As `has_even_digit`, and the first character is the answer."""
    log_extra("answer", [c[:1] or None for c in completions])
    return has_even_digit(completions)


class Answering(World):
    """Prompts whose answers are "yes" (right) at their rate, else one that nobody gave before."""

    def __init__(self, rates):
        super().__init__(rates)
        self.told = {prompt: [] for prompt in rates}

    def __call__(self, ids, n):
        rewards = self.ask(ids, n)
        for prompt, values in zip(ids, rewards, strict=True):
            said = self.told[prompt]
            said += ["yes" if r else f"no {len(said) + k}" for k, r in enumerate(values)]
        return rewards

    def answers(self, prompt):
        return self.told[prompt]


def test_c_grpo_samples_on_where_answers_differ_within_the_budget():
    others = {f"other{i}": rate for i, rate in enumerate(np.linspace(0.05, 1.0, 60))}
    world, rounds = (
        Answering({"sure": 1.0, "unsure": 0.3, "half": 0.5, "lost": 0.0} | others),
        CGRPO(),
    )
    ids = ["sure", "unsure", "half", "lost"]
    kept = rounds(ids, list(others), world, 8)
    calibration = [(asked, n) for asked, n in world.asked if asked[0].startswith("other")]
    assert sum(len(asked) * n for asked, n in calibration) == 32 * 32
    assert max(len(asked) * n for asked, n in calibration) <= 4 * 8
    assert kept.notes["calibration_rollouts"] == 32 * 32
    assert {prompt for asked, _ in calibration for prompt in asked} == set(list(others)[:32])
    counts = dict(zip(kept.ids, kept.counts.tolist(), strict=True))
    assert sum(counts.values()) == 32
    assert counts == {prompt: len(world.told[prompt]) for prompt in ids}
    assert counts["sure"] == min(counts.values()) < max(counts.values()) == counts["lost"]
    before = dict(rounds.thresholds)
    for _ in range(49):
        world.told = {prompt: [] for prompt in world.told}
        assert rounds(ids, list(others), world, 8).notes["calibration_rollouts"] == 0
    assert rounds.thresholds == before
    world.told = {prompt: [] for prompt in world.told}
    assert rounds(ids, list(others), world, 8).notes["calibration_rollouts"] == 32 * 32
    again = CGRPO()
    again.load(rounds.state())
    assert (again.thresholds, again.delta, again.steps) == (rounds.thresholds, rounds.delta, 51)


def test_c_grpo_fills_a_step_up_when_every_prompt_has_stopped():
    rates = {f"p{i}": 1.0 for i in range(40)}
    kept = CGRPO()(list(rates)[:4], list(rates)[4:], Answering(rates), 8)
    assert kept.counts.tolist() == [8] * 4
    assert kept.notes["stopped_share"] == 1.0
    assert kept.notes["filled_up"] == 4 * 6


def test_c_grpo_counts_its_calibrations_and_trains_on_a_step_of_the_budget(tmp_path):
    trainer = make(tmp_path, "c_grpo", reward=telling)
    heard = Listening(trainer)
    trainer.train()
    assert trainer.place.rollouts_total == sum(heard.generated) == 4 * 16 + 32 * 16
    assert [output["completion_ids"].shape[0] for output, _ in heard.outputs] == [16] * 4


def test_c_grpo_needs_answers_and_further_prompts(tmp_path):
    with pytest.raises(OptionError, match=r"must call log_extra\('answer'"):
        make(tmp_path, "c_grpo").train()
    with pytest.raises(OptionError, match="takes its thresholds from 32 prompts beside a batch"):
        make(tmp_path, "c_grpo", count=30, reward=telling)
    trainer = make(tmp_path, "c_grpo", reward=telling)
    with pytest.raises(StateError, match="whose rounds were not c_grpo"):
        trainer.rounds.load("")  # of a checkpoint that other rounds wrote


class Listening:
    """Keeps what the trainer generates, scores and trains on."""

    def __init__(self, trainer: GDROTrainer) -> None:
        self.generated, self.outputs = [], []
        single, score = trainer._generate_single_turn, trainer._generate_and_score_completions

        def keep_generated(prompt_ids, *arguments, **named):
            self.generated.append(len(prompt_ids))
            return single(prompt_ids, *arguments, **named)

        def keep_output(inputs):
            output = score(inputs)
            self.outputs.append((output, list(trainer._logs["completion"])[-16:]))
            return output

        trainer._generate_single_turn = keep_generated
        trainer._generate_and_score_completions = keep_output


@pytest.mark.parametrize("rounds", ["dynamic_sampling", "reinforce_ada"])
def test_all_rollouts_are_counted_and_only_the_kept_are_trained_on(rounds, tmp_path):
    trainer = make(tmp_path, rounds)
    heard = Listening(trainer)
    trainer.train()
    assert trainer.place.rollouts_total == sum(heard.generated) > 4 * 16
    assert len(heard.outputs) == 4
    for output, completions in heard.outputs:
        assert output["completion_ids"].shape[0] == 16
        rewards = has_even_digit(completions)
        advantages = output["advantages"].numpy()
        if rounds == "dynamic_sampling":
            expected = np.concatenate(
                gdro.group_advantages(np.reshape(rewards, (4, 4)).tolist(), ddof=1)
            )
            np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=1e-6)
            assert (advantages != 0).mean() >= 0.75
        else:
            right = np.array(rewards) > 0.5
            assert (advantages[right] >= 0).all()
            assert (advantages[~right] <= 0).all()


@pytest.mark.parametrize("rounds", ["dynamic_sampling", "reinforce_ada", "hora", "c_grpo"])
@pytest.mark.parametrize(
    "budget", [{}, {"max_steps": 40, "rounds_within_budget": True}], ids=["steps", "rollouts"]
)
def test_resume_is_bit_for_bit(rounds, budget, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1, "max_steps": 6} | budget
    if rounds == "hora":  # whose groups are equal where first rounds are alike
        saving |= {"num_generations": 8, "reward": by_prompt}
    if rounds == "c_grpo":
        saving |= {"reward": telling}
    whole = make(tmp_path / "whole", rounds, **saving)
    whole.train()
    part = make(tmp_path / "part", rounds, **(saving | {"save_steps": 99}))
    part.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert part.state.global_step == whole.state.global_step > 4
    assert part.place.rollouts_total == whole.place.rollouts_total
    for mine, theirs in zip(part.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("rounds", ["dynamic_sampling", "reinforce_ada"])
def test_a_run_within_its_budget_ends_when_its_rollouts_are_spent(rounds, tmp_path):
    """The learning rate is that of a run of one round a step which has spent as much, and falls to
    its end."""
    events, most = [], 16
    within = {
        "max_steps": most,
        "rounds_within_budget": True,
        "lr_scheduler_type": "linear",
        "learning_rate": 1.0,
    }
    trainer = make(
        tmp_path, rounds, save_strategy="steps", save_steps=99, logging_steps=1, **within
    )
    trainer.on_step = events.append
    trainer.train()
    spent = [0, *(event["rollouts_total"] for event in events)]
    assert spent[-2] < most * 16 <= spent[-1]
    assert len(events) == trainer.state.global_step < most
    assert trainer.steps_spent == spent[-1] // 16
    for event, before in zip(events, spent, strict=False):
        assert event["learning_rate"] == pytest.approx(1.0 - (before // 16) / most)
    assert trainer._get_learning_rate() == 0.0
    assert (tmp_path / f"checkpoint-{len(events)}").is_dir()


def test_a_budget_that_cannot_be_followed_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="rounds_within_budget=True: needs rounds"):
        make(tmp_path, None, rounds_within_budget=True)
    with pytest.raises(OptionError, match="num_iterations=2: must be 1 with rounds_within"):
        make(tmp_path, "dynamic_sampling", rounds_within_budget=True, num_iterations=2)
    plateau = make(tmp_path, "dynamic_sampling", rounds_within_budget=True)
    plateau.args.lr_scheduler_type = "reduce_lr_on_plateau"
    with pytest.raises(OptionError, match="cannot follow the rollouts spent"):
        plateau.create_optimizer_and_scheduler(4)


def test_the_names_are_those_of_the_methods():
    assert sorted(get_args(Rounds)) == sorted([*METHODS, "c_grpo"])


def test_options_that_do_not_go_together(tmp_path):
    with pytest.raises(
        OptionError, match="choose one of dynamic_sampling, reinforce_ada, hora, c_grpo"
    ):
        make(tmp_path, "twice")
    with pytest.raises(OptionError, match="takes the place of a controller's choice"):
        make(tmp_path, "dynamic_sampling", controller=gdro.make_controller("mopps"))
    with pytest.raises(OptionError, match="takes the place of a controller's choice"):
        make(tmp_path, "dynamic_sampling", controller=gdro.make_controller("joint"))
    with pytest.raises(OptionError, match="'dr_grpo': rounds reinforce_ada has a mean"):
        make(tmp_path, "reinforce_ada", scale_rewards="none")


def test_unequal_plans_are_an_error(tmp_path):
    """One's own controller, which says that it plans equally."""
    controller = Ragged()
    controller.plans_equally = True
    with pytest.raises(PlanError, match="rounds have generated equal groups"):
        make(tmp_path, "dynamic_sampling", controller=controller, max_steps=20).train()
