"""The posterior with the text as its prior: vectors of texts, the mode against its condition, what
it finds, selection without bias, order, state."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gdro.core.errors import OptionError, PromptIdError, StateError
from gdro.core.prompts import PromptTable
from gdro.core.ragged import Ragged
from gdro.core.source_posterior import STRENGTH
from gdro.core.text_posterior import (
    INPUTS,
    NAME,
    NAMES,
    PRECISION,
    WIDTH,
    TextFeatures,
    TextPosterior,
    _tokens,
    name_place,
    text_vector,
)


def model(texts: dict[str, str], **options) -> TextPosterior:
    features = TextFeatures()
    features.describe(list(texts), list(texts.values()))
    return TextPosterior(PromptTable(), features, **({"ageing": 1.0} | options))


def visit(posterior: TextPosterior, ids: list[str], correct, total: int, now: int = 0) -> None:
    table = posterior.own.table
    prompts = table.admit(table.look_up(ids))
    rewards = np.arange(total)[None, :] < np.asarray(correct)[:, None]
    unit = Ragged(rewards.astype(np.float64).ravel(), np.full(len(ids), total))
    posterior.learn(prompts, now, unit, *posterior.posterior(prompts, now))


def rates(posterior: TextPosterior, ids: list[str]) -> np.ndarray:
    a, b = posterior.prior(posterior.own.table.look_up(ids))
    return a / (a + b)


def sums(count: int, seed: int = 0) -> tuple[dict[str, str], dict[str, float]]:
    """Sums of numbers of one to four digits: the longer, the harder; and their success rates."""
    rng = np.random.default_rng(seed)
    texts, truth = {}, {}
    for place in range(count):
        digits = int(rng.integers(1, 5))
        one, other = rng.integers(10 ** (digits - 1), 10**digits, 2)
        texts[f"data/{place}"] = f"What is {one} + {other}? Give the number alone."
        truth[f"data/{place}"] = (0.95, 0.7, 0.3, 0.05)[digits - 1]
    return texts, truth


def test_texts_of_one_form_are_alike_and_vectors_have_length_one():
    one, other, third = map(
        text_vector,
        ("What is 12 + 34?", "What is 56 + 78?", "Spell this word backward: lantern"),
    )
    np.testing.assert_allclose([one @ one, other @ other, third @ third], 1.0)
    assert one @ other > 0.5 > third @ one
    assert np.linalg.norm(text_vector("")) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("设x的值为3。", ["设", "x", "的", "值", "为", "3", "。"]),
        ("人々はカナ", ["人", "々", "は", "カ", "ナ"]),
        ("한국어 문장 12개", ["한국어", "문장", "12", "개"]),
        ("Größe π_1 x²", ["größe", "π", "_", "1", "x²"]),
        ("", []),
    ],
)
def test_words_of_any_writing(text, words):
    """Where no spaces part words, each letter is one, and pairs of neighbours stand for words."""
    tokens = _tokens(text)
    assert tokens[: len(words)] == words
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    assert tokens[len(words) : len(words) + len(pairs)] == pairs


def test_chinese_prompts_are_ranked_by_their_texts():
    """Without a space in them; the hard ones ask for a proof, and letters stand in both."""
    rng = np.random.default_rng(6)
    hard = rng.random(600) < 0.5
    asked = ["证明x大于{}时不等式成立", "求x加{}的值是多少"]
    texts = {f"data/{i}": asked[int(not h)].format(rng.integers(99)) for i, h in enumerate(hard)}
    posterior, ids = model(texts), list(texts)
    for step in range(20):
        batch = range(16 * step, 16 * (step + 1))
        visit(posterior, [ids[i] for i in batch], [0 if hard[i] else 4 for i in batch], 4, step)
    found = rates(posterior, ids[320:])
    assert found[hard[320:]].max() < 0.3 < 0.7 < found[~hard[320:]].min()


def test_a_long_text_is_read_whole_and_quickly():
    body = "the sum of 17 and 25 is asked for; " * 3000
    long, began = body + "prove it", time.process_time()
    vector = text_vector(long)
    assert time.process_time() - began < 2.0
    assert len(long) > 100_000
    assert not np.array_equal(vector, text_vector(body))
    assert vector @ text_vector(body) > 0.9


def test_prompts_told_a_few_at_a_time_are_those_told_at_once():
    texts, _ = sums(300)
    texts |= {"twin/1": texts["data/0"], "data/none": ""}
    ids = list(texts)
    at_once, by_steps = TextFeatures(), TextFeatures()
    at_once.describe(ids, list(texts.values()))
    for start in range(0, len(ids), 7):
        told = ids[max(0, start - 3) : start + 7]  # some again, which changes nothing
        by_steps.describe(told, [texts[i] if i in ids[start:] else "other" for i in told])
    assert len(by_steps) == len(at_once) == 302
    prompts = PromptTable().look_up(ids)
    found = at_once.inputs(at_once.rows_of(prompts))
    np.testing.assert_array_equal(by_steps.inputs(by_steps.rows_of(prompts)), found)
    np.testing.assert_array_equal(found[ids.index("twin/1")][:WIDTH], found[0][:WIDTH])


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        (["x/1"], ["a", "b"], "2 texts for 1 prompts"),
        (["x/1"], [None], "the text of prompt 'x/1' is None, no text"),
        (["x/1", "x/1"], ["a", "a"], "'x/1' is in the batch twice"),
    ],
)
def test_what_is_no_text_is_refused(ids, texts, message):
    with pytest.raises(PromptIdError, match=message):
        TextFeatures().describe(ids, texts)


def test_a_prompt_without_a_text_is_named():
    posterior = model({"x/1": "one"})
    with pytest.raises(
        PromptIdError, match=r"text of prompt 'x/2' is not known; call controller\.d"
    ):
        posterior.prior(posterior.own.table.look_up(["x/1", "x/2"]))


def test_the_weights_are_at_the_mode():
    """There the gradient of log likelihood and prior is zero; the likelihood counts n rollouts as
    n / (1 + (n - 1) rho)."""
    texts, truth = sums(24)
    posterior, ids = model(texts, window=10**9), list(texts)
    correct = np.random.default_rng(1).binomial(4, list(truth.values()))
    rho = posterior.rho
    visit(posterior, ids, correct, 4)
    name = NAME * np.eye(NAMES)[name_place("data/0")]
    inputs = np.array(
        [[*text_vector(text).astype(np.float16), *name, 0.5] for text in texts.values()]
    )
    size = 4 / (1 + 3 * rho)
    gradient = inputs.T @ (size * (correct / 4 - rates(posterior, ids)))
    gradient -= PRECISION * posterior.weights
    assert np.abs(gradient).max() < 1e-4
    spread = rates(posterior, ids)
    information = inputs.T @ ((size * spread * (1 - spread))[:, None] * inputs)
    np.testing.assert_allclose(
        posterior.precision, information + PRECISION * np.eye(INPUTS), atol=1e-6
    )


def test_unseen_prompts_are_ranked_and_rated_by_their_texts():
    texts, truth = sums(1200)
    posterior, ids, rng = model(texts), list(texts), np.random.default_rng(2)
    for step in range(50):
        batch = ids[16 * step : 16 * (step + 1)]
        visit(posterior, batch, rng.binomial(4, [truth[i] for i in batch]), 4, step)
    unseen = ids[800:]
    found, true = rates(posterior, unseen), np.array([truth[i] for i in unseen])
    assert np.corrcoef(found, true)[0, 1] > 0.95
    for rate in sorted(set(true)):
        assert found[true == rate].mean() == pytest.approx(rate, abs=0.08)


def test_names_tell_what_texts_cannot_and_an_id_without_one_adds_nothing():
    """The same question from two sources, one right nine times in ten, one never; and ids without
    a source, which have the mean of both."""
    ids = [f"{name}/{i}" for i in range(200) for name in ("easy", "hard")]
    loose = [f"loose:{i}" for i in range(8)]
    posterior = model(dict.fromkeys([*ids, *loose], "the same question"))
    for step in range(40):
        batch = ids[8 * step : 8 * (step + 1)]
        visit(posterior, batch, [9 if name.startswith("easy") else 0 for name in batch], 10, step)
    found = rates(posterior, [*ids[-2:], *loose])
    assert name_place("easy/1") != name_place("hard/1")
    assert found[0] > 0.7
    assert found[1] < 0.15
    assert 0.25 < found[2] < 0.6
    assert len(set(found[2:])) == 1


def test_which_prompts_are_chosen_does_not_bend_the_prior():
    """Texts alike, half of the prompts always right and half always wrong; those believed nearest
    to one half come again and again."""
    texts = {f"data/{i}": "the same question" for i in range(400)}
    posterior, ids, rng = model(texts), list(texts), np.random.default_rng(3)
    truth = dict(zip(ids, rng.integers(0, 2, len(ids)), strict=True))
    for step in range(60):
        offered = [ids[i] for i in rng.choice(len(ids), 40, replace=False)]
        a, b = posterior.posterior(posterior.own.table.look_up(offered), step)
        chosen = [offered[i] for i in np.argsort(-a / (a + b), kind="stable")[:10]]
        visit(posterior, chosen, [4 * truth[i] for i in chosen], 4, step)
    assert rates(posterior, ["data/0"])[0] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("alike", "strength"), [(True, STRENGTH[1]), (False, STRENGTH[0])])
def test_the_strength_says_how_much_prompts_of_like_texts_differ(alike, strength):
    texts = {f"data/{i}": "the same question" for i in range(2000)}
    posterior, ids, rng = model(texts), list(texts), np.random.default_rng(4)
    for step in range(100):
        batch = ids[20 * step : 20 * (step + 1)]
        right = rng.binomial(4, 0.5, 20) if alike else 4 * rng.integers(0, 2, 20)
        visit(posterior, batch, right, 4, step)
    assert posterior.strength == pytest.approx(strength, rel=0.5)


def test_a_policy_that_moves_is_followed():
    texts, _ = sums(2000)
    posterior, ids = model(texts, window=128), list(texts)
    for step in range(60):
        visit(posterior, ids[16 * step : 16 * (step + 1)], [0] * 16, 4, step)
    for step in range(60, 120):
        visit(posterior, ids[16 * step : 16 * (step + 1)], [4] * 16, 4, step)
    assert rates(posterior, ids[-50:]).min() > 0.9


def test_the_order_of_a_batch_changes_nothing_and_a_saved_state_goes_on():
    texts, truth = sums(64)
    ids, rng = list(texts), np.random.default_rng(5)
    correct = rng.binomial(4, list(truth.values()))
    order = rng.permutation(len(ids))
    one, other = model(texts), model(texts)
    visit(one, ids, correct, 4)
    visit(other, [ids[i] for i in order], correct[order], 4)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.rho == other.rho
    again = model(texts)
    again.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(rates(again, ids), rates(one, ids))
    with pytest.raises(StateError, match="read into vectors of form 1, here 2"):
        again.load_state_dict(one.state_dict() | {"form": 1})
    with pytest.raises(StateError, match="weights"):
        again.load_state_dict(one.state_dict() | {"weights": np.zeros(3)})


def test_the_number_of_threads_changes_no_bit():
    texts, truth = sums(64)
    ids, correct = list(texts), np.random.default_rng(6).binomial(4, list(truth.values()))
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            posterior = model(texts)
            for step in range(4):
                visit(posterior, ids[16 * step :][:16], correct[16 * step :][:16], 4, step)
        found.append(posterior.weights)
    np.testing.assert_array_equal(found[1:], [found[0]] * 2)


def test_options_out_of_range_are_named():
    for options, message in (({"window": 0}, "window=0"), ({"ageing": 0.0}, "ageing=0")):
        with pytest.raises(OptionError, match=message):
            TextPosterior(PromptTable(), TextFeatures(), **options)


def test_each_prior_is_to_the_last_bit_that_of_the_prompt_alone():
    texts = {f"s{i % 3}/{i}": f"add {i} and {7 * i}" for i in range(300)}
    posterior, ids = model(texts), list(texts)
    visit(posterior, ids[:20], [0, 4] * 10, 4)
    a, b = posterior.prior(posterior.own.table.look_up(ids))
    for place, prompt_id in reversed(list(enumerate(ids))):
        alone = posterior.prior(posterior.own.table.look_up([prompt_id]))
        assert (float(alone[0][0]), float(alone[1][0])) == (a[place], b[place])


def test_logits_are_the_products_of_inputs_and_weights():
    """Also of values that a half holds less exactly (below 2^-14), of none, and of no source."""
    texts = {f"s{i % 3}/{i}": f"add {i} and {7 * i}" for i in range(150)}
    texts |= {"loose": "x", "s/e": ""}
    features, rng = TextFeatures(), np.random.default_rng(7)
    features.describe(list(texts), list(texts.values()))
    features._vectors[3, :40] = np.linspace(-1e-4, 1e-4, 40)
    features._vectors[4, :3] = (1.0, -1.0, 6e-8)
    rows = features.rows_of(PromptTable().look_up(list(texts)))
    weights = rng.normal(size=INPUTS)
    expected = features.inputs(rows) @ weights
    np.testing.assert_allclose(features.logits(rows, weights), expected, rtol=0.0, atol=1e-14)
