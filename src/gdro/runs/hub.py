"""Sending the trained model to the Hugging Face hub: looked at before training, done last, off
unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gdro.config import TrainConfig
from gdro.core.errors import RunError


def check_hub(config: TrainConfig) -> None:
    """Raises RunError when the model of this run could not be sent at its end, as far as that shows
    now."""
    if not config.push_to_hub:
        return
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise RunError(
            "push_to_hub: HF_HUB_OFFLINE is set, so nothing can be sent; unset it or set"
            " push_to_hub=false"
        )
    if get_token() is None:
        raise RunError(
            "push_to_hub: no token of the hub is here; log in with `hf auth login`, or set HF_TOKEN"
        )


def push_model(config: TrainConfig, folder: Path, tell: Callable[[str], None]) -> None:
    """Send a model folder if the run is set so; a repository that is not there yet is made,
    private.

    Raises:
        RunError: the hub refused or is out of reach; the folder is as it was.
    """
    if not config.push_to_hub:
        return
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub, name = HfApi(), config.hub_model_id or config.run_name
    try:
        place = hub.create_repo(name, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=place.repo_id, folder_path=folder, commit_message="Trained with gdro"
        )
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"the model is trained and at {folder}, but was not sent to the hub ({reason}); "
            f"send it with: hf upload {name} {folder}"
        ) from error
    tell(f"sent to {place}")
