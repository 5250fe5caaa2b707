"""A tiny task, model and tokenizer: the reward is 1 when the first generated token is below a
prompt's threshold."""

from __future__ import annotations

import json
import os
from pathlib import Path

REWARD_LOG = "GDRO_TEST_REWARD_LOG"
WORDS = 16


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """Reward of one completion; every call is written down, so that a test can replay it."""
    good = [f"w{place}" for place in range(int(ground_truth))]
    score = float(solution_str.split()[:1] in [[word] for word in good])
    line = json.dumps({"id": f"{data_source}/{extra_info['index']}", "score": score}) + "\n"
    with open(os.environ[REWARD_LOG], "a") as log:
        log.write(line)
    return score


def write_task(folder: Path, prompts: int) -> None:
    """A parquet file in verl's schema, with thresholds from hard to easy."""
    import pandas

    rows = [
        {
            "data_source": "toy",
            "prompt": [{"role": "user", "content": f"w{place % WORDS}"}],
            "reward_model": {"style": "rule", "ground_truth": str(1 + place * 2 % WORDS)},
            "extra_info": {"index": f"p{place}", "split": "train"},
        }
        for place in range(prompts)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "train.parquet")


def write_model(folder: Path) -> None:
    """A random two-layer model over 16 words, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {f"w{place}": place for place in range(WORDS)} | {
        "<pad>": 16,
        "<eos>": 17,
        "<unk>": 18,
        "<user>": 19,
    }
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **special)
    tokenizer.chat_template = "{% for m in messages %}<user> {{ m['content'] }} <eos> {% endfor %}"
    tokenizer.save_pretrained(folder)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "max_position_embeddings": 256,
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=20, eos_token_id=17, pad_token_id=16, tie_word_embeddings=False, **sizes, **heads
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
