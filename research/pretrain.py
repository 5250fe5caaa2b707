"""Train the base model from nothing: `python research/pretrain.py --output DIR`.

One thread, one seed, no data but what reasoning-gym generates; the same seed on the same kind of
machine gives the same bytes. The loss is on the answers alone. Left out on purpose: mixed
precision, checkpoints and early stopping.

Its tokenizer is byte-level BPE; digits and spelled letters are tokens of their own. The questions
are fixed sentences around a few numbers, so merges run over spaces: a whole sentence is one or two
tokens and a prompt is short. Any text can be encoded, byte by byte if need be.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from demonstrations import TEACHING, demonstrations
from gdro.data.reasoning_gym import Cell
from gdro.tiny.mixture import DEFAULT_MIXTURE

Example = tuple[list[int], int]
"""Token ids of prompt, answer and end, and the number of prompt tokens."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with optimizers and a schedule of its own: Muon for matrices, AdamW for
    the rest.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak, after a linear warm-up over `warmup` steps; then a cosine to a
            twentieth.
        warmup: steps.
        horizon: steps that the schedule is made for; a phase that stops before it ends at a high
            rate.
        faulty: whether the demonstrations are wrong as often as `TEACHING` says, or never.
    """

    steps: int
    learning_rate: float
    warmup: int
    horizon: int
    faulty: bool

    def rate_at(self, step: int) -> float:
        """The learning rate of 0-based `step`."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.horizon - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class PretrainSettings:
    """All that the weights depend on but the mixture and its teaching; the defaults made the
    shipped model.

    Attributes:
        seed: of the weights, the demonstrations and their order.
        skills: the first phase, on right answers: what the model is able to do.
        faults: the second phase, on partly wrong ones: what it does.
        batch: demonstrations per step, split into `chunks` of like length.
        chunks: forward passes per step.
        tokenizer_texts: demonstrations per cell that the tokenizer is made from.
        vocab_size: most tokens the tokenizer may have.
        hidden, intermediate, layers: model widths and depth.
    """

    seed: int = 0
    skills: Phase = Phase(steps=800, learning_rate=4e-3, warmup=100, horizon=2400, faulty=False)
    faults: Phase = Phase(steps=400, learning_rate=1e-3, warmup=50, horizon=400, faulty=True)
    batch: int = 128
    chunks: int = 4
    tokenizer_texts: int = 300
    vocab_size: int = 768
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4


def pretrain(
    settings: PretrainSettings,
    output: Path,
    cells: Sequence[Cell] = DEFAULT_MIXTURE,
    device: str = "cpu",
) -> str:
    """Train on `device`, save a Hugging Face folder at `output` and return the SHA-256 of its
    `model.safetensors`."""
    torch.set_num_threads(1)
    tokenizer = make_tokenizer(settings, cells)
    model = new_model(
        tokenizer, settings.hidden, settings.intermediate, settings.layers, settings.seed
    )
    model.to(device)
    for phase in (settings.skills, settings.faults):
        train(model, tokenizer, settings, phase, cells)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()


def make_tokenizer(settings: PretrainSettings, cells: Sequence[Cell]) -> PreTrainedTokenizerFast:
    """The tokenizer of the first demonstrations of every cell."""
    texts = [
        text
        for cell in cells
        for pair in islice(demonstrations(cell, settings.seed, True), settings.tokenizer_texts)
        for text in pair
    ]
    return train_tokenizer(texts, settings.vocab_size)


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: PretrainSettings,
    phase: Phase,
    cells: Sequence[Cell],
) -> None:
    """One phase, in place."""
    optimizers = make_optimizers(model)
    batches = example_batches(settings, phase, tokenizer, cells)
    start, running = time.perf_counter(), 0.0
    for step in range(1, phase.steps + 1):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = phase.rate_at(step - 1)
        running += train_step(model, optimizers, next(batches), settings.chunks)
        if step % 100 == 0:
            print(
                f"step {step} loss {running / 100:.4f} seconds {time.perf_counter() - start:.0f}",
                flush=True,
            )
            running = 0.0


def make_optimizers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the layers, at AdamW's step size; AdamW for the
    rest."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (matrices if weight.ndim == 2 and "embed" not in name else rest).append(weight)
    return [
        torch.optim.Muon(matrices, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def example_batches(
    settings: PretrainSettings,
    phase: Phase,
    tokenizer: PreTrainedTokenizerFast,
    cells: Sequence[Cell],
) -> Iterator[list[Example]]:
    """Batches of fresh demonstrations, each from a cell drawn by teaching weight, sorted by
    length."""
    rng = Random(f"{settings.seed}/{phase.faulty}")
    sources = [
        demonstrations(cell, settings.seed + 1 + phase.faulty, phase.faulty) for cell in cells
    ]
    weights = [TEACHING[cell.name].weight for cell in cells]
    while True:
        pairs = [next(source) for source in rng.choices(sources, weights, k=settings.batch)]
        prompts = tokenizer([question for question, _ in pairs]).input_ids
        answers = tokenizer([answer for _, answer in pairs], add_special_tokens=False).input_ids
        examples = [
            ([*prompt, *answer, tokenizer.eos_token_id], len(prompt))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        yield sorted(examples, key=lambda example: len(example[0]))


def train_step(
    model: Qwen3ForCausalLM,
    optimizers: Sequence[torch.optim.Optimizer],
    examples: Sequence[Example],
    chunks: int,
) -> float:
    """One update on the mean cross entropy of the answer tokens, which it returns (nats per
    token)."""
    tokens = sum(len(ids) - prompt for ids, prompt in examples)
    size = math.ceil(len(examples) / chunks)
    total = 0.0
    for start in range(0, len(examples), size):
        loss = answer_loss(model, examples[start : start + size]) / tokens
        torch.autograd.backward(loss)
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return total


def answer_loss(model: Qwen3ForCausalLM, examples: Sequence[Example]) -> torch.Tensor:
    """Summed cross entropy of the answer tokens. Rows are padded on the right, where no token can
    look."""
    width = max(len(ids) for ids, _ in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    # filled where it is cheap, then moved whole
    wanted = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, (tokens, prompt) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        wanted[row, prompt : len(tokens)] = True
    ids, wanted = ids.to(model.device), wanted.to(model.device)
    hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[wanted[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted[:, 1:]], reduction="sum")


LARGER = PretrainSettings(
    hidden=768,
    intermediate=2304,
    layers=5,
    chunks=1,
    skills=Phase(steps=600, learning_rate=1.5e-3, warmup=80, horizon=1800, faulty=False),
    faults=Phase(steps=300, learning_rate=4e-4, warmup=40, horizon=300, faulty=True),
)
"""36.0 M parameters, taught as the embedded model is in three quarters of its steps, since a larger
model learns more from each: a minute on a GPU, hours on a core. results/larger_model was trained
from it; then, 12 minutes on one H100,

    nvidia-cuda-mps-control -d; export NVIDIA_TF32_OVERRIDE=1  # many processes on a GPU, TF32
    gdro compare results/larger_model/plan.yaml --jobs 16      # 50 runs
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=PretrainSettings.seed)
    parser.add_argument("--larger", action="store_true", help="the base of 36 M parameters")
    arguments = parser.parse_args()
    settings = replace(LARGER if arguments.larger else PretrainSettings(), seed=arguments.seed)
    print(settings)
    device = "cuda" if arguments.larger and torch.cuda.is_available() else "cpu"
    print("sha256", pretrain(settings, arguments.output, device=device))


if __name__ == "__main__":
    main()


def new_model(
    tokenizer: PreTrainedTokenizerFast, hidden: int, intermediate: int, layers: int, seed: int
) -> Qwen3ForCausalLM:
    """Freshly drawn fp32 weights for `tokenizer`: heads of 32, two query heads per key head, tied
    embeddings.

    Raises:
        ValueError: `hidden` is not a multiple of 64.
    """
    if hidden % 64:
        raise ValueError(f"hidden must be a multiple of 64, got {hidden}")
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.05,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model


PAD, EOS, ANSWER = "<|pad|>", "<|end|>", "<|answer|>"
"""`<|answer|>` follows every prompt: plain text gets it when encoded, a chat gets it from the
template."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|answer|>{{"
    " message['content'] }}<|end|>{% else %}{{ message['content'] }}{% endif %}{% endfor %}{% if"
    " add_generation_prompt %}<|answer|>{% endif %}"
)
_SINGLE = Regex(r"[0-9]|[A-Za-z](?=[A-Za-z]*\z)|(?<![A-Za-z])[a-z](?=[,\n])")
"""A digit, a letter of the last word, a letter that is an item of a list."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over `texts` with at most `vocab_size` tokens, bytes and special tokens
    included.

    Raises:
        ValueError: `vocab_size` cannot hold every byte and the special tokens.
    """
    if vocab_size < 259:
        raise ValueError(
            f"vocab_size must be at least 259 (256 bytes, 3 special tokens), got {vocab_size}"
        )
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SINGLE, "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, ANSWER],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {ANSWER}", special_tokens=[(ANSWER, core.token_to_id(ANSWER))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
