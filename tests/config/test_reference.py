from __future__ import annotations

from pathlib import Path

from gdro.config import TrainConfig
from gdro.config.keys import keys_of, nearest
from gdro.config.reference import COMMON, MARK, full_text, help_text, tables

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8").partition(MARK)[2]
    assert page == tables(), "run: python -m gdro.config.reference"


def test_every_key_is_explained() -> None:
    text, page = full_text(), tables()
    for key in keys_of(TrainConfig):
        assert len(key.meaning) > 10, key.path
        assert f"\n- {key.path}" in text
        assert f"\n- `{key.path}`" in page


def test_the_common_settings_fit_one_screen() -> None:
    lines = help_text().splitlines()
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 120
    assert set(COMMON) <= {key.path for key in keys_of(TrainConfig)}


def test_keys_are_few_and_their_names_are_unique() -> None:
    names = [(key.path, key.kind) for key in keys_of(TrainConfig)]
    assert len(names) == len(set(names))
    assert len([name for name, kind in names if not kind]) <= 65


def test_defaults_shown_are_the_defaults() -> None:
    follow = {"verifier.kind", "controller.name", "max_rollouts"}
    config = TrainConfig(lora={}).model_dump(mode="json")
    for key in keys_of(TrainConfig):
        if not key.kind and key.path not in follow:
            value = config
            for part in key.path.split("."):
                value = value[part]
            texts = {None: "null", True: "true", False: "false"}
            plain = "[" + ", ".join(value) + "]" if isinstance(value, list) else value
            expected = texts[plain] if plain is None or isinstance(plain, bool) else str(plain)
            assert key.default == expected, key.path


def test_nearest() -> None:
    known = ["steps", "seed", "a.every", "b.every", "b.prompts"]
    assert nearest("stesp", known) == "steps"
    assert nearest("b.evry", known) == "b.every"
    assert nearest("c.prompt", known) == "b.prompts"
    assert nearest("qqq", known) is None
