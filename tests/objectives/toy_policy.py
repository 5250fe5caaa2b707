"""A policy of a few dozen parameters, and batches of ragged groups that it could have sampled."""

import numpy as np
import torch

VOCABULARY = 5


class Toy:
    """Next-token logits from the last token and the question: enough to tell rows apart."""

    def __init__(self, questions, seed=0):
        generator = torch.Generator().manual_seed(seed)
        shape = (questions, VOCABULARY, VOCABULARY)
        self.logits = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.logits.requires_grad_(True)

    def logp(self, group, tokens):
        """(R, T) log-probability of each token after the one before it (0 before the first)."""
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        every = torch.log_softmax(self.logits[group[:, None], before], -1)
        return every.gather(2, tokens[:, :, None])[:, :, 0]


class Batch:
    """Rollouts of ragged groups in a shuffled order, sampled by a policy a little off the toy.

    Attributes: group, tokens, mask, reward, logp_old.
    """

    def __init__(self, sizes, seed=0, drift=0.1, binary=True, longest=6):
        random = np.random.default_rng(seed)
        self.policy = Toy(len(sizes), seed)
        rows = sum(sizes)
        self.group = torch.from_numpy(random.permutation(np.repeat(np.arange(len(sizes)), sizes)))
        self.tokens = torch.from_numpy(random.integers(VOCABULARY, size=(rows, longest)))
        lengths = torch.from_numpy(random.integers(1, longest + 1, size=rows))
        self.mask = (torch.arange(longest) < lengths[:, None]).long()
        rewards = random.integers(2, size=rows) if binary else random.integers(5, size=rows) / 4
        self.reward = torch.from_numpy(rewards.astype(float))
        noise = torch.from_numpy(random.normal(size=(rows, longest)))
        self.logp_old = self.logp().detach() - drift * noise
        self.names = [f"p{number}" for number in range(len(sizes))]

    def logp(self, rows=slice(None)):
        return self.policy.logp(self.group[rows], self.tokens[rows])

    def gradient(self, loss):
        (result,) = torch.autograd.grad(loss, self.policy.logits)
        return result
