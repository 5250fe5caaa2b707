"""slime's data source and reward post-process with a gdro controller between them.

slime's rollout function wants lists of exactly `n_samples_per_prompt` samples. The total of a plan
is a multiple of that, so the planned samples, prompt by prompt, are handed out in lists of that
length; `Sample.group_index` says which prompt a sample belongs to, and the post-process takes
groups from there. Nothing of slime is copied or patched.
"""

from __future__ import annotations

import copy
import logging
import math
from argparse import Namespace
from pathlib import Path

from slime.rollout.data_source import RolloutDataSource  # type: ignore[import-not-found, unused-ignore]
from slime.utils.types import Sample  # type: ignore[import-not-found, unused-ignore]

from gdro.core.errors import OptionError, PromptIdError
from gdro.core.state import state_hash
from gdro.engines.candidates import candidate_pool
from gdro.engines.idle import check_enough
from gdro.engines.session import ControllerSession
from gdro.engines.slime.bridge import SlimeBridge
from gdro.engines.slime.settings import advantage_of, read_setup
from gdro.engines.states import load_session, save_session
from gdro.io import to_json

logger = logging.getLogger("slime.gdro")

_SOURCES: dict[int, GDRODataSource] = {}
"""The data source of each `args` object; slime's rollout manager makes one and hands the same
`args` to the hook."""


class GDRODataSource(RolloutDataSource):  # type: ignore[misc, unused-ignore]
    """slime's data source; the controller decides how many samples each prompt of a batch gets, and
    may choose them.

    For `--data-source-path`; wants `post_process_rewards` in `--custom-reward-post-process-path`.

    Raises:
        OptionError: a `gdro` key or a slime argument that does not go with it.
        PromptIdError: a row without an id, or two rows with the same.
    """

    sample_index: int

    def __init__(self, args: Namespace) -> None:
        self.setup = read_setup(args)
        section = self.setup.section
        self.session: ControllerSession[Sample] = ControllerSession(
            self.setup.controller,
            section.weighting,
            prompt_of=lambda sample: sample.prompt,
            range_stated=section.range_stated,
        )
        self.bridge = SlimeBridge(self.session, advantage_of(args))
        super().__init__(args)
        batch = args.rollout_batch_size
        check_enough(len(self), batch, f"--rollout-batch-size {batch}")
        ids, rows = self._read_ids(), self.dataset.origin_samples
        self.session.pool = candidate_pool(
            self.setup.controller,
            lambda: ids,
            section.candidates,
            args.rollout_seed,
            lambda places: [rows[place] for place in places],
            lambda places: [rows[place].prompt for place in places],
        )
        _SOURCES[id(args)] = self
        logger.info(
            "gdro: controller %s, weighting %s", self.setup.controller.name, section.weighting
        )

    def get_samples(self, num_samples: int) -> list[list[Sample]]:
        """The next `num_samples` prompts, in `num_samples` lists of `n_samples_per_prompt` samples.

        A list may hold samples of several prompts; `group_index` tells them apart. A prompt that
        comes again across the end of an epoch is drawn once, and the next one takes its place. A
        controller that selects chooses among these prompts and further ones of the data set.
        """
        first, size = self.sample_index, self.args.n_samples_per_prompt
        drawn: dict[str, Sample] = {}
        while len(drawn) < num_samples:
            for group in super().get_samples(num_samples - len(drawn)):
                drawn.setdefault(self._prompt_id(group[0]), group[0])
        groups = [sample.group_index for sample in drawn.values()]
        prompts = self.session.choose(drawn, first // (num_samples * size))
        rollouts = self.bridge.plan(list(prompts), groups)
        flat: list[Sample] = []
        for prompt, group_index, count in zip(
            prompts.values(), groups, rollouts.tolist(), strict=True
        ):
            for _ in range(count):
                sample = copy.deepcopy(prompt)
                sample.group_index, sample.index = group_index, first + len(flat)
                flat.append(sample)
        self.sample_index = first + len(flat)
        return [flat[start : start + size] for start in range(0, len(flat), size)]

    def post_process(self, samples: list[Sample]) -> tuple[list[float], list[float]]:
        """See `post_process_rewards`."""
        rewards_R = [sample.get_reward_value(self.args) for sample in samples]
        groups_R = [sample.group_index for sample in samples]
        pays = self.setup.controller.needs_tokens
        tokens_R = [sample.response_length for sample in samples] if pays else None
        advantages_R = self.bridge.observe(groups_R, rewards_R, tokens_R)
        logger.info("gdro: %s", to_json(self.session.metrics()))
        raw = [math.nan if reward is None else reward for reward in rewards_R]
        return raw, advantages_R.tolist()

    def save(self, rollout_id: int) -> None:
        """Write slime's own state of the data source, and the controller's beside it."""
        super().save(rollout_id)
        path = _state_file(self.args.save, rollout_id)
        save_session(path, self.session, {"engine": "gdro's data source for slime"}, {})
        digest = state_hash(self.session.state_dict())[:16]
        logger.info("gdro: saved state %s of rollout %d", digest, rollout_id)

    def load(self, rollout_id: int | None = None) -> None:
        """Restore both; -1 or None is a run that starts from its first rollout.

        Raises:
            StateError: the checkpoint has no state of a controller (and `gdro.fresh` is off), or
                another one's.
        """
        super().load(rollout_id)
        if self.args.load is None or rollout_id is None or rollout_id < 0:
            return
        path = _state_file(self.args.load, rollout_id)
        if path.exists() or not self.setup.section.fresh:
            load_session(path, self.session, fresh="gdro.fresh: true")

    def _read_ids(self) -> list[str]:
        """(N,) id of each row of the prompt data, in its order."""
        first: dict[str, int] = {}
        for row, sample in enumerate(self.dataset.origin_samples):
            prompt_id = self._prompt_id(sample, f"row {row} of {self.args.prompt_data}")
            if prompt_id in first:
                raise PromptIdError(
                    f"rows {first[prompt_id]} and {row} of {self.args.prompt_data} are both prompt"
                    f" {prompt_id!r}; give each row its own"
                    f" {self.args.metadata_key}.{self.setup.id_key}"
                )
            first[prompt_id] = row
        return list(first)

    def _prompt_id(self, sample: Sample, where: str = "a sample") -> str:
        found = sample.metadata.get(self.setup.id_key)
        if isinstance(found, bool) or not isinstance(found, (str, int)) or found == "":
            raise PromptIdError(
                f"{where} has {self.args.metadata_key}.{self.setup.id_key}={found!r}; write a name"
                ' or a whole number there, unique among all rows: {"metadata": {"id":'
                ' "gsm8k/17"}, ...}'
            )
        return str(found)


def post_process_rewards(args: Namespace, samples: list[Sample]) -> tuple[list[float], list[float]]:
    """Raw rewards and weighted advantages, for `--custom-reward-post-process-path`.

    Args:
        args: slime's arguments, the object that the data source was made with.
        samples: (R,) every sample of the batch, in any order.

    Returns:
        (R,) the rewards as they came, and (R,) their GRPO advantages (each prompt against its own
        mean, divided by its standard deviation unless `--disable-grpo-std-normalization`), or those
        against the controller's own baseline and deviation, times the prompt's factor.

    Raises:
        OptionError: the run's data source is another one.
        PlanError: a sample belongs to no planned group.
        RewardError: a prompt came back with more or fewer rewards than planned, or one that is no
            finite number.
    """
    source = _SOURCES.get(id(args))
    if source is None:
        raise OptionError(
            "this reward post-process needs --data-source-path"
            " gdro.engines.slime.source.GDRODataSource"
        )
    return source.post_process(samples)


def _state_file(folder: str, rollout_id: int) -> Path:
    return Path(folder) / "rollout" / f"gdro_{rollout_id}.npz"
