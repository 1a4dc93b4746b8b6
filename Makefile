# make reproduce [PROFILE=cpu|smoke]   make test   make lab   make notebooks   make publish   make benchmarks   make clean
# make site   make browser-test   make benchmarks-training   make kill-test [TRIALS=100]   make distributed-test
PYTHON ?= python3.11
PROFILE ?= cpu
BIN := .venv/bin
ENV := TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONWARNINGS=ignore

.PHONY: reproduce test lab notebooks lint publish benchmarks benchmarks-training kill-test distributed-test site browser-test clean

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
	@$(BIN)/jupyter lab --notebook-dir=notebooks

# Execute the notebooks with their own smoke defaults and keep the outputs in git.
notebooks: .venv/installed
	@$(ENV) $(BIN)/python -m askd.executed

publish: .venv/installed
	@$(BIN)/askd publish $(PROFILE)

benchmarks: .venv/installed
	@$(ENV) $(BIN)/python -m pytest -q -s tests/benchmarks

# Training against the plain loop, with the levers in between.
benchmarks-training: .venv/installed
	@$(ENV) $(BIN)/python -m pytest -q -s tests/benchmarks/test_training_speed.py

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

clean:
	rm -rf .venv runs build
