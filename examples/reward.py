"""A reward of one's own, in TRL's keyword style: right, and said in few words.

gdro train examples/chat.yaml
"""


def short_and_right(completions, answer, **kwargs):
    """1 for the right number in a line of at most 40 characters, .5 in a longer one, else 0."""
    rewards = []
    for completion, gold in zip(completions, answer, strict=True):
        said = completion if isinstance(completion, str) else completion[-1]["content"]
        words = said.replace(".", " ").replace(",", " ").split()
        right = bool(words) and words[-1] == gold
        rewards.append(float(right) if len(said) <= 40 else 0.5 * right)
    return rewards
