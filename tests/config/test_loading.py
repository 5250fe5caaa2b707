from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gdro.config import ConfigError, TrainConfig, load_config
from gdro.config.loading import read_settings
from gdro.config.source import Source
from gdro.config.yaml_text import dump_yaml, parse_yaml

CASES = int(os.environ.get("GDRO_FUZZ_CASES", "300"))
fuzz = settings(
    derandomize=True,
    max_examples=CASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("3", 3),
        ("+3", 3),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("true", True),
        ("null", None),
        ("", None),
        ("~", None),
        ("2026-11-23", "2026-11-23"),
        ("'3'", "3"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("<<", "<<"),
        ("e5", "e5"),
        ("-", [None]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text, "here")[0] == value
    assert type(parse_yaml(text, "here")[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: .*'a' is given twice, first on line 1"),
        ("x:\n  a: 1\n  a: 1", "line 3: .*'a' is given twice"),
        ("- {a: 1, a: 2}", "'a' is given twice"),
        ("a: &x 1\nb: *x", "line 2: .*aliases"),
        ("a: *x", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "tags"),
        ("a: !!set {b}", "tags"),
        ("1: a", "must be text"),
        ("null: a", "must be text"),
        ("[a]: b", "must be text"),
        ("a: [1", ", line .: no usable YAML"),
        ("a: 1\n---\nb: 1", ", line .: no usable YAML"),
        ("a: \x00", "no usable YAML"),
        ("[" * 3000, "nested too deep"),
        ("a: " + "9" * 5000, "no usable YAML"),
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


def test_keys_with_dots_are_for_the_command_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("recipe: default\ndata.size: 3\ndata.seed: 1\n")
    with pytest.raises(ConfigError, match=r"run.yaml: data.size, data.seed: .*`data: {size: ...}`"):
        load_config(str(path))


def test_order_of_overrides_does_not_matter() -> None:
    for order in (1, -1):
        texts = ["controller=prompt_gdro", "controller.eta=5"][::order]
        controller = load_config(None, texts).controller
        assert (controller.name, controller.options["eta"]) == ("prompt_gdro", 5)
        texts = ["data.kind=jsonl", "data.path=a.jsonl", "data.limit=3"][::order]
        assert load_config(None, texts).data.model_dump()["limit"] == 3
        texts = ["data.chat=true", "data.answer_column=gold", "data.path=a.jsonl"][::order]
        data = load_config(None, texts).data.model_dump()
        assert (data["kind"], data["chat"], data["answer_column"]) == ("jsonl", True, "gold")
        texts = ["data.name=en", "data.path=my/set", "data.kind=hub"][::order]
        data = load_config(None, texts).data.model_dump()
        assert (data["kind"], data["path"], data["name"]) == ("hub", "my/set", "en")


def test_another_controller_or_kind_starts_over() -> None:
    source = Source(
        {"controller": {"name": "joint", "eta": 3.0}, "data": {"kind": "hub", "path": "x"}}
    )
    source.lay_texts(["controller=uniform", "data.kind=reasoning_gym", "data.size=10"])
    assert source.values == {
        "controller": {"name": "uniform"},
        "data": {"kind": "reasoning_gym", "size": 10},
    }
    source.lay_texts(["data.kind=reasoning_gym"])
    assert source.values["data"] == {"kind": "reasoning_gym", "size": 10}


def test_a_controller_by_its_name_has_its_own_defaults_and_options_alone_change_the_one_there() -> (
    None
):
    for text in ("controller=live_gdro", "controller.name=live_gdro"):
        source = Source({"controller": {"name": "live_gdro", "pace": 0.001}})
        source.lay_texts([text])
        assert source.values["controller"] == {"name": "live_gdro"}
    source = Source({"controller": "live_gdro"})
    source.lay_texts(["controller.pace=0.001"])
    assert source.values["controller"] == {"name": "live_gdro", "pace": 0.001}


def test_a_part_keeps_its_name_beside_options_and_by_another_name_starts_over() -> None:
    for order in (1, -1):
        for key in ("controller.selector", "controller.selector.name"):
            source = Source({"controller": {"selector": {"name": "live", "explore": 0.2}}})
            source.lay_texts([f"{key}=mopps", "controller.selector.target=0.4"][::order])
            found = source.values["controller"]["selector"]
            assert found == {"name": "mopps", "target": 0.4}
    source.lay_texts(["controller.selector=null"])
    assert source.values["controller"]["selector"] is None


def test_later_override_wins_and_sections_can_be_given_as_mappings() -> None:
    assert load_config(None, ["max_steps=3", "max_steps=4"]).max_steps == 4
    config = load_config(None, ["evaluation.top_k=3", "evaluation={top_p: 0.5}"])
    assert (config.evaluation.top_k, config.evaluation.top_p) == (3, 0.5)
    lora = load_config(None, ["lora.r=4"]).lora
    assert lora is not None
    assert lora.r == 4
    assert load_config(None, ["output_dir=null", "evaluation.prompts="]).evaluation.prompts is None


def test_a_file_may_begin_with_the_recipe_that_it_changes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "recipe: default\nmax_steps: 7\ncontroller: {eta: 5.0}\nevaluation: {top_k: 3}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "recipe: base.yaml\nrun_name: mine\ndata: {kind: jsonl, path: a.jsonl}\nevaluation: {rows:"
        " 16}\n"
    )
    config, default = load_config(tmp_path / "mine.yaml"), load_config()
    assert (config.run_name, config.max_steps, config.learning_rate) == (
        "mine",
        7,
        default.learning_rate,
    )
    assert (config.evaluation.top_k, config.evaluation.rows) == (3, 16)
    assert config.controller.options == {**default.controller.options, "eta": 5.0}
    assert config.data.kind == "jsonl", "another kind of data starts that section over"
    assert (config.verifier.kind, config.verifier.partial_credit) == ("math", False)
    (tmp_path / "named.yaml").write_text(
        "recipe: base.yaml\ncontroller: {name: live_gdro, pace: 0.1}\n"
    )
    options = load_config(tmp_path / "named.yaml").controller.options
    assert (options["eta"], options["pace"]) == (
        None,
        0.1,
    ), "a controller with its name has its own defaults"


def test_errors_name_the_file_of_each_key_in_a_chain_of_recipes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nmax_steps: 0\ntop_p: 3\n")
    (tmp_path / "mine.yaml").write_text("recipe: base.yaml\ntop_p: 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "mine.yaml")
    assert sorted(str(caught.value).splitlines()) == [
        "max_steps = 0 (base.yaml, line 2): must be whole number >= 1",
        "top_p = 2 (mine.yaml, line 2): must be number > 0 and <= 1",
    ]


def test_another_model_than_the_recipes_has_its_own_lengths(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    lines = page[page.index("    recipe: default\n") :].split("\n\n")[0].splitlines()
    (tmp_path / "mine.yaml").write_text("".join(line.removeprefix("    ") + "\n" for line in lines))
    config = load_config(tmp_path / "mine.yaml")
    assert len(lines) == 10
    assert (config.data.kind, config.verifier.kind, config.controller.name) == (
        "jsonl",
        "math",
        "text_gdro",
    )
    assert (config.max_prompt_length, config.max_completion_length) == (None, None)
    (tmp_path / "same.yaml").write_text("recipe: default\nmodel: tiny\n")
    assert load_config(tmp_path / "same.yaml").max_completion_length == 24


def test_a_recipe_that_names_no_model_speaks_of_any(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("learning_rate: 3e-5\ndtype: float32\n")
    (tmp_path / "mine.yaml").write_text("recipe: base.yaml\nmodel: Qwen/Qwen3-0.6B\n")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.learning_rate, config.dtype) == (3e-5, "float32")


def test_an_empty_name_is_no_recipe() -> None:
    with pytest.raises(ConfigError, match="no recipe of that name"):
        load_config("")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.jsonl", "jsonl"), (["a.jsonl.gz", "b.jsonl"], "jsonl"), ("x/a.parquet", "parquet")],
)
def test_the_kind_of_data_goes_by_the_ending_of_the_path(
    path: Any, kind: str, tmp_path: Path
) -> None:
    assert TrainConfig(data={"path": path}).data.kind == kind
    (tmp_path / "mine.yaml").write_text(dump_yaml({"recipe": "default", "data": {"path": path}}))
    assert load_config(tmp_path / "mine.yaml").data.kind == kind
    assert (
        load_config(None, [f"data.path={json.dumps(path)}", "data.limit=3"]).data.model_dump()[
            "limit"
        ]
        == 3
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "recipe: mine.yaml",
            r"recipe = 'mine.yaml' \(mine.yaml, line 1\): .* is a recipe of itself",
        ),
        (
            "seed: 1\nrecipe: defalt",
            r"recipe = 'defalt' \(mine.yaml, line 2\): .*no recipe of that name \(default",
        ),
        ("recipe: [default]", "must be a recipe's name or a YAML file"),
    ],
)
def test_recipes_that_are_none(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=what):
        load_config(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("steps", "write key=value"),
        ("=3", "write key=value"),
        ("a..b=3", "write key=value"),
        ("max_steps.x=3", r"max_steps = {'x': 3} \(--set max_steps.x=3\): must be whole number"),
        ("max_steps=[", "--set max_steps=.* no usable YAML"),
        (
            "verfier.kind=math",
            r"verfier \(--set verfier.kind=math\): unknown key; did you mean verifier\?",
        ),
    ],
)
def test_bad_overrides(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        load_config(None, [text])


def test_all_texts_that_are_no_overrides_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["steps", "a=[", "seed=1"])
    assert len(str(caught.value).splitlines()) == 2


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@fuzz
@given(st.dictionaries(st.text(max_size=4), plain, max_size=4))
@example({"a": "1e-6", "b": "1e6", "c": "0o7", "d": "=", "e": "<<", "\x85": "\u2028"})
def test_dump_reads_back(values: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(values), "here")[0] == values


@fuzz
@given(
    st.text(alphabet=st.sampled_from("abk:- []{}&*!|>'\"#%@\n\t,?0.1e\\\x00é~<"), max_size=60)
    | st.text(max_size=60)
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


KEYS = [
    *TrainConfig.model_fields,
    "data.path",
    "controller.eta",
    "controller.name",
    "learning_rate",
    "x",
]


@fuzz
@given(st.lists(st.tuples(st.sampled_from(KEYS), plain), max_size=4))
def test_any_values_are_a_config_or_a_config_error(pairs: list[tuple[str, Any]]) -> None:
    texts = [
        f"{key}="
        + str(value if isinstance(value, dict | list) else dump_yaml({"v": value})[3:].strip())
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
