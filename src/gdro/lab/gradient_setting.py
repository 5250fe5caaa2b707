"""What gradients are measured on: a model, training prompts, the run's sampler and the run's verifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gdro.core.types import Floats, Ints
from gdro.data.prompts import Prompt
from gdro.engines.trl.evaluation import sample
from gdro.engines.trl.generation import SamplingOptions
from gdro.runs.config import TrainConfig, load_config
from gdro.runs.errors import RunError
from gdro.runs.folder import RunFolder
from gdro.runs.policy import Policy
from gdro.runs.progress import Progress
from gdro.runs.train import prepare
from gdro.verify import Verifier

Tokens = list[list[int]]


@dataclass(frozen=True)
class Groups:
    """Rollouts of M prompts.

    Attributes:
        tokens: for each prompt its completions as token ids.
        rewards: for each prompt the (n_i,) rewards of these completions.
    """

    tokens: list[Tokens]
    rewards: list[Floats]


@dataclass(frozen=True)
class Setting:
    """A model with M prompts to draw rollouts of.

    Attributes:
        encoded: (M,) the prompts as token ids.
    """

    config: TrainConfig
    policy: Policy
    verifier: Verifier
    prompts: Sequence[Prompt]
    encoded: list[list[int]]

    @property
    def ids(self) -> tuple[str, ...]:
        """(M,) prompt ids."""
        return tuple(prompt.id for prompt in self.prompts)

    def part(self, start: int, end: int) -> Setting:
        """The same with prompts `start` to `end` only."""
        chosen = slice(start, end)
        return Setting(self.config, self.policy, self.verifier, self.prompts[chosen], self.encoded[chosen])

    def draw(self, counts: int | Ints, seed: int) -> Groups:
        """Sample and score rollouts, as training does; the same for the same seed.

        Args:
            counts: (M,) rollouts of each prompt, or one number for all.
        """
        generation, tokenizer = self.config.generation, self.policy.tokenizer
        ends = self.policy.model.generation_config.eos_token_id
        options = SamplingOptions(
            generation.max_completion_tokens,
            tuple({tokenizer.eos_token_id, *([] if ends is None else np.atleast_1d(ends).tolist())}),
            tokenizer.pad_token_id,
            generation.temperature,
            generation.top_k,
            generation.top_p,
        )
        wanted = [int(count) for count in np.broadcast_to(counts, len(self.encoded))]
        tokens = sample(self.policy.model, self.encoded, wanted, options, seed=seed)
        texts = [tokenizer.decode(row, skip_special_tokens=True) for rows in tokens for row in rows]
        asked = [prompt for prompt, count in zip(self.prompts, wanted, strict=True) for _ in range(count)]
        rewards = np.array(self.verifier.score(asked, texts), np.float64)
        if not self.config.verifier.partial_credit:
            rewards = (rewards >= self.config.correct_threshold).astype(np.float64)
        return Groups(tokens, np.split(rewards, np.cumsum(wanted)[:-1]))


@contextmanager
def open_setting(model: str, recipe: str | None, overrides: Sequence[str], count: int, seed: int) -> Iterator[Setting]:
    """`count` training prompts drawn without replacement by `seed`, and a model to answer them.

    Args:
        model: a Hugging Face folder or name, `tiny`, or the folder of a finished run (its model with its settings).
        recipe: settings whose data, verifier and generation are used; a run's own when None.

    Raises:
        RunError: no such model, a run without a trained one, or fewer training prompts than `count`.
    """
    run = RunFolder(Path(model))
    if run.config.is_file():
        if not run.model.is_dir():
            raise RunError(f"{model} is a run without a trained model yet; finish it with: gdro train --resume {model}")
        config = load_config(recipe or run.config, [*overrides, f"model={run.model}"])
    else:
        config = load_config(recipe, [*overrides, f"model={model}"])
    found, policy, verifier = prepare(config, Progress(0, live=False))
    with closing(verifier):
        if not 1 <= count <= len(found.train):
            raise RunError(f"{count} prompts asked for, there are {len(found.train)} training prompts; ask for fewer")
        chosen = np.random.default_rng((seed, count)).permutation(len(found.train))[:count]
        prompts = [found.train[place] for place in chosen.tolist()]
        yield Setting(config, policy, verifier, prompts, [policy.encode(prompt) for prompt in prompts])
