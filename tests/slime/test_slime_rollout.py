"""slime's own data source, rollout function, samples and rollout manager, with nothing but SGLang's
servers missing."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "slime.rollout.sglang_rollout",
    reason="slime is not installed (it is not on PyPI; docs/slime.md says how these tests run)",
    exc_type=ImportError,
)

from slime.ray.rollout import RolloutManager as RemoteManager
from slime.rollout import sglang_rollout
from slime.utils.misc import SingletonMeta, load_function
from slime.utils.types import Sample
from slime_toy import BATCH, MEAN, PROMPTS, arguments, write_prompts

import gdro
from gdro.core.errors import OptionError, PlanError, PromptIdError, StateError
from gdro.engines.candidates import CandidatePool
from gdro.engines.slime.source import post_process_rewards

RolloutManager = RemoteManager.__ray_metadata__.modified_class


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def workers(url: str) -> dict[str, list[str]]:
        return {"workers": []}

    monkeypatch.setattr(sglang_rollout, "get", workers)
    SingletonMeta._instances.pop(sglang_rollout.GenerateState, None)
    write_prompts(tmp_path / "prompts.jsonl")


def manager(args: Namespace) -> object:
    """slime's rollout manager without its servers: what its constructor sets from the function
    paths."""
    one = RolloutManager.__new__(RolloutManager)
    one.args = args
    one.data_source = load_function(args.data_source_path)(args)
    one.generate_rollout = load_function(args.rollout_function_path)
    one.custom_reward_post_process_func = load_function(args.custom_reward_post_process_path)
    one.custom_convert_samples_to_train_data_func = None
    return one


def rollout(one, rollout_id: int) -> tuple[list[Sample], dict[str, list]]:
    """One rollout as `RolloutManager.generate` does it: the flat samples, and what goes to
    training."""
    samples, _ = one._get_rollout_data(rollout_id)
    return samples, one._convert_samples_to_train_data(samples)


def controller_of(one) -> gdro.Controller:
    return one.data_source.setup.controller


@pytest.mark.parametrize(
    ("normalize", "weighting"), [(True, "prompt"), (True, "row"), (False, "prompt")]
)
def test_slime_trains_on_the_cores_plans_and_weights(
    tmp_path: Path, normalize: bool, weighting: str
) -> None:
    section = {"controller": "joint", "weighting": weighting}
    one = manager(arguments(tmp_path, grpo_std_normalization=normalize, gdro=section))
    bare = gdro.make_controller("joint", mean_rollouts=MEAN)
    ragged = False
    for rollout_id in range(8):
        samples, train_data = rollout(one, rollout_id)
        ids = list(dict.fromkeys(sample.metadata["id"] for sample in samples))
        plan = bare.plan(ids)
        groups = [[s.reward for s in samples if s.metadata["id"] == name] for name in ids]
        assert [len(group) for group in groups] == plan.rollouts.tolist()
        assert len(samples) == BATCH * MEAN == plan.total
        assert len(ids) == BATCH == len({sample.group_index for sample in samples})
        assert sorted(s.index for s in samples) == list(
            range(rollout_id * 40, rollout_id * 40 + 40)
        )
        factors = bare.observe(ids, groups).weights
        if weighting == "prompt":
            factors = factors * MEAN / plan.rollouts
        kind = "grpo" if normalize else "dr_grpo"
        advantages = gdro.group_advantages(groups, kind, epsilon=1e-6, ddof=1)
        expected = np.concatenate([f * a for f, a in zip(factors, advantages, strict=True)])
        np.testing.assert_allclose(train_data["rewards"], expected, rtol=1e-12)
        assert train_data["raw_reward"] == [sample.reward for sample in samples]
        ragged |= len(set(plan.rollouts.tolist())) > 1
    assert ragged
    assert gdro.state_hash(controller_of(one).state_dict()) == gdro.state_hash(bare.state_dict())


def test_uniform_is_stock_slime(tmp_path: Path) -> None:
    """Stock slime: its own data source and no post-process, on the same prompts and the same
    samples."""
    ours = manager(arguments(tmp_path, gdro={"controller": "uniform"}))
    args = arguments(
        tmp_path, data_source_path="slime.rollout.data_source.RolloutDataSourceWithBuffer"
    )
    stock = RolloutManager.__new__(RolloutManager)
    stock.args, stock.generate_rollout = args, ours.generate_rollout
    stock.custom_reward_post_process_func = stock.custom_convert_samples_to_train_data_func = None
    stock.data_source = load_function(args.data_source_path)(args)
    for rollout_id in range(2):  # 20 of 25 prompts: the third batch crosses the epoch
        samples, mine = rollout(ours, rollout_id)
        theirs_samples, theirs = rollout(stock, rollout_id)
        assert [s.metadata["id"] for s in samples] == [s.metadata["id"] for s in theirs_samples]
        assert mine["sample_indices"] == theirs["sample_indices"]
        assert mine["raw_reward"] == theirs["raw_reward"]
        np.testing.assert_allclose(mine["rewards"], theirs["rewards"], atol=1e-6)


def test_batches_of_chosen_prompts_are_whole_across_epochs(tmp_path: Path) -> None:
    one = manager(arguments(tmp_path, gdro={"controller": "live_gdro", "candidates": 2}))
    for rollout_id in range(8):
        samples, _ = rollout(one, rollout_id)
        assert len({sample.metadata["id"] for sample in samples}) == BATCH
        assert len(samples) == BATCH * MEAN


def test_a_prompt_drawn_twice_across_epochs_is_planned_once(tmp_path: Path) -> None:
    one = manager(arguments(tmp_path))
    seen: Counter[str] = Counter()
    for rollout_id in range(15):
        samples, _ = rollout(one, rollout_id)
        ids = {sample.metadata["id"] for sample in samples}
        assert len(ids) == BATCH
        seen.update(ids)
    assert len(seen) == PROMPTS
    assert max(seen.values()) - min(seen.values()) <= 3


def test_a_controller_that_selects_chooses_the_prompts_and_sets_their_advantages(
    tmp_path: Path,
) -> None:
    one = manager(arguments(tmp_path, gdro={"controller": "live_gdro"}))
    stock = load_function("slime.rollout.data_source.RolloutDataSource")(arguments(tmp_path))
    bare = gdro.make_controller("live_gdro", mean_rollouts=MEAN)
    pool = CandidatePool(
        bare, [f"toy/{number}" for number in range(PROMPTS)], bare.pool_factor, seed=42
    )
    others = 0
    for rollout_id in range(2):  # 20 of 25 prompts: the third batch crosses the epoch
        samples, train_data = rollout(one, rollout_id)
        drawn = [group[0].metadata["id"] for group in stock.get_samples(BATCH)]
        chosen = pool.choose(drawn, rollout_id)
        assert list(dict.fromkeys(sample.metadata["id"] for sample in samples)) == chosen
        assert {sample.prompt for sample in samples} == {f"prompt {name}" for name in chosen}
        assert len({sample.group_index for sample in samples}) == BATCH
        assert sorted(s.index for s in samples) == list(
            range(rollout_id * 40, rollout_id * 40 + 40)
        )
        bare.plan(chosen)
        groups = [[s.reward for s in samples if s.metadata["id"] == name] for name in chosen]
        advantages = gdro.group_advantages(groups, feedback=bare.observe(chosen, groups))
        np.testing.assert_allclose(train_data["rewards"], np.concatenate(advantages), rtol=1e-12)
        others += len(set(chosen) - set(drawn))
    assert others > 0, "only prompts that came anyway were chosen; this run tests less than it says"
    assert gdro.state_hash(controller_of(one).state_dict()) == gdro.state_hash(bare.state_dict())


@pytest.mark.parametrize("controller", ["joint", "live_gdro"])
def test_save_and_load_go_on_as_if_nothing_had_happened(tmp_path: Path, controller: str) -> None:
    whole = manager(arguments(tmp_path, gdro={"controller": controller}))
    for rollout_id in range(3):
        rollout(whole, rollout_id)
    whole.save(2)
    later = [rollout(whole, rollout_id) for rollout_id in (3, 4)]
    resumed = manager(arguments(tmp_path, gdro={"controller": controller}))
    resumed.load(2)
    for rollout_id, (samples, train_data) in zip((3, 4), later, strict=True):
        again, again_data = rollout(resumed, rollout_id)
        assert [s.metadata["id"] for s in again] == [s.metadata["id"] for s in samples]
        assert again_data["sample_indices"] == train_data["sample_indices"]
        assert again_data["rewards"] == train_data["rewards"]
    states = [gdro.state_hash(controller_of(each).state_dict()) for each in (whole, resumed)]
    assert states[0] == states[1]


def test_resume_without_a_state_is_refused_unless_fresh(tmp_path: Path) -> None:
    one = manager(arguments(tmp_path))
    one.load(-1)  # what slime asks for at the first start
    rollout(one, 0)
    one.save(0)
    (tmp_path / "run" / "rollout" / "gdro_0.npz").unlink()
    with pytest.raises(StateError, match=r"gdro_0\.npz is missing"):
        manager(arguments(tmp_path)).load(0)
    fresh = manager(arguments(tmp_path, gdro={"fresh": True}))
    fresh.load(0)
    assert controller_of(fresh).steps_seen == 0
    assert fresh.data_source.sample_offset == BATCH


def test_rows_need_an_id_of_their_own(tmp_path: Path) -> None:
    write_prompts(tmp_path / "prompts.jsonl", [*(f"toy/{i}" for i in range(12)), "toy/3"])
    with pytest.raises(PromptIdError, match=r"rows 3 and 12 of .* are both prompt 'toy/3'"):
        manager(arguments(tmp_path))
    write_prompts(tmp_path / "prompts.jsonl", [1, 2, None])
    with pytest.raises(PromptIdError, match=r"row 2 of .* has metadata\.id=None"):
        manager(arguments(tmp_path, rollout_batch_size=2, over_sampling_batch_size=2))
    write_prompts(tmp_path / "prompts.jsonl", [1, 2, 3])
    with pytest.raises(OptionError, match=r"has 3 prompts, .*\(--rollout-batch-size"):
        manager(arguments(tmp_path))


def test_samples_that_answer_no_plan_are_refused(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    with pytest.raises(OptionError, match="--data-source-path"):
        post_process_rewards(args, [Sample()])
    one = manager(args)
    samples = one._get_rollout_data(0)[0]
    with pytest.raises(PlanError, match="while the last one waits"):
        one.data_source.get_samples(BATCH)
    with pytest.raises(PlanError, match="no planned group"):
        post_process_rewards(args, [*samples, Sample(group_index=999, reward=1.0)])
    samples[0].reward = None
    raw, advantages = post_process_rewards(args, samples)
    assert np.isnan(raw[0])
    assert advantages[0] == 0.0
    assert np.any(advantages)
    assert controller_of(one).steps_seen == 1
    assert one.data_source.session.missing == 1
