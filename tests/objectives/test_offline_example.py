"""The offline example samples, stores, reads, compares and trains as it stands."""

import json
from pathlib import Path

from forked import run_script

EXAMPLE = Path(__file__).parents[2] / "examples" / "offline_preference.py"


def test_it_trains_on_what_it_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_script(EXAMPLE, "--prompts", "24", "--steps", "3", "--lr", "1e-4")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 24 * 8
    assert set(rows[0]) == {"id", "prompt", "completion", "reward"}
    steps = [line.split() for line in done.stdout.splitlines() if line.startswith("step")]
    agreement = [float(words[-1]) for words in steps]
    assert agreement[0] == 0.5  # at the reference every score is 0
    assert agreement[-1] > 0.6
    assert float(steps[-1][3]) < float(steps[0][3])
