# make reproduce [PROFILE=cpu|smoke]   make test   make lab   make notebooks   make figures   make publish   make badges   make lint
# make benchmarks   make benchmarks-training   make latency   make kill-test [TRIALS=100]   make distributed-test   make mutations
# make floor-test   make site   make browser-test   make clean
PYTHON ?= python3.11
PROFILE ?= cpu
BIN := .venv/bin
ENV := TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONWARNINGS=ignore

.PHONY: reproduce test lab notebooks lint publish benchmarks benchmarks-training latency kill-test distributed-test mutations floor-test figures site browser-test clean

# The environment is rebuilt when the pins change. torch first and by its exact version, so that the CPU build is kept where there is one.
.venv/installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (2-4 minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speech,notebooks,hub,export,site,dev]'
	@touch $@

reproduce: .venv/installed
	@$(ENV) $(BIN)/askd reproduce --profile $(PROFILE)

test: .venv/installed
	@$(ENV) PATH="$(CURDIR)/$(BIN):$$PATH" tests/run

lab: .venv/installed
	@$(BIN)/jupyter lab --notebook-dir=notebooks $$(test "$$(id -u)" = 0 && echo --allow-root)

# Execute the notebooks with their own smoke defaults and keep the outputs in git.
notebooks: .venv/installed
	@$(ENV) $(BIN)/python -m askd.executed

# The Colab and Binder links of the notebooks, from [project.urls] Repository in pyproject.toml.
.PHONY: badges
badges: .venv/installed
	@$(BIN)/python -m askd.badges

# Draw figures/ again from data/results: no training, no models.
figures: .venv/installed
	@$(ENV) $(BIN)/python -m askd.committedfigures

publish: .venv/installed
	@$(BIN)/askd publish $(PROFILE)

benchmarks: .venv/installed
	@$(ENV) $(BIN)/python -m pytest -q -s tests/benchmarks

# Training against the plain loop, with the levers in between.
benchmarks-training: .venv/installed
	@$(ENV) $(BIN)/python -m pytest -q -s tests/benchmarks/test_training_speed.py

# Latency of students beside their teacher, as data/results/latency: 40 minutes of a machine that does nothing else.
#   make latency STUDENTS="runs/four:askd runs/two:askd" NAMES="four-layers two-layers"; then askd publish latency
STUDENTS ?= runs/cpu:askd
NAMES ?= student
TIMED := $(BIN)/askd latency --student $(STUDENTS) --name $(NAMES)
DOMAINS := neural_clean formant_telephone scottish_street asterisk_wideband common_voice mini_librispeech
latency: .venv/installed
	@$(ENV) $(TIMED) --peers base --data $(DOMAINS) --clips 8 --batch 1 --repeats 10 --clip-repeats 1 --out runs/latency/batch1.json
	@$(ENV) $(TIMED) --engines transformers ct2 --data $(DOMAINS) --clips 8 --batch 8 --repeats 3 --clip-repeats 1 --out runs/latency/batch8.json
	@$(ENV) $(TIMED) --engines transformers compiled --data $(DOMAINS) --clips 2 --batch 1 --audio-s 5 --repeats 10 --out runs/latency/compiled.json
	@$(ENV) $(TIMED) --speculative --data $(DOMAINS) --clips 4 --out runs/latency/speculative.json
	@$(ENV) $(BIN)/askd latency --shape large-v2 --decoder-layers 32 16 8 4 2 --repeats 2 --out runs/latency/large-v2.json

# kill -9 at random moments, resume, compare bit by bit.
TRIALS ?= 100
kill-test: .venv/installed
	@$(ENV) OMP_NUM_THREADS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error $(BIN)/python tests/kill_and_resume.py $$(mktemp -d) $(TRIALS)

# Two processes learn what one learns: DDP, a sharded teacher, streamed data, the paper profile at toy size.
distributed-test: .venv/installed
	@$(ENV) TQDM_DISABLE=1 $(BIN)/python -m pytest -v tests/test_distributed.py

# The executed notebooks, the README and the API as a static site with search: build/site. Needs no network.
site: .venv/installed
	@$(ENV) $(BIN)/python site/build.py

# JupyterLab and the site in a headless Chromium; what it saw lies in build/browser.
browser-test: .venv/installed
	@$(ENV) $(BIN)/python -m pytest -v tests/test_lab.py tests/test_site.py

lint: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/codespell

# Deliberate regressions, each of which a named test must catch.
mutations: .venv/installed
	@$(ENV) $(BIN)/python tests/mutate.py

# Older and newer packages, one at a time: how much room the pins have.
floor-test: .venv/installed
	@$(ENV) $(BIN)/python tests/floors.py

clean:
	rm -rf .venv runs build
