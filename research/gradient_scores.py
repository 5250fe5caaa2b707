"""What gradients are measured on (a model, prompts, the run's sampler and verifier), and scores on
the real model.

The score of a rollout y of prompt x is s = grad log pi(y | x), summed over its tokens (the end
token included), with respect to all trainable weights. A policy gradient is a combination of
scores, so the inner products of one prompt's scores hold every variance that any advantage gives; a
batch's gradient needs one backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from transformers import PreTrainedModel

from gdro.config import TrainConfig, load_config
from gdro.core.errors import RunError
from gdro.core.types import Floats, Ints
from gdro.data.prompts import Prompt
from gdro.engines.trl.evaluation import sample
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.shared_prefix import pack
from gdro.runs.folder import RunFolder
from gdro.runs.policy import Policy
from gdro.runs.prepare import prepare
from gdro.runs.progress import Progress
from gdro.verify import Verifier

Tokens = list[list[int]]
STEP = 0.02
"""Length of the step to each side, over all weights, of a slope along a direction."""
PROMPTS_AT_ONCE = 16
"""Prompts of one pass that reads each prompt once."""


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
        return Setting(
            self.config, self.policy, self.verifier, self.prompts[chosen], self.encoded[chosen]
        )

    def draw(self, counts: int | Ints, seed: int) -> Groups:
        """Sample and score rollouts, as training does; the same for the same seed.

        Args:
            counts: (M,) rollouts of each prompt, or one number for all.
        """
        config, tokenizer = self.config, self.policy.tokenizer
        ends = self.policy.model.generation_config.eos_token_id
        options = SamplingOptions(
            config.lengths.completion,
            tuple(
                {tokenizer.eos_token_id, *([] if ends is None else np.atleast_1d(ends).tolist())}
            ),
            tokenizer.pad_token_id,
            config.temperature,
            config.top_k,
            config.top_p,
        )
        wanted = [int(count) for count in np.broadcast_to(counts, len(self.encoded))]
        tokens = sample(self.policy.model, self.encoded, wanted, options, seed=seed)
        texts = [tokenizer.decode(row, skip_special_tokens=True) for rows in tokens for row in rows]
        asked = [
            prompt for prompt, count in zip(self.prompts, wanted, strict=True) for _ in range(count)
        ]
        rewards = np.array(self.verifier.score(asked, texts), np.float64)
        if not self.config.verifier.partial_credit:
            rewards = (rewards >= self.config.correct_threshold).astype(np.float64)
        return Groups(tokens, np.split(rewards, np.cumsum(wanted)[:-1]))


@contextmanager
def open_setting(
    model: str, recipe: str | None, overrides: Sequence[str], count: int, seed: int
) -> Iterator[Setting]:
    """`count` training prompts drawn without replacement by `seed`, and a model to answer them.

    Args:
        model: a Hugging Face folder or name, `tiny`, or the folder of a finished run (its model
            with its settings).
        recipe: settings whose data, verifier and generation are used; a run's own when None.

    Raises:
        RunError: no such model, a run without a trained one, or fewer training prompts than
            `count`.
    """
    run = RunFolder(Path(model))
    if run.config.is_file():
        if not run.model.is_dir():
            raise RunError(
                f"{model} is a run without a trained model yet; finish it with: gdro train --resume"
                f" {model}"
            )
        config = load_config(recipe or run.config, [*overrides, f"model={run.model}"])
    else:
        config = load_config(recipe, [*overrides, f"model={model}"])
    found, policy, verifier = prepare(config, Progress(0, live=False))
    with closing(verifier):
        if not 1 <= count <= len(found.train):
            raise RunError(
                f"{count} prompts asked for, there are {len(found.train)} training prompts; ask for"
                " fewer"
            )
        chosen = np.random.default_rng((seed, count)).permutation(len(found.train))[:count]
        prompts = [found.train[place] for place in chosen.tolist()]
        config = config.for_model(policy.context)
        yield Setting(
            config, policy, verifier, prompts, [policy.encode(prompt) for prompt in prompts]
        )


def by_source(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Prompts by their sources, which are in the order of their names."""
    names = sorted({prompt.source for prompt in prompts})
    return {name: [prompt for prompt in prompts if prompt.source == name] for name in names}


def drawn_evenly(prompts: dict[str, list[Prompt]], count: int, seed: int) -> list[Prompt]:
    """`count` prompts, as many from each source or one more, without replacement; all of a source
    that has fewer."""
    random = np.random.default_rng(seed)
    shares = np.full(len(prompts), count // len(prompts))
    shares[random.permutation(len(prompts))[: count % len(prompts)]] += 1
    return [
        own[place]
        for own, share in zip(prompts.values(), shares.tolist(), strict=True)
        for place in np.sort(random.permutation(len(own))[:share]).tolist()
    ]


def score_gram(
    model: PreTrainedModel,
    prompt: Sequence[int],
    completions: Tokens,
    temperature: float = 1.0,
    rows: int = 32,
    scale: torch.Tensor | None = None,
) -> Floats:
    """(N, N) inner products of the scores of N completions of one prompt.

    Args:
        model: a causal language model whose layers vmap knows.
        prompt: token ids, not empty.
        completions: N lists of token ids, none empty.
        temperature: divisor of the logits, as in sampling.
        rows: completions that are differentiated together.
        scale: (D,) factor of each coordinate, in the order of the weights; None for 1.

    Returns:
        float64: float32 products within a weight, summed over weights in float64.
    """
    start = len(prompt)
    weights = {
        name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad
    }

    def log_probability(
        weights: dict[str, torch.Tensor], ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        output = functional_call(model, weights, (), {"input_ids": ids[None], "use_cache": False})
        return _log_probabilities(output.logits, ids[None], mask[None], temperature)[0]

    ids, mask = _padded(
        [[*prompt, *completion] for completion in completions], [start] * len(completions), model
    )
    scores: dict[str, list[torch.Tensor]] = {name: [] for name in weights}
    differentiate = vmap(grad(log_probability), in_dims=(None, 0, 0))
    with _plain_attention(model):
        for at in range(0, len(ids), rows):
            for name, part in differentiate(
                weights, ids[at : at + rows], mask[at : at + rows]
            ).items():
                scores[name].append(part.flatten(1))
    total = torch.zeros(len(ids), len(ids), dtype=torch.float64, device=model.device)
    scales = (
        [None] * len(scores)
        if scale is None
        else torch.split(scale, [weight.numel() for weight in weights.values()])
    )
    for parts, factor in zip(scores.values(), scales, strict=True):
        whole = torch.cat(parts) if factor is None else torch.cat(parts) * factor
        total += (whole @ whole.T).double()
    return total.cpu().numpy()


def batch_gradients(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Tokens],
    coefficients: Floats,
    temperature: float = 1.0,
    rows: int = 512,
) -> torch.Tensor:
    """(K, D) float32 sums of c_kj s_j over the R rollouts of a batch, for K sets of coefficients.

    Args:
        prompts: M prompts as token ids.
        completions: for each of them its completions as token ids, R in total.
        coefficients: (K, R), in the order of the completions. A rollout with zeros only is left
            out: it adds nothing.
        rows: rollouts in one forward pass.
    """
    texts = [
        [*prompt, *row] for prompt, found in zip(prompts, completions, strict=True) for row in found
    ]
    starts = [
        len(prompt) for prompt, found in zip(prompts, completions, strict=True) for _ in found
    ]
    live = np.flatnonzero(coefficients.any(axis=0)).tolist()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    total = torch.zeros(
        len(coefficients), sum(weight.numel() for weight in weights), device=model.device
    )
    for at in range(0, len(live), rows):
        chosen = live[at : at + rows]
        ids, mask = _padded([texts[row] for row in chosen], [starts[row] for row in chosen], model)
        logits = model(input_ids=ids, use_cache=False).logits
        per_row = _log_probabilities(logits, ids, mask, temperature)
        for number, row in enumerate(coefficients[:, chosen]):
            goal = per_row @ torch.as_tensor(row, dtype=per_row.dtype, device=per_row.device)
            parts = torch.autograd.grad(goal, weights, retain_graph=number + 1 < len(coefficients))
            total[number] += torch.cat([part.flatten() for part in parts])
    return total


def log_probabilities(setting: Setting, groups: Groups, chosen: Sequence[int]) -> torch.Tensor:
    """(R,) log-probability of every rollout of the chosen prompts, in their order."""
    model = setting.policy.model
    columns = max(len(row) for place in chosen for row in groups.tokens[place])
    width = max(len(setting.encoded[place]) for place in chosen)
    rows = [
        (width - len(prompt), [*prompt, *row], columns - len(row))
        for place, prompt in ((place, setting.encoded[place]) for place in chosen)
        for row in groups.tokens[place]
    ]
    ids = torch.tensor([[0] * left + row + [0] * right for left, row, right in rows])
    mask = torch.tensor([[0] * left + [1] * len(row) + [0] * right for left, row, right in rows])
    packed = pack(ids.to(model.device), mask.to(model.device), columns)
    inputs = packed.model_inputs(model.config._attn_implementation, model.dtype)
    labels = inputs.pop("shift_labels").clamp(min=0)
    logits = model(**inputs, use_cache=False).logits.float() / setting.config.temperature
    found = torch.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0]
    return packed.unpack(found).sum(1)


def live(groups: Groups) -> list[int]:
    """The prompts whose rewards differ: only they have a gradient, or a slope."""
    return [place for place, rewards in enumerate(groups.rewards) if np.ptp(rewards) > 0.0]


def rate_gradient(setting: Setting, groups: Groups, chosen: Sequence[int]) -> list[torch.Tensor]:
    """Gradient of the mean success rate of the chosen prompts, for each weight: of each prompt the
    covariance of reward and score."""
    weights = trained(setting.policy.model)
    total = [torch.zeros_like(weight) for weight in weights]
    worth = [place for place in live(groups) if place in set(chosen)]
    for at in range(0, len(worth), PROMPTS_AT_ONCE):
        part = worth[at : at + PROMPTS_AT_ONCE]
        centred = np.concatenate(
            [
                (found - found.mean()) / (len(found) - 1)
                for found in (groups.rewards[i] for i in part)
            ]
        )
        factor = torch.as_tensor(centred / len(chosen), dtype=torch.float32)
        with torch.enable_grad():
            goal = log_probabilities(setting, groups, part) @ factor.to(weights[0].device)
            for sum_, more in zip(total, torch.autograd.grad(goal, weights), strict=True):
                sum_ += more
    return total


def rate_slopes(setting: Setting, groups: Groups, along: Sequence[torch.Tensor]) -> Floats:
    """(2, M) slope of each prompt's success rate along a direction, from either half of its
    rollouts: two independent estimates without bias, 0 where all rewards agree. The unit is that of
    a direction of length 1."""
    weights, halves = trained(setting.policy.model), np.zeros((2, len(groups.tokens)))
    length = float(torch.sqrt(sum((part.double() ** 2).sum() for part in along)))  # type: ignore[call-overload]
    worth = live(groups)
    if length == 0.0 or not worth:
        return halves
    ends = []
    for side in (STEP, -STEP):
        with moved(weights, along, side / length), torch.no_grad():
            found = [
                log_probabilities(setting, groups, worth[at : at + PROMPTS_AT_ONCE])
                for at in range(0, len(worth), PROMPTS_AT_ONCE)
            ]
        ends.append(torch.cat(found).double().cpu().numpy())
    score = (ends[0] - ends[1]) / (2.0 * STEP)
    sizes = [len(groups.rewards[place]) for place in worth]
    for place, own in zip(worth, np.split(score, np.cumsum(sizes)[:-1]), strict=True):
        rewards, middle = groups.rewards[place], len(own) // 2
        for half, part in enumerate((slice(0, middle), slice(middle, None))):
            halves[half, place] = np.cov(rewards[part], own[part])[0, 1]
    return halves


def trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that are trained."""
    return [weight for weight in model.parameters() if weight.requires_grad]


@contextmanager
def moved(
    weights: Sequence[torch.nn.Parameter], along: Sequence[torch.Tensor], by: float
) -> Iterator[None]:
    """The weights a step along a direction; afterwards what they were, to the last bit."""
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, part in zip(weights, along, strict=True):
            weight.add_(part, alpha=by)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def _padded(
    texts: Sequence[Sequence[int]], starts: Sequence[int], model: PreTrainedModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, T) ids filled up on the right, where a causal model never looks back from, and 1 at
    completion tokens."""
    width = max(len(text) for text in texts)
    ids = [[*text, *[0] * (width - len(text))] for text in texts]
    mask = [
        [0.0] * start + [1.0] * (len(text) - start) + [0.0] * (width - len(text))
        for text, start in zip(texts, starts, strict=True)
    ]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


def _log_probabilities(
    logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """(R,) log-probability of the masked tokens of each row."""
    tokens = torch.log_softmax(logits[:, :-1].float() / temperature, -1).gather(
        -1, ids[:, 1:, None]
    )[..., 0]
    return (tokens * mask[:, 1:]).sum(1)


@contextmanager
def _plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention as matrix products, which vmap batches; the fused kernels are run row by row
    there."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
