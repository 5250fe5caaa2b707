"""tinker-cookbook's own training loop, datasets, environments and datums; only the service behind
it is ours."""

from __future__ import annotations

import asyncio
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "tinker_cookbook.rl.train", reason="tinker-cookbook is not installed; see docs/tinker.md"
)

import chz
from fake_service import Record, Service
from tinker_cookbook.rl import rollouts, train
from tinker_cookbook.rl.problem_env import ProblemGroupBuilder
from tinker_cookbook.rl.rollout_limits import TerminationRewardPolicy
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, RLDataset, RLDatasetBuilder, StepResult

import gdro
import tinker
from gdro.core.errors import OptionError, PlanError, PromptIdError, StateError
from gdro.engines.candidates import CandidatePool
from gdro.engines.compat import DEFAULT_CONTROLLER
from gdro.engines.session import ControllerSession
from gdro.engines.tinker import train as ours
from gdro.engines.tinker.dataset import PlannedDataset, candidates_of, problem_id, with_rollouts
from gdro.engines.tinker.states import States

PROMPTS, BATCH, MEAN = 40, 10, 4


class ToyEnv(Env):
    """Half of the reward comes from the step, half from the group, as both occur in the
    cookbook."""

    def __init__(self, number: int) -> None:
        self.number = number

    def get_question(self) -> str:
        return f"question {self.number}"

    async def initial_observation(self):
        return tinker.ModelInput.from_ints([self.number, 7, 7]), [0]

    async def step(self, action, *, extra=None):
        return StepResult(
            0.5 * action[0], True, tinker.ModelInput.empty(), [0], metrics={"right": action[0]}
        )


class ToyGroup(ProblemGroupBuilder):
    async def compute_group_rewards(self, trajectory_group, env_group):
        return [(0.5 * t.transitions[0].ac.tokens[0], {"seen": 1.0}) for t in trajectory_group]


class ToyDataset(RLDataset):
    def get_batch(self, index: int):
        numbers = range(index * BATCH, (index + 1) * BATCH)
        return [ToyGroup(partial(ToyEnv, number), MEAN, "toy") for number in numbers]

    def __len__(self) -> int:
        return PROMPTS // BATCH


@chz.chz
class ToyDatasetBuilder(RLDatasetBuilder):
    async def __call__(self):
        return ToyDataset(), None


class Tokens:
    """What the loop's printing wants of a tokenizer."""

    def decode(self, tokens, **_):
        return str(tokens)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "get_tokenizer", lambda name: Tokens())
    monkeypatch.setattr(train, "fetch_model_pricing", lambda name: None)
    return train.Config(
        learning_rate=1e-3,
        dataset_builder=ToyDatasetBuilder(),
        model_name="toy",
        recipe_name="toy",
        max_tokens=1,
        log_path=str(tmp_path / "run"),
        eval_every=0,
        save_every=3,
        num_epochs=3,
        max_steps=8,
    )


def controller(**options):
    return gdro.make_controller("joint", mean_rollouts=MEAN, **options)


def live(told: bool = False):
    """The default controller; `told`: the bare core's, whom nobody else tells the texts."""
    one = ours.default_controller(MEAN)
    if told:
        numbers = range(PROMPTS)
        one.describe([toy_id(n) for n in numbers], [f"question {n}" for n in numbers])
    return one


def run(config, monkeypatch, one=None, fails=frozenset(), **options) -> Record:
    record = Record()
    monkeypatch.setattr(tinker, "ServiceClient", Service(record, frozenset(fails)))
    asyncio.run(ours.train(config, one or controller(), **options))
    return record


def advantages(record: Record, step: int) -> dict[int, list[float]]:
    """The advantage of the answer token of every datum, by prompt, sorted."""
    found: dict[int, list[float]] = {}
    for datum in record.datums[step]:
        value = float(datum.loss_fn_inputs["advantages"].to_torch()[-1])
        found.setdefault(datum.model_input.to_ints()[0], []).append(value)
    return {number: sorted(values) for number, values in found.items()}


def log_rows(config) -> list[dict[str, float]]:
    rows = [
        json.loads(line)
        for line in (Path(config.log_path) / "metrics.jsonl").read_text().splitlines()
    ]
    return [row for row in rows if "env/all/reward/total" in row]


def toy_id(number: int) -> str:
    return problem_id(ToyGroup(partial(ToyEnv, number), MEAN, "toy"))


@pytest.mark.parametrize("weighting", ["prompt", "row"])
def test_the_real_loop_trains_on_the_cores_plans_and_weights(
    config, monkeypatch, weighting: str
) -> None:
    one, bare = controller(), controller()
    record = run(config, monkeypatch, one, weighting=weighting)
    ragged = False
    for step in range(8):
        numbers = [(step % 4) * BATCH + place for place in range(BATCH)]
        plan = bare.plan([toy_id(number) for number in numbers])
        answers = [record.answers[step][number] for number in numbers]
        assert [len(group) for group in answers] == plan.rollouts.tolist()
        assert sum(len(group) for group in answers) == len(record.datums[step]) == BATCH * MEAN
        factors = bare.observe(plan.prompt_ids, answers).weights
        if weighting == "prompt":
            factors = factors * MEAN / plan.rollouts
        for number, group, factor in zip(
            numbers, gdro.group_advantages(answers, "dr_grpo"), factors, strict=True
        ):
            np.testing.assert_allclose(
                advantages(record, step)[number], sorted(factor * group), atol=1e-6
            )
        ragged |= len(set(plan.rollouts.tolist())) > 1
    assert ragged
    assert gdro.state_hash(one.state_dict()) == gdro.state_hash(bare.state_dict())


def test_a_controller_that_selects_chooses_the_prompts(config, monkeypatch) -> None:
    one, bare = live(), live(told=True)
    assert one.name == DEFAULT_CONTROLLER
    pool = CandidatePool(bare, [toy_id(number) for number in range(PROMPTS)], 3, seed=5)
    record = run(config, monkeypatch, one, candidates=3, seed=5)
    numbers = {toy_id(number): number for number in range(PROMPTS)}
    others = 0
    for step in range(8):
        drawn = [toy_id((step % 4) * BATCH + place) for place in range(BATCH)]
        chosen = pool.choose(drawn, step)
        assert set(record.answers[step]) == {numbers[prompt] for prompt in chosen}
        bare.plan(chosen)
        answers = [record.answers[step][numbers[prompt]] for prompt in chosen]
        bare.observe(chosen, answers)
        others += len(set(chosen) - set(drawn))
        for prompt, group in zip(chosen, gdro.group_advantages(answers, "dr_grpo"), strict=True):
            np.testing.assert_allclose(
                advantages(record, step)[numbers[prompt]], sorted(group), atol=1e-6
            )
    assert others > 8, (
        "hardly anything but the batch's own prompts was chosen; this run tests less than it says"
    )
    assert gdro.state_hash(one.state_dict()) == gdro.state_hash(bare.state_dict())


def test_a_dataset_that_changes_gives_no_candidates() -> None:
    class Changing(ToyDataset):
        shift = 0

        def get_batch(self, index: int):
            return super().get_batch(index + self.shift)

    dataset = Changing()
    one = live()
    session = ControllerSession(one, pool=candidates_of(one, dataset, problem_id, None, 0))
    assert session.pool is not None
    drawn = {toy_id(place): builder for place, builder in enumerate(dataset.get_batch(0))}
    assert len(session.choose(drawn, 0)) == BATCH
    dataset.shift = 4
    with pytest.raises(
        OptionError, match=r"prompt 'toy/[0-9a-f]+': the dataset Changing gives other prompts"
    ):
        session.choose(drawn, 0)  # the further candidates have changed
    planned = PlannedDataset(
        dataset, session, States("nowhere", session), problem_id, with_rollouts
    )
    with pytest.raises(
        OptionError, match=r"prompt 'toy/[0-9a-f]+': the dataset Changing gives other prompts"
    ):
        planned.get_batch(0)  # the batch itself has


def test_a_builder_that_does_not_say_what_it_asks_is_named() -> None:
    class Other(EnvGroupBuilder):
        async def make_envs(self):
            return []

    class Others(RLDataset):
        def get_batch(self, index: int):
            return [Other()]

        def __len__(self) -> int:
            return 1

    with pytest.raises(OptionError, match=r"a Other does not say what it asks; give prompt_text=<"):
        candidates_of(live(), Others(), lambda _: "x", None, 0)
    told = live()
    candidates_of(told, Others(), lambda _: "x", None, 0, lambda _: "what is 1 + 1?")
    assert len(told.facts.texts) == 1


def test_uniform_is_the_stock_loop(config, monkeypatch, tmp_path: Path) -> None:
    record = run(config, monkeypatch, gdro.make_controller("uniform", mean_rollouts=MEAN))
    stock = Record()
    monkeypatch.setattr(tinker, "ServiceClient", Service(stock))
    asyncio.run(train.main(chz.replace(config, log_path=str(tmp_path / "stock"))))
    assert record.answers == stock.answers
    for step in range(8):
        assert advantages(record, step) == advantages(stock, step)


def test_the_log_has_the_true_rewards_and_the_controllers_metrics(config, monkeypatch) -> None:
    one = controller()
    record = run(config, monkeypatch, one)
    rows = log_rows(config)
    assert len(rows) == 8
    for step, row in enumerate(rows):
        answers = [answer for group in record.answers[step].values() for answer in group]
        np.testing.assert_allclose(row["env/all/reward/total"], np.mean(answers), atol=1e-9)
        assert row["env/all/seen"] == 1.0
        assert row["env/all/gdro/step"] == step + 1
    assert rows[-1]["env/all/gdro/reward_mean"] == pytest.approx(one.metrics()["reward_mean"])
    recorded = json.loads((Path(config.log_path) / "config.json").read_text())["dataset_builder"][
        "gdro"
    ]
    assert recorded["controller"] == "joint"
    assert recorded["mean_rollouts"] == MEAN


@pytest.mark.parametrize("make", [controller, live])
def test_resume_goes_on_as_if_nothing_had_happened(
    config, monkeypatch, tmp_path: Path, make
) -> None:
    whole, first, second = make(), make(), make()
    straight = run(chz.replace(config, log_path=str(tmp_path / "straight")), monkeypatch, whole)
    with pytest.raises(RuntimeError, match="sandbox"):
        run(config, monkeypatch, first, fails={(7, 35, 1)})
    states = sorted(path.name for path in (Path(config.log_path) / "gdro").iterdir())
    assert {"000003.npz", "000006.npz"} <= set(states)
    assert {"000001.npz", "000002.npz", "000004.npz"}.isdisjoint(states)
    resumed = run(config, monkeypatch, second)
    assert sorted(resumed.datums) == [6, 7]
    for step in (6, 7):
        assert resumed.answers[step] == straight.answers[step]
        assert advantages(resumed, step) == advantages(straight, step)
    assert gdro.state_hash(second.state_dict()) == gdro.state_hash(whole.state_dict())


def test_resume_without_a_state_is_refused_unless_fresh(config, monkeypatch) -> None:
    run(chz.replace(config, max_steps=3), monkeypatch)
    (Path(config.log_path) / "gdro" / "000003.npz").unlink()
    with pytest.raises(StateError, match=r"000003\.npz is missing"):
        run(config, monkeypatch)
    fresh = controller()
    run(config, monkeypatch, fresh, fresh=True)
    assert fresh.steps_seen == 5


def test_failed_rollouts_are_counted_and_the_others_learned_from(config, monkeypatch) -> None:
    tolerant = chz.replace(config, rollout_error_tolerance=True)
    one = controller()
    fails = {(2, 25, turn) for turn in range(100)}
    record = run(tolerant, monkeypatch, one, fails=fails)
    assert log_rows(config)[-1]["env/all/gdro/missing_rollouts"] == 4.0
    assert log_rows(config)[-1]["env/all/gdro/skipped_steps"] == 0.0
    assert one.steps_seen == 8
    assert 25 not in advantages(record, 2)
    assert sorted(record.datums) == list(range(8))


def test_dropping_constant_groups_drops_only_zeros(config, monkeypatch, tmp_path: Path) -> None:
    one, two = controller(), controller()
    every = run(config, monkeypatch, one)
    live = run(
        chz.replace(config, log_path=str(tmp_path / "live"), remove_constant_reward_groups=True),
        monkeypatch,
        two,
    )
    assert gdro.state_hash(one.state_dict()) == gdro.state_hash(two.state_dict())
    for step in range(8):
        kept = {number: group for number, group in advantages(every, step).items() if any(group)}
        assert 0 < len(kept) < BATCH
        assert advantages(live, step) == kept


def test_what_the_loop_cannot_do_is_refused_before_it_starts(config) -> None:
    one = controller()
    changes = {
        "async_config": train.AsyncConfig(max_steps_off_policy=1, groups_per_batch=BATCH),
        "stream_minibatch_config": train.StreamMinibatchConfig(
            groups_per_batch=BATCH, num_minibatches=2
        ),
        "termination": TerminationRewardPolicy(zero_reward_on_limit=True),
    }
    for name, value in changes.items():
        with pytest.raises(OptionError, match=name):
            asyncio.run(ours.train(chz.replace(config, **{name: value}), one))
    with pytest.raises(OptionError, match="loss"):
        ours.refuse(config, controller(signal="surrogate"))
    with pytest.raises(OptionError, match="set its option baseline=group"):
        ours.refuse(config, gdro.make_controller("live_gdro", mean_rollouts=MEAN))
    with pytest.raises(OptionError, match="advantage='grpo' of controller 'maxrl'"):
        ours.refuse(config, gdro.make_controller("maxrl", mean_rollouts=MEAN))
    ours.refuse(config, gdro.make_controller("maxrl", mean_rollouts=MEAN, advantage="dr_grpo"))
    with pytest.raises(OptionError, match="does not select prompts"):
        asyncio.run(ours.train(config, one, candidates=4))
    assert not Path(config.log_path).exists()


def test_the_dataset_refuses_strange_orders_executors_and_processes(tmp_path: Path) -> None:
    def planned() -> PlannedDataset:
        session = ControllerSession(controller())
        return PlannedDataset(
            ToyDataset(), session, States(str(tmp_path), session), problem_id, with_rollouts
        )

    with pytest.raises(PlanError, match="one by one"):
        planned().get_batch(1)
    dataset = planned()
    groups = dataset.get_batch(0)
    assert [len(asyncio.run(group.make_envs())) for group in groups] == [MEAN] * BATCH
    assert groups[0].logging_tags() == ["toy"]
    with pytest.raises(PlanError, match="while the last one waits for its rewards"):
        dataset.get_batch(0)
    with pytest.raises(OptionError, match="leave its process"):
        pickle.dumps(groups[0])
    with ThreadPoolExecutor() as pool:
        rollouts.set_rollout_executor(pool)
        with pytest.raises(OptionError, match="rollout executor"):
            planned().get_batch(0)
        rollouts.set_rollout_executor(None)


def test_builders_that_do_not_say_who_they_are_need_a_function() -> None:
    class Bare(EnvGroupBuilder):
        async def make_envs(self):
            return []

    with pytest.raises(PromptIdError, match="Bare does not say"):
        problem_id(Bare())
    with pytest.raises(OptionError, match="num_envs or group_size"):
        with_rollouts(Bare(), 3)
    assert toy_id(3) == toy_id(3) != toy_id(4)
    assert toy_id(3).startswith("toy/")
