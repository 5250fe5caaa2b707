"""Candidates of a verl run: read from verl's own training set, chosen by id, and refused where ids
cannot be read."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
import toy_task
from omegaconf import OmegaConf
from verl.utils.dataset.rl_dataset import RLHFDataset

import gdro
from gdro.core.errors import OptionError, PromptIdError
from gdro.engines.verl.bridge import candidates_of

PROMPTS = 40


class Last:
    """Selects the candidates whose ids sort last, and keeps what it was offered."""

    name, selects, pool_factor = "last", True, 4

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
