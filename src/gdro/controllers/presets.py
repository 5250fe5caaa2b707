"""Methods by name: each a function that chains parts, with its vetted options.

The first sentence of a docstring is what help texts say. An option that is not here is one of a
part: see `Parts`, and docs/controllers.md for how settings reach it.
"""

from __future__ import annotations

from collections.abc import Callable

from gdro.controllers.contrib.adarft import AdaRFT
from gdro.controllers.contrib.boltzmann import DUMP, SEC
from gdro.controllers.contrib.categories import Category
from gdro.controllers.contrib.centred import BBG, CurveRL, MaxRL
from gdro.controllers.contrib.daro import DARO, Corrected
from gdro.controllers.contrib.dppo import DPPO
from gdro.controllers.contrib.gains import HORA, VIP, Knapsack, Neyman, Variance
from gdro.controllers.contrib.greso import GRESO
from gdro.controllers.contrib.mopps import MoPPS
from gdro.controllers.contrib.mt_grpo import MTGRPO, Improvement, StepRule
from gdro.controllers.parts import Parts
from gdro.controllers.parts.allocators import RandomRagged, ShadowPrice, SqrtLaw
from gdro.controllers.parts.baselines import Posterior
from gdro.controllers.parts.estimators import (
    Classifier,
    PromptPosterior,
    SourcePosterior,
    TextPosterior,
)
from gdro.controllers.parts.selectors import Live
from gdro.controllers.parts.weighers import BinAdversary, Weights
from gdro.core.adversaries import AdversaryName
from gdro.core.pruning import Design
from gdro.core.shadow_price import Utility
from gdro.core.signals import Signal

Bins = int | list[float]
Preset = Callable[..., Parts]


def uniform(*, bins: Bins = 10) -> Parts:
    """Plain GRPO: equal rollouts, weight 1. It still bins prompts, so its runs show the same
    diagnostics."""
    return Parts(estimator=Classifier(bins=bins))


def prompt_gdro(
    *,
    bins: Bins = 10,
    signal: Signal = "failure",
    adversary: AdversaryName = "ema_hedge",
    eta: float | None = None,
    weights: Weights = "mean_one_live",
) -> Parts:
    """Weighs: a data adversary over difficulty bins (arXiv 2601.19280, eqs. 12-16)."""
    weigher = BinAdversary(signal=signal, adversary=adversary, eta=eta, weights=weights)
    return Parts(estimator=Classifier(bins=bins), weigher=weigher)


def posterior_gdro(
    *, bins: Bins = 10, signal: Signal = "failure", eta: float | None = None
) -> Parts:
    """Weighs by a posterior of source, history and this visit, so that a first visit counts."""
    return Parts(
        estimator=SourcePosterior(bins=bins),
        weigher=BinAdversary(signal=signal, eta=eta, by="after"),
    )


def live_gdro(
    *,
    bins: Bins = 10,
    eta: float | None = None,
    size_power: float = 0.75,
    explore: float = 0.1,
    repeats: float | None = 5.0,
    pace: float | None = None,
) -> Parts:
    """Selects: the data adversary chooses prompts likely to have a gradient, before any rollout."""
    return Parts(
        estimator=SourcePosterior(bins=bins),
        selector=Live(size_power=size_power, explore=explore, repeats=repeats, pace=pace),
        weigher=BinAdversary(eta=eta, by="after", acts="selection"),
        baseline=Posterior(),
    )


def text_gdro(
    *,
    bins: Bins = 10,
    eta: float | None = None,
    size_power: float = 0.25,
    explore: float = 0.1,
    repeats: float | None = 5.0,
    pace: float | None = 0.0005,
    token_power: float = 0.0,
) -> Parts:
    """Selects as live_gdro does, and reads the prompts' texts, so that nobody has to name sources:
    the default of every engine."""
    selector = Live(
        size_power=size_power,
        explore=explore,
        repeats=repeats,
        pace=pace,
        token_power=token_power,
    )
    live = live_gdro(bins=bins, eta=eta)
    return live.having(estimator=TextPosterior(bins=bins), selector=selector)


def rollout_gdro(
    *,
    bins: Bins = 10,
    utility: Utility = "variance",
    arm_eta: float = 16.0,
    arm_ema: float = 0.4,
) -> Parts:
    """Allots: a compute adversary with a shadow price (arXiv 2601.19280, eqs. 17-21)."""
    allocator = ShadowPrice(utility=utility, arm_eta=arm_eta, arm_ema=arm_ema)
    return Parts(estimator=Classifier(bins=bins), allocator=allocator)


def joint(
    *,
    bins: Bins = 10,
    signal: Signal = "failure",
    adversary: AdversaryName = "ema_hedge",
    eta: float | None = None,
    weights: Weights = "mean_one_live",
    coupled: bool = True,
) -> Parts:
    """Weighs and allots: both games on one classifier, rollouts by weight x standard deviation."""
    return Parts(
        estimator=Classifier(bins=bins),
        allocator=ShadowPrice(coupled=coupled),
        weigher=BinAdversary(signal=signal, adversary=adversary, eta=eta, weights=weights),
    )


def sqrt_law(*, bins: Bins = 10, ema: float = 0.4) -> Parts:
    """Allots by the square-root law in closed form (arXiv 2601.19280, eqs. 28-31)."""
    return Parts(estimator=Classifier(bins=bins), allocator=SqrtLaw(ema=ema))


def paper_prompt(
    *, bins: Bins = 10, eta: float = 0.65, beta: float = 0.12, omega_max: float = 15.0
) -> Parts:
    """Weighs: Prompt-GDRO with the values of arXiv 2601.19280."""
    weigher = BinAdversary(
        signal="surrogate",
        eta=eta,
        beta=beta,
        weights="omega",
        omega_max=omega_max,
        share_floor=0.01,
    )
    return Parts(estimator=_papers_classifier(bins), weigher=weigher)


def paper_rollout(
    *, bins: Bins = 10, arm_eta: float = 0.65, arm_ema: float = 0.4, price_step: float = 0.05
) -> Parts:
    """Allots: Rollout-GDRO with the values of arXiv 2601.19280."""
    allocator = ShadowPrice(
        utility="surrogate", coupled=False, arm_eta=arm_eta, arm_ema=arm_ema, price_step=price_step
    )
    return Parts(estimator=_papers_classifier(bins), allocator=allocator)


def paper(
    *,
    bins: Bins = 10,
    eta: float = 0.65,
    beta: float = 0.12,
    omega_max: float = 15.0,
    arm_eta: float = 0.65,
    arm_ema: float = 0.4,
    price_step: float = 0.05,
) -> Parts:
    """Weighs and allots: both games with the values of arXiv 2601.19280, side by side."""
    return Parts(
        estimator=_papers_classifier(bins),
        weigher=paper_prompt(bins=bins, eta=eta, beta=beta, omega_max=omega_max).weigher,
        allocator=paper_rollout(
            bins=bins, arm_eta=arm_eta, arm_ema=arm_ema, price_step=price_step
        ).allocator,
    )


def _papers_classifier(bins: Bins) -> Classifier:
    return Classifier(bins=bins, statistic="any_of_n", window=50)


def neyman(*, prior: float = 0.5, decay: float = 0.9) -> Parts:
    """Allots by the standard deviation of each prompt's own reward (Neyman, 1934)."""
    return Parts(estimator=PromptPosterior(prior=prior, decay=decay), allocator=Neyman())


def knapsack(*, prior: float = 0.5, decay: float = 0.9) -> Parts:
    """Allots: Knapsack RL (arXiv 2509.25849)."""
    return Parts(estimator=PromptPosterior(prior=prior, decay=decay), allocator=Knapsack())


def vip(*, prior: float = 0.5, decay: float = 0.9, form: Variance = "rloo") -> Parts:
    """Allots: VIP's gradient variance (arXiv 2602.01601)."""
    return Parts(estimator=PromptPosterior(prior=prior, decay=decay), allocator=VIP(form=form))


def hora(*, prior: float = 1.0, decay: float = 0.9) -> Parts:
    """Allots by hit utility on what earlier visits showed (arXiv 2605.07114)."""
    return Parts(estimator=PromptPosterior(prior=prior, decay=decay), allocator=HORA())


def random_ragged() -> Parts:
    """Allots at random with the exact total: the control that an informed method must beat."""
    return Parts(allocator=RandomRagged())


def greso(
    *,
    keep_easy: float = 0.5,
    keep_hard: float = 0.5,
    rate_step: float = 0.01,
    target_dead: float = 0.25,
) -> Parts:
    """Selects: skips prompts that gave no gradient (arXiv 2506.02177)."""
    return Parts(
        selector=GRESO(
            keep_easy=keep_easy,
            keep_hard=keep_hard,
            rate_step=rate_step,
            target_dead=target_dead,
        )
    )


def mopps(*, prior: float = 1.0, decay: float = 0.5, target: float = 0.5) -> Parts:
    """Selects success rates near one half by Thompson sampling (arXiv 2507.04632)."""
    return Parts(estimator=PromptPosterior(prior=prior, decay=decay), selector=MoPPS(target=target))


def sec(
    *,
    bins: Bins = 10,
    category: Category = "bin",
    temperature: float = 1.0,
    value_step: float = 0.5,
) -> Parts:
    """Selects: a bandit over categories (arXiv 2505.14970)."""
    selector = SEC(category=category, temperature=temperature, value_step=value_step)
    return Parts(estimator=Classifier(bins=bins), selector=selector)


def mt_grpo(
    *,
    bins: Bins = 10,
    category: Category = "source",
    reward_weight: float = 0.2,
    step_size: float = 0.025,
    improvement: Improvement = "accuracy",
    step_rule: StepRule = "adam",
) -> Parts:
    """Selects: tasks that are weak and improve little get more (MT-GRPO, arXiv 2602.05547)."""
    selector = MTGRPO(
        category=category,
        reward_weight=reward_weight,
        step_size=step_size,
        improvement=improvement,
        step_rule=step_rule,
    )
    return Parts(estimator=Classifier(bins=bins), selector=selector)


def dppo(*, prune: float = 0.5, design: Design = "systematic") -> Parts:
    """Selects: prunes prompts of small advantage at random, unbiased (arXiv 2603.04135)."""
    return Parts(selector=DPPO(prune=prune, design=design))


def dump(
    *, bins: Bins = 10, category: Category = "bin", temperature: float = 0.1, span: int = 300
) -> Parts:
    """Selects: upper confidence bounds over categories (arXiv 2504.09710)."""
    selector = DUMP(category=category, temperature=temperature, span=span)
    return Parts(estimator=Classifier(bins=bins), selector=selector)


def adarft(
    *, target_reward: float = 0.5, sensitivity: float = 2.0, target_step: float = 50.0
) -> Parts:
    """Selects prompts nearest to a moving target difficulty (arXiv 2504.05520)."""
    return Parts(
        selector=AdaRFT(
            target_reward=target_reward, sensitivity=sensitivity, target_step=target_step
        )
    )


def daro(*, bins: Bins = 10, advantage: Corrected | None = None) -> Parts:
    """Weighs so that groups of like success rate contribute alike (arXiv 2510.09001)."""
    return Parts(estimator=Classifier(bins=bins), weigher=DARO(advantage=advantage))


def maxrl(*, advantage: Corrected | None = None, ddof: int | None = None) -> Parts:
    """Weighs so that the advantage becomes (r - mean) / mean (arXiv 2602.02710)."""
    return Parts(weigher=MaxRL(advantage=advantage, ddof=ddof))


def bbg(
    *,
    pass_k: int | None = None,
    gate: float = 0.01,
    advantage: Corrected | None = None,
    ddof: int | None = None,
) -> Parts:
    """Weighs by the posterior mean slope of pass@k (BBG, arXiv 2606.15455)."""
    return Parts(weigher=BBG(pass_k=pass_k, gate=gate, advantage=advantage, ddof=ddof))


def curverl(
    *, window: int = 10, advantage: Corrected | None = None, ddof: int | None = None
) -> Parts:
    """Weighs by the rank of a success rate among those of late (CurveRL, arXiv 2605.24331)."""
    return Parts(weigher=CurveRL(window=window, advantage=advantage, ddof=ddof))


PRESETS: dict[str, Preset] = {
    preset.__name__: preset
    for preset in (
        uniform,
        prompt_gdro,
        posterior_gdro,
        live_gdro,
        text_gdro,
        rollout_gdro,
        joint,
        sqrt_law,
        paper,
        paper_prompt,
        paper_rollout,
        neyman,
        knapsack,
        vip,
        hora,
        greso,
        mopps,
        sec,
        dump,
        mt_grpo,
        dppo,
        adarft,
        daro,
        maxrl,
        bbg,
        curverl,
        random_ragged,
    )
}
"""All presets, by name."""
