"""Settings: recipes load, wrong ones are named, a dry run tells the memory."""

import pytest

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig, load_config, recipe_names
from gdro.diffusion.dry_run import dry_run, sizes_of
from gdro.diffusion.main import main


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_load_and_come_back_from_their_yaml(recipe, tmp_path):
    config = load_config(recipe)
    path = tmp_path / "again.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("beto=1", "beto: no such setting"),
        ("group_size=1", "group_size: .*greater than or equal to 2, not 1"),
        ("beta=0", "beta: .*greater than 0"),
        ("mixed_precision=fp8", "mixed_precision: "),
        ("loss_type=dpo", "set group_size to 2"),
        ("loss_type=dgpo", "set gamma to 0"),
        ("group_size=200", "larger than num_images_per_prompt"),
        ("name=a/b", "name: "),
        ("prompts", "write key=value"),
        ("prompts=[", "not valid YAML"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(DiffusionError, match=message):
        load_config("digits", [override])


def test_a_classifier_is_of_the_digits_alone():
    with pytest.raises(DiffusionError, match=r"reward: classifier is of family digits"):
        load_config("sd3", ["reward=classifier"])


def test_prompts_come_from_a_file_and_come_once(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cube\n\n a ball \n")
    assert DiffusionConfig(prompts=str(path), reward="x.py:f").prompt_list == ("a cube", "a ball")
    path.write_text("a cube\na cube\n")
    with pytest.raises(DiffusionError, match="'a cube' is there twice"):
        _ = DiffusionConfig(prompts=str(path), reward="x.py:f").prompt_list
    with pytest.raises(DiffusionError, match=r"no\.txt does not exist"):
        _ = DiffusionConfig(prompts="no.txt", reward="x.py:f").prompt_list


def test_a_bare_no_of_yaml_is_the_word(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("mixed_precision: no\nreward: x.py:f\nlearning_rate: 1e-5\n")
    config = load_config(path)
    assert config.mixed_precision == "no"
    assert config.learning_rate == 1e-5


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("digits", 433_680), ("sd3", 2_243_171_520), ("flux", 11_901_408_320)],
)
def test_the_dry_run_counts_on_the_architecture(recipe, parameters, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cube\na ball\n")
    config = load_config(recipe, [] if recipe == "digits" else [f"prompts={path}"])
    assert sizes_of(config).parameters == parameters
    page = dry_run(config)
    assert f"{parameters:,} parameters" in page
    assert "peak" in page
    doubled = load_config(
        recipe, ["train_batch_size=16", *([] if recipe == "digits" else [f"prompts={path}"])]
    )
    assert sizes_of(doubled).update_bytes(doubled) > sizes_of(config).update_bytes(config)


def test_a_dry_run_of_an_unknown_base_says_what_it_needs(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cube\n")
    config = load_config("sd3", ["pretrained_model_name_or_path=me/mine", f"prompts={path}"])
    with pytest.raises(DiffusionError, match=r"me/mine.*give a local folder"):
        dry_run(config)


def test_words_of_the_command_line(capsys):
    assert main(["digits", "--check", "--learning_rate=1e-5", "--report_to", "tensorboard"]) == 0
    shown = capsys.readouterr().out
    assert "learning_rate: 1.0e-05" in shown
    assert "- tensorboard" in shown
    for words, message in (
        (["digits", "--learning", "1"], "--learning: no such option"),
        (["digits", "--beta"], "--beta needs a value"),
        ([], "name a recipe"),
        (["digits", "--resume", "runs/x"], "--resume takes a run's folder and nothing else"),
    ):
        with pytest.raises(DiffusionError, match=message):
            main(words)
    assert main(["--help"]) == 0
    assert "beta = 12.0" in capsys.readouterr().out
