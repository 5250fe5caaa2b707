"""Prompts as a model gets them: plain text through its tokenizer, messages through its chat
template.

Every count, every training rollout and every evaluation goes through `encode`, so that all of them
see the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdro.core.errors import DataError
from gdro.data.prompts import Message, Prompt, shown
from gdro.data.thinking import is_open

Messages = str | Sequence[Message]
TemplateValues = Mapping[str, Any]
"""Variables of the chat template, JSON values (`{"enable_thinking": False}`)."""


@dataclass(frozen=True)
class Shape:
    """How a plain-text prompt is put to the model; chat messages are taken as they are.

    Attributes:
        template: text with `{prompt}` in it exactly once, or None.
        chat: make it one user message, so that the model's chat template applies.
        system_prompt: a system message in front of every chat, or None; needs `chat` for prompts
            that are text.
    """

    template: str | None = None
    chat: bool = False
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.template is not None and self.template.count("{prompt}") != 1:
            raise DataError(f"template {shown(self.template)}: must hold {{prompt}} exactly once")

    def apply(self, messages: str | list[Message], place: str) -> str | list[Message]:
        """`messages` as the model gets them.

        Raises:
            DataError: a system prompt meets plain text that stays plain, or a chat that has a
                system message of its own, or a template meets a chat; `place` names the row.
        """
        if isinstance(messages, str):
            whole = (
                messages if self.template is None else self.template.replace("{prompt}", messages)
            )
            if not self.chat:
                if self.system_prompt is not None:
                    raise DataError(f"{place}: plain text takes no system_prompt; set chat to true")
                return whole
            messages = [{"role": "user", "content": whole}]
        elif self.template is not None:
            raise DataError(
                f"{place}: a chat takes no template; leave data.template out, or give the prompt"
                " as text"
            )
        if self.system_prompt is None:
            return messages
        if messages[0]["role"] == "system":
            raise DataError(
                f"{place}: has a system message of its own beside system_prompt; remove one of"
                " the two"
            )
        return [{"role": "system", "content": self.system_prompt}, *messages]


def encode(messages: Messages, tokenizer: Any, values: TemplateValues | None = None) -> list[int]:
    """Token ids of a prompt up to where the completion starts.

    Args:
        messages: plain text, tokenized as it is, or a chat, rendered by the tokenizer's chat
            template.
        tokenizer: a Hugging Face tokenizer.
        values: variables of the chat template, e.g. `{"enable_thinking": False}`.

    Raises:
        DataError: a chat meets a tokenizer without a template, or the template refuses the
            messages.
    """
    if isinstance(messages, str):
        return list(tokenizer(messages)["input_ids"])
    return list(
        _rendered(messages, tokenizer, values, tokenize=True, return_dict=True)["input_ids"]
    )


def render(messages: Messages, tokenizer: Any, values: TemplateValues | None = None) -> str:
    """The prompt's text, special tokens written out; arguments and errors as `encode`."""
    if isinstance(messages, str):
        return messages
    return str(_rendered(messages, tokenizer, values, tokenize=False))


def opens_thinking(
    messages: Messages, tokenizer: Any, values: TemplateValues | None = None
) -> bool:
    """Whether the rendered prompt ends inside a thinking part, which the completion then has to
    close."""
    return is_open(render(messages, tokenizer, values))


def check_chats(
    prompts: Sequence[Prompt], tokenizer: Any, values: TemplateValues | None = None
) -> str | None:
    """Look at the prompts and the tokenizer's chat template together, before anything is made.

    Returns:
        What a person should know, in one sentence: a chat model gets plain text. None if there is
            nothing.

    Raises:
        DataError: `values` names a variable that the template does not use, or there is no chat to
            use it.
    """
    plain = [prompt for prompt in prompts if isinstance(prompt.messages, str)]
    if values:
        _check_values(values, tokenizer, chats=len(plain) < len(prompts))
    if not plain or not tokenizer.chat_template:
        return None
    asked = str(plain[0].messages)
    as_chat = encode([{"role": "user", "content": asked}], tokenizer)
    if as_chat == encode(asked, tokenizer):
        return None
    return (
        "the model's tokenizer has a chat template and the prompts are plain text, which most chat "
        "models answer badly; set data.chat=true to send them as messages"
    )


def _check_values(values: TemplateValues, tokenizer: Any, *, chats: bool) -> None:
    name = next(iter(values))
    if not chats:
        raise DataError(
            f"data.chat_template_kwargs.{name}: the prompts are plain text; set data.chat=true"
        )
    # none at all is `encode`'s error; several named ones are unknown
    if not isinstance(tokenizer.chat_template, str):
        return
    from jinja2 import Environment, meta

    known = meta.find_undeclared_variables(Environment().parse(_parsable(tokenizer.chat_template)))
    for name in values:
        if name not in known:
            raise DataError(
                f"data.chat_template_kwargs.{name}: the model's chat template has no such variable;"
                f" it has {', '.join(sorted(known - _ALWAYS)) or 'none to set'}"
            )


_ALWAYS = {
    "messages",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "raise_exception",
    "strftime_now",
    "namespace",
}


def _parsable(template: str) -> str:
    """Without the blocks of transformers that plain jinja does not know."""
    for word in ("generation", "endgeneration"):
        for opening, closing in (("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")):
            template = template.replace(f"{opening} {word} {closing}", "")
    return template


def _rendered(messages: Messages, tokenizer: Any, values: TemplateValues | None, **how: Any) -> Any:
    from jinja2 import TemplateError

    chat = [dict(message) for message in messages if not isinstance(message, str)]
    if tokenizer.chat_template is None:
        raise DataError(
            "the prompts are chats and the model's tokenizer has no chat template; use plain-text"
            " prompts (data.chat: false) or a chat model"
        )
    try:
        return tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, **how, **(values or {})
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in chat)
        raise DataError(
            f"the model's chat template refuses a prompt with the roles {roles} ({error}); put what"
            " the system message says into the user's, or take another model"
        ) from error
