from __future__ import annotations

from pathlib import Path

from gdro.runs.config import TrainConfig
from gdro.runs.config_help import help_text, markdown
from gdro.runs.config_keys import all_keys, nearest

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: python -m gdro.runs.config_help > docs/configuration.md"
    )


def test_every_key_is_explained() -> None:
    text = help_text()
    for key in all_keys(TrainConfig):
        assert len(key.meaning) > 10, key.path
        assert f"  {key.path}  [{key.allowed}; " in text
    assert "optimisation.learning_rate  [number > 0; default 1e-06]" in text
    assert "controller.eta  [number]" in text


def test_keys_are_few_and_their_names_are_unique() -> None:
    names = [(key.path, key.kind) for key in all_keys(TrainConfig)]
    assert len(names) == len(set(names))
    assert len([name for name, kind in names if not kind]) <= 60


def test_defaults_shown_are_the_defaults() -> None:
    shown = {key.path: key.default for key in all_keys(TrainConfig) if not key.kind}
    config = TrainConfig(lora={})
    for path in shown:
        value = config.model_dump(mode="json")
        for part in path.split("."):
            value = value[part]
        if path != "verifier.kind":
            texts = {None: "null", True: "true", False: "false"}
            plain = "[" + ", ".join(value) + "]" if isinstance(value, list) else value
            expected = texts[plain] if plain is None or isinstance(plain, bool) else str(plain)
            assert shown[path] == expected, path


def test_nearest() -> None:
    known = ["steps", "seed", "a.every", "b.every", "b.prompts"]
    assert nearest("stesp", known) == "steps"
    assert nearest("b.evry", known) == "b.every"
    assert nearest("c.prompt", known) == "b.prompts"
    assert nearest("qqq", known) is None
