"""The loud error when the plug-in does not load, and the asynchronous modes that are refused.

That stock verl finds it by its entry point is shown in test_end_to_end.
"""

from __future__ import annotations

import logging
import os
from importlib import metadata

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.v1 import get_trainer_cls

import verl
from gdro.core.errors import OptionError
from gdro.engines.verl import check, plugin


def test_a_version_that_does_not_fit_is_loud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verl, "__version__", "0.8.2")
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(ImportError, match=r"needs verl 0\.9 or 0\.10"),
    ):
        plugin.load()
    assert "did NOT load" in caplog.text
    assert "verl 0.8.2" in caplog.text


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("0.9.1", True),
        ("0.10.0", True),
        ("0.9.0.dev", True),
        ("0.8.9", False),
        ("0.11.0", False),
        ("1.0", False),
    ],
)
def test_versions(version: str, fits: bool) -> None:
    assert plugin.supported(version) is fits


def test_the_installed_version_fits() -> None:
    assert plugin.supported(metadata.version("verl"))


@pytest.mark.parametrize("mode", ["gdro_colocate_async", "gdro_separate_async"])
def test_asynchronous_modes_say_why_not(mode: str) -> None:
    config = OmegaConf.create({"trainer": {"v1": {"trainer_mode": mode}}})
    with pytest.raises(OptionError, match=f"{mode} is not supported.*trainer_mode=gdro"):
        get_trainer_cls(mode)(config)


def test_the_check_is_content_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main() == 0
    assert "ok (verl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "wrong"), [("none", True), ("other,gdro", False), ("other", True)]
)
def test_the_check_sees_a_policy_that_keeps_gdro_out(
    policy: str, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "VERL_USE_EXTERNAL_PLUGINS", policy)
    assert bool(check.problems()) is wrong
