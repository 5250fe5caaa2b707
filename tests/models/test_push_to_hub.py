"""`push_to_hub` through the real client against a hub of the test's own, and the model card that
goes with it."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from forked import QUICK
from gdro.cli import main
from gdro.models.loading import load_model

SETTINGS = [
    *QUICK,
    "model=tiny",
    "dtype=float32",
    "max_steps=2",
    "prompts_per_step=4",
    "controller=uniform",
    "data.size=32",
]
SETTINGS += [
    "data.heldout_size=16",
    "evaluation.num_generations=2",
    "max_prompt_length=64",
    "max_completion_length=8",
]


class _Hub(ThreadingHTTPServer):
    """Takes what `create_repo` and `upload_folder` send; refuses everything when `refuses` is
    set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refuses = False
        self.made: list[dict] = []
        self.files: dict[str, bytes] = {}

    def answer(self, path, body):
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return {"url": f"{self.url}/me/name"}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return {
                "files": [
                    {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
                ]
            }
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitOid": "0" * 40, "commitUrl": f"{self.url}/me/name/commit/0"}
        return {"errors": [], "warnings": []}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self._body()
        status = 403 if self.server.refuses else 200
        content = json.dumps(
            {"error": "no write access"}
            if self.server.refuses
            else self.server.answer(self.path, body)
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    server = _Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _sets(*settings):
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def train(hub, monkeypatch, capfd):
    """`gdro train` with a token of that hub; its exit status and all it said."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_x")

    def run(output, *settings):
        status = main(["train", *_sets(*SETTINGS, f"output_dir={output}", *settings)])
        return status, "".join(capfd.readouterr())

    return run


def test_the_model_is_sent_with_a_card_of_what_the_record_says(hub, train, tmp_path):
    run = tmp_path / "run"
    status, said = train(run, "push_to_hub=true", "hub_model_id=name", "lora={r: 2}")
    assert status == 0, said
    assert f"{hub.url}/me/name" in said
    assert [(made["name"], made["visibility"]) for made in hub.made] == [("name", "private")]
    assert hub.files == {path.name: path.read_bytes() for path in (run / "model").iterdir()}
    card = hub.files["README.md"].decode()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(front)["library_name"] == "peft"
    last = [
        event
        for event in map(json.loads, (run / "metrics.jsonl").open())
        if event["event"] == "evaluation"
    ][-1]
    for score in ("mean_at_k", "pass_at_k"):
        figures = last[score]
        assert f"{figures['value']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]" in text
    settings = text.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "again.yaml").write_text(settings)
    assert main(["train", str(tmp_path / "again.yaml"), "--check"]) == 0
    assert str(tmp_path) not in card


def test_a_hub_that_refuses_costs_nothing_but_the_sending(hub, train, tmp_path):
    hub.refuses = True
    status, said = train(tmp_path / "run", "push_to_hub=true", "run_name=mine")
    assert status == 2
    assert f"hf upload mine {tmp_path / 'run' / 'model'}" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "report.html").is_file()
    assert load_model(str(tmp_path / "run" / "model"))


def test_what_stands_in_the_way_is_told_before_training(tmp_path, capsys, monkeypatch):
    """These tests run with HF_HUB_OFFLINE."""
    run = tmp_path / "run"
    assert main(["train", *_sets(*SETTINGS, "push_to_hub=true", f"output_dir={run}")]) == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(["train", *_sets(*SETTINGS, "push_to_hub=true", f"output_dir={run}")]) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert not run.exists()
