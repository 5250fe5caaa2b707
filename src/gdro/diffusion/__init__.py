"""Group-level direct reward optimisation (arXiv 2601.02036) of flow and diffusion models.

The name GDRO of that paper is a coincidence: there it means Group-level Direct Reward Optimization,
a preference loss on groups of images, and not group distributionally robust optimisation.

    loss = group_direct_reward_loss(err, err_ref, reward, group, beta=250.0, tau=0.05)
    loss.loss.backward()

Needs torch; `gdro diffusion RECIPE`, the trainer, needs the extra gdro[diffusion].
"""

from gdro.core.errors import DiffusionError
from gdro.diffusion.losses import GroupLoss, dgpo_loss, group_direct_reward_loss

__all__ = ["DiffusionError", "GroupLoss", "dgpo_loss", "group_direct_reward_loss"]
