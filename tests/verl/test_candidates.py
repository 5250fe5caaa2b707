"""Candidates of a verl run: read from verl's own training set, chosen by id, and refused where ids
cannot be read; and stock verl trained on those that the default controller, told the texts,
chooses over two workers, against the bare core."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import launch
import numpy as np
import pandas
import pytest
import toy_task
from omegaconf import OmegaConf
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

import gdro
from gdro.core.errors import OptionError, PromptIdError
from gdro.engines.candidates import CandidatePool, tell
from gdro.engines.compat import DEFAULT_CONTROLLER
from gdro.engines.verl.bridge import candidates_of
from gdro.engines.verl.trainer import _column, _ids

PROMPTS = 40


class Last:
    """Selects the candidates whose ids sort last, and keeps what it was offered."""

    name, selects, pool_factor, reads_texts = "last", True, 4, False

    def select(self, candidate_ids, m):
        self.offered = list(candidate_ids)
        return sorted(candidate_ids, reverse=True)[:m]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RLHFDataset:
    folder = tmp_path_factory.mktemp("candidates")
    toy_task.write_task(folder, PROMPTS)
    return verl_set(folder)


def verl_set(folder: Path) -> RLHFDataset:
    config = OmegaConf.create({"cache_dir": str(folder), "filter_overlong_prompts": False})
    return RLHFDataset(str(folder / "train.parquet"), None, config)


def test_samples_of_the_chosen_prompts_come_from_verls_own_set(dataset: RLHFDataset) -> None:
    controller = Last()
    pool = candidates_of(controller, dataset, 3, seed=1)
    samples = pool.rows(pool.choose(["toy/p5", "toy/p7"], 2), {})
    assert controller.offered[:2] == ["toy/p5", "toy/p7"]
    assert len(set(controller.offered)) == 6
    names = [f"{sample['data_source']}/{sample['extra_info']['index']}" for sample in samples]
    assert names == sorted(controller.offered, reverse=True)[:2]
    assert samples[0] == dataset[pool.places[names[0]]]


def test_offers_depend_on_seed_and_step_alone(dataset: RLHFDataset) -> None:
    offers = []
    for seed, step in ((1, 2), (1, 2), (1, 3), (2, 2)):
        controller = Last()
        candidates_of(controller, dataset, None, seed).choose(["toy/p5", "toy/p7"], step)
        assert len(controller.offered) == 8
        offers.append(tuple(controller.offered))
    assert offers[0] == offers[1]
    assert len(set(offers)) == 3


CHATS = {
    "plain": [{"role": "user", "content": "2 + 2?"}],
    "twin": [{"role": "user", "content": "2 + 2?"}],
    "chinese": [{"role": "system", "content": "请回答"}, {"role": "user", "content": "设x的值"}],
    "image": [{"role": "user", "content": "<image> How many?"}],
    "empty": [{"role": "user", "content": ""}],
    "long": [{"role": "user", "content": "word 7 " * 15_000}],
}
TOLD = ["2 + 2?", "2 + 2?", "请回答\n设x的值", "<image> How many?", "", "word 7 " * 15_000]


class Reading(Last):
    """Writes down the texts that it is told."""

    reads_texts = True

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def describe(self, prompt_ids, texts):
        assert self.texts.keys().isdisjoint(prompt_ids), "told twice"
        self.texts |= dict(zip(prompt_ids, texts, strict=True))


def chats(folder: Path) -> RLHFDataset:
    rows = [
        {"data_source": "chat", "asked": chat, "extra_info": {"index": name}}
        for name, chat in CHATS.items()
    ]
    pandas.DataFrame(rows).to_parquet(folder / "train.parquet")
    keys = {"cache_dir": str(folder), "filter_overlong_prompts": False, "prompt_key": "asked"}
    return RLHFDataset(str(folder / "train.parquet"), None, OmegaConf.create(keys))


def test_texts_are_told_when_prompts_are_first_offered_and_once(tmp_path: Path) -> None:
    reading = Reading()
    pool = candidates_of(reading, chats(tmp_path), 2, seed=0)
    assert reading.texts == {}
    pool.choose(["chat/plain"], 1)
    assert len(reading.texts) == 2
    for step in range(8):
        pool.choose(["chat/twin", "chat/long", "chat/image"], step)
    assert reading.texts == dict(zip([f"chat/{name}" for name in CHATS], TOLD, strict=True))


def test_a_batch_without_candidates_has_the_same_texts(tmp_path: Path) -> None:
    dataset = chats(tmp_path)
    batch = tu.get_tensordict(collate_fn([dataset[place] for place in range(len(dataset))]))
    reading = Reading()
    tell(reading, dict(zip(_ids(batch), _column(batch, "raw_prompt"), strict=True)))
    assert reading.texts == dict(zip([f"chat/{name}" for name in CHATS], TOLD, strict=True))


def test_a_set_without_the_column_of_prompts_is_refused(tmp_path: Path) -> None:
    dataset = chats(tmp_path)
    dataset.prompt_key = "question"
    with pytest.raises(OptionError, match="reads question of every prompt"):
        candidates_of(Reading(), dataset, None, seed=0)
    dataset.prompt_key = "data_source"  # text, and no chat
    assert candidates_of(Last(), dataset, None, seed=0) is not None


def test_a_controller_that_does_not_select_has_no_candidates(dataset: RLHFDataset) -> None:
    assert candidates_of(gdro.make_controller("joint"), dataset, None, seed=0) is None


def test_a_set_without_readable_ids_is_refused() -> None:
    with pytest.raises(OptionError, match="list has no `dataframe`"):
        candidates_of(Last(), [], None, seed=0)


def test_two_rows_with_one_id_are_named(tmp_path: Path) -> None:
    toy_task.write_task(tmp_path, 4)
    frame = pandas.read_parquet(tmp_path / "train.parquet")
    pandas.concat([frame, frame[1:2]]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(
        PromptIdError, match="rows 1 and 4 of the training set are both prompt 'toy/p1'"
    ):
        candidates_of(Last(), verl_set(tmp_path), None, seed=0)


STEPS, CANDIDATES, LIMIT = 3, 2, 900
ROWS = launch.BATCH * launch.MEAN_ROLLOUTS
IDS = [f"toy/p{place}" for place in range(launch.PROMPTS)]
CHOSEN = ("~gdro.controller", f"+gdro.candidates={CANDIDATES}", "~gdro.allocator")


def test_the_chosen_prompts_are_generated_and_learned_from(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    toy_task.write_task(tmp_path, launch.PROMPTS)
    toy_task.write_model(tmp_path / "model")
    with launch.running(tmp_path, STEPS, "live", CHOSEN) as run:
        assert run.wait(LIMIT) == 0, (tmp_path / "live.log").read_text()[-3000:]
    rewards = [
        json.loads(line) for line in (tmp_path / "live-rewards.jsonl").read_text().splitlines()
    ]
    assert len(rewards) == ROWS * STEPS
    core = gdro.make_controller(DEFAULT_CONTROLLER, bins=4, mean_rollouts=launch.MEAN_ROLLOUTS)
    assert core.reads_texts
    core.describe(IDS, [f"w{place % toy_task.WORDS}" for place in range(launch.PROMPTS)])
    pool = CandidatePool(core, IDS, CANDIDATES, seed=0)
    as_they_came, advantages = 0, []
    for step in range(STEPS):
        start = step * launch.BATCH % launch.PROMPTS  # the data is not shuffled
        drawn = IDS[start : start + launch.BATCH]
        chosen = pool.choose(drawn, step + 1)  # verl counts steps from 1
        by_id = defaultdict(list)
        for row in rewards[step * ROWS : (step + 1) * ROWS]:
            by_id[row["id"]].append(row["score"])
        assert set(by_id) == set(chosen)
        assert {prompt_id: len(scores) for prompt_id, scores in by_id.items()} == dict.fromkeys(
            chosen, 4
        )
        core.plan(chosen)
        groups = [by_id[prompt_id] for prompt_id in chosen]
        feedback = core.observe(chosen, groups)
        assert (feedback.weights == 1.0).all()
        advantages.append(np.concatenate(gdro.group_advantages(groups, feedback=feedback)))
        as_they_came += set(chosen) == set(drawn)
    assert as_they_came < STEPS, (
        "the controller chose what came in every step; this run tests less than it says"
    )
    saved = gdro.load_state(tmp_path / "checkpoints" / f"global_step_{STEPS}" / "gdro.npz")
    assert gdro.state_hash(core.state_dict()) == gdro.state_hash(saved["session"]["controller"])
    metrics = [
        json.loads(line)["data"]
        for line in (tmp_path / "live-metrics.jsonl").read_text().splitlines()
    ]
    assert all("timing_s/gdro_select" in data for data in metrics)
    for name in ("max", "min"):
        core_has = [getattr(step, name)() for step in advantages]
        np.testing.assert_allclose(
            [data[f"critic/advantages/{name}"] for data in metrics], core_has, rtol=1e-5
        )
