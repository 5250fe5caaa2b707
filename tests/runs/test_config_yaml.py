from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gdro.runs.config import ConfigError, TrainConfig, load_config
from gdro.runs.config_yaml import Settings, apply_overrides, dump_yaml, parse_yaml, read_settings

CASES = int(os.environ.get("GDRO_FUZZ_CASES", "300"))
fuzz = settings(
    derandomize=True, max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6), ("1E5", 1e5), ("-.5", -0.5), ("3.", 3.0), ("3", 3), ("+3", 3), ("010", "010"),
        ("1_000", "1_000"),
        ("0x10", "0x10"), ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("True", "True"), ("true", True),
        ("null", None),
        ("", None), ("~", None), ("2026-11-23", "2026-11-23"), ("'3'", "3"),
        ("[1, a]", [1, "a"]), ("{a: 1}", {"a": 1}),
        ("<<", "<<"), ("e5", "e5"), ("-", [None]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text, "here") == value
    assert type(parse_yaml(text, "here")) is type(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is given twice, first on line 1"),
        ("x:\n  a: 1\n  a: 1", "line 3: key 'a' is given twice"),
        ("- {a: 1, a: 2}", "'a' is given twice"),
        ("a: &x 1\nb: 2", "line 1: anchors and aliases"),
        ("a: *x", "anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']", "tags"),
        ("a: !!set {b}", "tags"),
        ("1: a", "key '1' must be text"),
        ("null: a", "must be text"),
        ("[a]: b", "must be text"),
        ("a: [1", "not valid YAML: line"),
        ("a: 1\n---\nb: 1", "not valid YAML: line"),
        ("a: \x00", "not valid YAML"),
        ("[" * 30, "nested more than 20 deep"),
        ("a: " + "9" * 5000, "cannot be read"),
        ("x" * 1_000_001, "1000001 characters"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"model: \xff")
    with pytest.raises(ConfigError, match=r"a.yaml: not UTF-8 at byte 7"):
        read_settings(path)
    path.write_text("- a")
    with pytest.raises(ConfigError, match="holds a list"):
        read_settings(path)
    path.write_text("# nothing\n")
    assert read_settings(path).values == {}


def test_order_of_overrides_does_not_matter() -> None:
    for order in (1, -1):
        texts = ["controller=prompt_gdro", "controller.eta=5"][::order]
        controller = load_config(None, texts).controller
        assert (controller.name, controller.options["eta"]) == ("prompt_gdro", 5)
        texts = ["data.kind=jsonl", "data.path=a.jsonl", "data.limit=3"][::order]
        assert load_config(None, texts).data.model_dump()["limit"] == 3


def test_another_controller_or_kind_starts_over() -> None:
    settings_ = Settings({"controller": {"name": "joint", "eta": 3.0}, "data": {"kind": "hub", "path": "x"}})
    apply_overrides(settings_, ["controller=uniform", "data.kind=reasoning_gym", "data.size=10"])
    assert settings_.values == {"controller": {"name": "uniform"}, "data": {"kind": "reasoning_gym", "size": 10}}
    apply_overrides(settings_, ["controller.name=uniform", "data.kind=reasoning_gym"])
    assert settings_.values["data"] == {"kind": "reasoning_gym", "size": 10}


def test_a_controller_by_its_name_has_its_own_defaults_and_a_name_among_its_options_keeps_them() -> None:
    given = {"name": "live_gdro", "pace": 0.001}
    for text, kept in (("controller=live_gdro", {}), ("controller.name=live_gdro", {"pace": 0.001})):
        settings_ = Settings({"controller": dict(given)})
        apply_overrides(settings_, [text])
        assert settings_.values["controller"] == {"name": "live_gdro"} | kept


def test_later_override_wins_and_sections_can_be_whole() -> None:
    assert load_config(None, ["steps=3", "steps=4"]).steps == 4
    config = load_config(None, ["optimisation.warmup=3", "optimisation={learning_rate: 1e-3}"])
    assert (config.optimisation.learning_rate, config.optimisation.warmup) == (1e-3, 3)
    lora = load_config(None, ["lora.r=4"]).lora
    assert lora is not None
    assert lora.r == 4
    assert load_config(None, ["output=null", "evaluation.prompts="]).evaluation.prompts is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("steps", "write key=value"),
        ("=3", "write key=value"),
        ("a..b=3", "write key=value"),
        ("steps.x=3", "steps is 200, which has no keys of its own|steps is"),
        ("steps=[", "--set steps=.* not valid YAML"),
        ("verfier.kind=math", r"verfier \(--set verfier.kind=math\): unknown key; did you mean verifier\?"),
    ],
)
def test_bad_overrides(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        load_config(None, [text])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@fuzz
@given(st.dictionaries(st.text(max_size=4), plain, max_size=4))
@example({"a": "1e-6", "b": "1e6", "c": "0o7", "d": "=", "e": "<<", "\x85": "\u2028"})
def test_dump_reads_back(values: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(values), "here") == values


@fuzz
@given(
    st.text(alphabet=st.sampled_from("abk:- []{}&*!|>'\"#%@\n\t,?0.1e\\\x00é~<"), max_size=60) | st.text(max_size=60)
)
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "here")
    except ConfigError as error:
        assert str(error).startswith("here")  # noqa: PT017


@fuzz
@given(st.binary(max_size=80))
def test_any_file_is_settings_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    try:
        load_config(path)
    except ConfigError as error:
        assert str(error)  # noqa: PT017


KEYS = [*TrainConfig.model_fields, "data.path", "controller.eta", "controller.name", "optimisation.learning_rate", "x"]


@fuzz
@given(st.lists(st.tuples(st.sampled_from(KEYS), plain), max_size=4))
def test_any_values_are_a_config_or_a_config_error(pairs: list[tuple[str, Any]]) -> None:
    texts = [
        f"{key}={dump_yaml({'v': value})[3:].strip() if not isinstance(value, dict | list) else value}"
        for key, value in pairs
    ]
    try:
        assert isinstance(load_config(None, texts), TrainConfig)
    except ConfigError as error:
        assert str(error)  # noqa: PT017


@fuzz
@given(st.dictionaries(st.sampled_from([key for key in KEYS if "." not in key]), plain, max_size=4))
def test_any_python_values_are_a_config_or_a_config_error(values: dict[str, Any]) -> None:
    try:
        assert isinstance(TrainConfig(**values), TrainConfig)
    except ConfigError as error:
        assert str(error)  # noqa: PT017
