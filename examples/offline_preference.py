"""Offline group preference: train on stored groups of completions and rewards, with nothing sampled
meanwhile.

    python examples/offline_preference.py                        # a minute on one core
    python examples/offline_preference.py --rollouts mine.jsonl  # your own

A line of the file is {"id": ..., "prompt": [tokens], "completion": [tokens], "reward": number}.

1. Without a file the embedded base answers 96 prompts eight times each, into rollouts.jsonl.
2. Reference log-probabilities of all completions, once: the reference need not stay in memory.
3. Steps of `direct_reward`: a pass without a graph gives each rollout's score, `coefficients`
   compares the groups, and micro-batches of like length sum to the gradient of the whole batch.

Printed: how often the policy's score orders two completions of a prompt as their rewards do, and
the mean reward of fresh samples of the same prompts, before and after. One seed: no result.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.data.reasoning_gym import load_mixture, score
from gdro.engines.trl import SamplingOptions, sample
from gdro.objectives import make_objective
from gdro.objectives.batchwise import coefficients, linear_loss
from gdro.objectives.packing import like_length
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE


def answers(model, tokenizer, tasks, each, seed):
    """(prompt, completion, reward) of `each` completions of every task, with its id."""
    prompts = [tokenizer(task.messages)["input_ids"] for task in tasks]
    options = SamplingOptions(32, (tokenizer.eos_token_id,), tokenizer.pad_token_id)
    for task, prompt, group in zip(
        tasks, prompts, sample(model, prompts, each, options, seed=seed), strict=True
    ):
        for completion in group:
            text = tokenizer.decode(completion, skip_special_tokens=True)
            yield {
                "id": task.id,
                "prompt": prompt,
                "completion": completion,
                "reward": score(task, text),
            }


def log_probabilities(model, rows):
    """(R, T) log-probability of each completion token, and the (R, T) mask of those there are."""
    width = max(len(row["prompt"]) + len(row["completion"]) for row in rows)
    longest = max(len(row["completion"]) for row in rows)
    pad = [[0] * (width - len(row["prompt"]) - len(row["completion"])) for row in rows]
    ids = torch.tensor(
        [row["prompt"] + row["completion"] + p for row, p in zip(rows, pad, strict=True)]
    )
    lengths = torch.tensor([len(row["completion"]) for row in rows])
    starts = torch.tensor([len(row["prompt"]) for row in rows])
    places = (starts[:, None] + torch.arange(longest)).clamp(max=width - 1)
    logits = model(ids).logits.gather(
        1, (places - 1)[:, :, None].expand(-1, -1, model.config.vocab_size)
    )
    logp = torch.log_softmax(logits.float(), -1).gather(2, ids.gather(1, places)[:, :, None])[
        :, :, 0
    ]
    return logp, torch.arange(longest) < lengths[:, None]


def micro_batches(rows, count):
    """Rows in batches of like length."""
    return like_length([len(row["prompt"]) + len(row["completion"]) for row in rows], count)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rollouts", type=Path)
    parser.add_argument("--model", default=str(base_path()))
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-5)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(args.model)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tasks = load_mixture(DEFAULT_MIXTURE, args.prompts, seed=0)

    stored = args.rollouts or Path("rollouts.jsonl")
    if args.rollouts is None:
        stored.write_text(
            "".join(json.dumps(row) + "\n" for row in answers(model, tokenizer, tasks, 8, seed=0))
        )
    rows = [json.loads(line) for line in stored.read_text().splitlines()]
    names = list(dict.fromkeys(row["id"] for row in rows))
    group = torch.tensor([names.index(row["id"]) for row in rows])
    reward = torch.tensor([row["reward"] for row in rows])

    objective = make_objective("direct_reward", {"beta": 0.1, "tau": 0.05})
    batches = micro_batches(rows, max(len(rows) // 64, 1))
    model.eval()  # no dropout: policy and reference agree at the start
    with torch.no_grad():
        reference = [
            log_probabilities(model, [rows[place] for place in batch])[0] for batch in batches
        ]
    optimizer = torch.optim.AdamW(model.parameters(), args.lr)
    for step in range(args.steps):
        scores = torch.zeros(len(rows), 2)
        with torch.no_grad():
            for batch, ref in zip(batches, reference, strict=True):
                logp, mask = log_probabilities(model, [rows[place] for place in batch])
                scores[batch] = objective.values(logp, ref, mask)
        found = coefficients(objective, scores, reward, group, names=names)
        for batch, ref in zip(batches, reference, strict=True):
            live = found.has_gradient[batch]
            if live.any():
                chosen = [place for place, keep in zip(batch, live.tolist(), strict=True) if keep]
                logp, mask = log_probabilities(model, [rows[place] for place in chosen])
                width = mask.shape[1]
                own = objective.values(logp, ref[live][:, :width], mask)
                linear_loss(found.each[chosen], own).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == args.steps - 1:
            agreement = found.metrics["rank_agreement"]
            print(
                f"step {step:3d}  loss {found.loss:.4f}  rank agreement {agreement:.3f}", flush=True
            )

    if args.rollouts is None:
        base = AutoModelForCausalLM.from_pretrained(args.model)
        for name, which in (("base", base), ("trained", model)):
            fresh = [row["reward"] for row in answers(which, tokenizer, tasks, 8, seed=1)]
            print(
                f"{name:8} mean reward of {len(fresh)} fresh samples {sum(fresh) / len(fresh):.3f}"
            )


if __name__ == "__main__":
    main()
