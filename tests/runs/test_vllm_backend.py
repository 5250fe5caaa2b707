"""`generation.backend: vllm` from the settings to evaluation, without vLLM: a fake of its interface
and of a server's first answer."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from accelerate import PartialState

from fake_vllm import fake_vllm
from gdro.cli import main
from gdro.config import load_config
from gdro.config.base import ConfigError
from gdro.core.errors import RunError
from gdro.engines.trl.vllm import GenerationError, request_seeds
from gdro.runs import vllm
from gdro.runs.dry_run import dry_run
from gdro.runs.folder import RunFolder
from gdro.runs.train import train
from gdro.runs.trainer_args import trainer_args

__all__ = ["fake_vllm"]
EXAMPLE = Path(__file__).parents[2] / "examples/vllm_two_gpus.yaml"
VLLM, SERVER = "generation.backend=vllm", "generation.vllm_mode=server"
SMALL = ["max_steps=2", "prompts_per_step=4", "data.size=40", "data.heldout_size=16", VLLM]


def of(*settings):
    return load_config("default", settings)


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ([SERVER], "generation.vllm_mode", "only for generation.backend vllm"),
        (["generation.vllm_gpu_memory_utilization=0.5"], "generation.vllm_gpu_memory", "backend"),
        ([VLLM, "generation.vllm_server_base_url=http://a:1"], "base_url", "vllm_mode server"),
        ([VLLM, SERVER, "generation.vllm_tensor_parallel_size=2"], "parallel", "its own command"),
        ([VLLM, SERVER, "generation.vllm_server_base_url=gpu2:8000"], "base_url", "http://gpu2"),
        ([VLLM, SERVER, "generation.vllm_server_base_url=http://a/"], "base_url", "slash"),
        (["vllm_mode=server"], "vllm_mode", "generation.vllm_mode"),
        (["use_vllm=true"], "use_vllm", "generation.backend"),
        (["generation.vllm_server_host=a"], "vllm_server_host", "vllm_server_base_url"),
    ],
)
def test_what_does_not_go_together_is_told_once(settings, key, said):
    with pytest.raises(ConfigError) as told:
        of(*settings)
    [line] = str(told.value).splitlines()
    assert key in line
    assert said in line


def test_trl_is_told_in_its_own_names(tmp_path):
    url = "https://gpu2.local:8000/v2"
    config = of(VLLM, SERVER, f"generation.vllm_server_base_url={url}", "objective=disco")
    args = trainer_args(config, RunFolder(tmp_path))
    assert (args.use_vllm, args.vllm_mode, args.vllm_server_base_url) == (True, "server", url)
    assert not args.vllm_importance_sampling_correction, "disco has no place for it"
    args = trainer_args(of(VLLM, "generation.rows=8"), RunFolder(tmp_path))
    assert args.generation_rows is None
    assert (args.vllm_mode, args.vllm_gpu_memory_utilization) == ("colocate", 0.3)
    lengths = of(VLLM).lengths
    assert args.vllm_max_model_length == lengths.prompt + lengths.completion
    assert args.vllm_importance_sampling_correction
    assert not trainer_args(of(), RunFolder(tmp_path)).use_vllm


def test_what_is_missing_is_told_before_a_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr(vllm, "find_spec", lambda name: None)
    sets = [word for text in SMALL for word in ("--set", text)]
    for command in (["train"], ["evaluate", "tiny"]):
        assert main([*command, *sets]) == 2
        assert "pip install 'gdro[vllm]'" in capsys.readouterr().err
    assert main(["evaluate", "tiny", "--suite", "amc", "--engine", "vllm"]) == 2
    assert "generation.backend=vllm" in capsys.readouterr().err
    vllm.check_vllm(of())


def test_processes_that_do_not_divide(monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda name: True)
    with pytest.raises(RunError, match="tensor_parallel_size"):
        vllm.check_vllm(of(VLLM, "generation.vllm_tensor_parallel_size=2"))


@pytest.fixture
def server():
    """The address of a server, and what it says of its model."""
    model = {"id": "m", "max_model_len": 4096}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [model]}).encode())

        def log_message(self, *_):
            pass

    served = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=partial(served.serve_forever, poll_interval=0.01)).start()
    yield f"http://127.0.0.1:{served.server_port}", model
    served.shutdown()
    served.server_close()


def test_a_server_is_looked_for_and_asked_for_its_length(server, monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda name: True)
    url, model = server
    settings = [VLLM, SERVER, "max_prompt_length=300", "max_completion_length=200"]
    config = of(*settings, f"generation.vllm_server_base_url={url}")
    vllm.check_vllm(config)
    model["max_model_len"] = 499
    with pytest.raises(RunError, match="--max-model-len 500"):
        vllm.check_vllm(config)
    settings += ["generation.vllm_server_base_url=http://127.0.0.1:9"]
    notes = []
    monkeypatch.setattr(vllm, "WAIT", 0.1)
    with pytest.raises(RunError, match=r"no vLLM server answers at http://127.0.0.1:9 within 0.1"):
        vllm.check_vllm(of(*settings), notes.append)
    assert notes == ["waiting for the vLLM server at http://127.0.0.1:9, at most 0.1 s"]


def test_a_dry_run_knows_whose_memory_it_is():
    plain, beside = (
        dry_run(of(*SMALL[:-1]), ["device_gb=80"]),
        dry_run(of(*SMALL), ["device_gb=80"]),
    )
    apart = dry_run(of(*SMALL, SERVER), ["device_gb=80"])
    assert beside.memory.fixed == plain.memory.fixed + 24e9
    assert (beside.memory.sampling, beside.memory.evaluating) == (0, 0)
    assert apart.memory.fixed == plain.memory.fixed
    assert beside.work.scored == plain.work.scored + plain.work.trained, "read once more"
    assert "colocate, 30% of each device" in str(beside)
    assert "server at http://localhost:8000" in str(apart)
    assert "vllm" not in str(plain)


def test_training_and_its_evaluations_go_through_the_engine(fake_vllm, tmp_path, capsys):
    """The fake's completions are all wrong; what counts is who was asked for them."""
    run = train(of(*SMALL, f"output_dir={tmp_path / 'run'}"), live=False)
    events = [json.loads(line) for line in run.record.read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2]
    assert [e["step"] for e in events if e["event"] == "evaluation"] == [0, 2]
    assert "Traceback" not in capsys.readouterr().err
    out = tmp_path / "figures.json"
    sets = [word for text in SMALL[2:] for word in ("--set", text)]
    assert main(["evaluate", "tiny", *sets, "--output", str(out)]) == 0
    [engine] = fake_vllm.built
    config = of(*SMALL)
    assert engine.options["max_model_len"] == 256, "as many as the model has"
    assert engine.options["gpu_memory_utilization"] == 0.9
    [(prompts, params)] = engine.asked
    assert len(prompts) == 16
    assert {one["n"] for one in params} == {config.evaluation.num_generations}
    assert len({one["seed"] for one in params}) == 16
    assert params[0]["temperature"] == config.evaluation.temperature


def test_the_example_runs_with_a_smaller_model(fake_vllm, tmp_path):
    """All of it but its size: the model, its lengths and the number of steps."""
    rows = [{"id": f"sum/{i}", "prompt": f"{i} + 1 =", "answer": str(i + 1)} for i in range(80)]
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ["model=tiny", "max_steps=1", "prompts_per_step=8", "num_generations=2"]
    small += ["max_prompt_length=64", "max_completion_length=8", f"data.path={data}"]
    run = train(load_config(EXAMPLE, [*small, f"output_dir={tmp_path / 'run'}"]), live=False)
    assert run.model.is_dir()


def test_an_engine_that_does_not_start_is_one_line(fake_vllm, monkeypatch, capsys):
    def fail(**_):
        raise ValueError("No available memory for the cache blocks.\nTry more")

    monkeypatch.setattr(fake_vllm, "LLM", fail)
    sets = [word for text in SMALL[2:] for word in ("--set", text)]
    assert main(["evaluate", "tiny", *sets]) == 2
    assert "does not start with tiny: ValueError: No available" in capsys.readouterr().err
    with pytest.raises(GenerationError):
        vllm.own_engine("tiny", of(*SMALL))
    assert PartialState().num_processes == 1
    assert request_seeds(["a"], 0) != request_seeds(["a"], 1)
