"""A controller in a training loop of your own: numpy alone, a second to run.

The "policy" is a table of success rates that rise a little wherever it was rewarded. Swap it for
your model: the four calls of the controller stay the same.

    python examples/own_loop.py
"""

import numpy as np

import gdro

generator = np.random.default_rng(0)
success = dict(zip((f"toy/{n}" for n in range(512)), generator.beta(0.5, 1.0, 512), strict=True))
controller = gdro.make_controller("joint", mean_rollouts=4)

for _ in range(200):
    prompt_ids = generator.choice(list(success), 64, replace=False).tolist()
    plan = controller.plan(prompt_ids)  # how many rollouts each prompt gets; 64 * 4 in all
    rewards = [
        generator.binomial(1, success[i], n) for i, n in zip(prompt_ids, plan.rollouts, strict=True)
    ]
    feedback = controller.observe(prompt_ids, rewards)  # what weight each prompt gets
    # each prompt against its own mean, or against what the controller knows of it, times its weight
    advantages = gdro.group_advantages(rewards, feedback=feedback)
    for i, group in zip(prompt_ids, advantages, strict=True):
        step = 0.01 * np.abs(group).mean()
        success[i] = min(success[i] + step * success[i] * (1 - success[i]), 1.0)

gdro.save_state("controller.npz", controller.state_dict())
print("rollouts by bin, hardest first:", np.round(controller.metrics()["rollouts"], 1))
print("weights by bin, hardest first: ", np.round(controller.metrics()["weight"], 2))
