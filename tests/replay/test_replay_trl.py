"""The recorded stream through TRL's trainer with a real (tiny) model, against the bare core: bit
for bit the same.

Nothing of the trainer is replaced: its own sampler draws the batches, its own generation makes as
many completions as the plan says. The reward function gives the recorded rewards, and the recorded
losses take the place of the model's where the trainer writes losses into its ledger.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replay_stream import (
    BATCH,
    FACTOR,
    MEAN_ROLLOUTS,
    PROMPTS,
    SEED,
    TEXTS,
    Replay,
    bare_core,
    expected,
    load_stream,
    name_of,
)
from replay_stream import make as make_controller

pytest.importorskip(
    "trl", reason="TRL and verl cannot share an environment; `make test` runs the TRL side"
)
sys.path.append(str(Path(__file__).parents[1] / "engines"))

from datasets import Dataset
from trl_bench import character_tokenizer, config, tiny_model

import gdro
from gdro.engines.trl import GDROTrainer
from gdro.engines.trl.losses import LossLedger


class Playback:
    """What the trainer is given instead of a world, and what it made of it.

    Attributes:
        out: rollouts that reached the reward function, weights that the controller gave, the final
            state.
        answers: the rewards of each step.
        advantages: of each step, in the order of the rows that the trainer trains on.
    """

    def __init__(self, name: str) -> None:
        self.steps = load_stream()
        self.out = Replay()
        self.answers: list[list[list[float]]] = []
        self.advantages: list[np.ndarray] = []
        self.controller = make_controller(name)
        observe = self.controller.observe

        def keep_weights(ids: Any, rewards: Any) -> gdro.Feedback:
            feedback = observe(ids, rewards)
            self.out.weights.append(feedback.weights.tolist())
            return feedback

        self.controller.observe = keep_weights

    def rewards(self, completions: list[str], id: list[str], **_: Any) -> list[float]:
        """The reward function: the n-th completion of a prompt gets the n-th recorded reward of
        this step."""
        number = len(self.out.rollouts)
        step, met = self.steps[number], list(dict.fromkeys(id))
        if self.controller.selects:
            self.out.chosen.append(met)
        else:
            assert met == step.prompt_ids, "the trainer met other prompts than were recorded"
        self.out.rollouts.append([id.count(prompt) for prompt in met])
        assert len(completions) == sum(self.out.rollouts[-1])
        self.answers.append(step.rewards_of(met, self.out.rollouts[-1], number))
        return [reward for row in self.answers[-1] for reward in row]

    def losses(self, groups: Any) -> Any:
        """The recorded loss of each row's prompt."""
        return groups.new_tensor(self.steps[len(self.out.rollouts) - 1].losses, dtype=float)[groups]


def through_trainer(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, weighting: str = "row"
) -> Playback:
    """The whole stream, one optimizer step for each recorded step."""
    play = Playback(name)
    add = LossLedger.add
    monkeypatch.setattr(
        LossLedger, "add", lambda self, groups, losses: add(self, groups, play.losses(groups))
    )

    class Listening(GDROTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            play.advantages.append(output["advantages"].numpy().copy())
            return output

    Listening(
        model=tiny_model(),
        reward_funcs=play.rewards,
        args=config(
            folder,
            per_device_train_batch_size=BATCH * MEAN_ROLLOUTS,
            num_generations=MEAN_ROLLOUTS,
            max_completion_length=2,
            max_steps=len(play.steps),
            candidates=FACTOR if play.controller.selects else None,
            seed=SEED,
            weighting=weighting,
            # a dropped row's loss is 0, whatever was recorded
            drop_dead_rows=not play.controller.needs_losses,
        ),
        train_dataset=Dataset.from_dict(
            {"prompt": TEXTS, "id": [name_of(place) for place in range(PROMPTS)]}
        ),
        processing_class=character_tokenizer(),
        controller=play.controller,
    ).train()
    play.out.state = gdro.state_hash(play.controller.state_dict())
    return play


KINDS = {
    "uniform": "row",
    "prompt_gdro": "row",
    "joint": "row",
    "paper": "prompt",
    "posterior_gdro": "row",
}
"""Nothing, weights, rollouts as well, surrogate losses, baselines of its own; one that selects has
baselines too."""


@pytest.mark.parametrize(
    ("name", "weighting"),
    [*KINDS.items(), ("joint", "prompt"), ("live_gdro", "prompt"), ("text_gdro", "prompt")],
)
def test_the_trainer_decides_as_the_core(
    name: str, weighting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, play = (
        bare_core(name, load_stream()),
        through_trainer(name, tmp_path, monkeypatch, weighting),
    )
    assert play.out.chosen == core.chosen
    assert play.out.rollouts == core.rollouts
    assert play.out.weights == core.weights
    assert core.digest() == expected(name)
    assert play.out.state == core.state
    for place, (answers, found) in enumerate(zip(play.answers, play.advantages, strict=True)):
        rollouts, weights = core.rollouts[place], core.weights[place]
        groups = gdro.group_advantages(answers, ddof=1)
        if core.advantages:
            groups = np.split(np.array(core.advantages[place]), np.cumsum(rollouts)[:-1])
        scale = [MEAN_ROLLOUTS / n if weighting == "prompt" else 1.0 for n in rollouts]
        rows = [
            weight * by * group for weight, by, group in zip(weights, scale, groups, strict=True)
        ]
        np.testing.assert_array_max_ulp(found, np.concatenate(rows).astype(np.float32), maxulp=1)
