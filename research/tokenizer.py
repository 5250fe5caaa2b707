"""The base model's tokenizer: byte-level BPE; digits and spelled letters are tokens of their own.

The questions are fixed sentences around a few numbers, so merges run over spaces: a whole sentence
is one or two tokens and a prompt is short. Any text can be encoded, byte by byte if need be.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

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
