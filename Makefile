# make reproduce [PROFILE=cpu|smoke]   make test   make lab   make notebooks   make publish   make benchmarks   make clean
PYTHON ?= python3.11
PROFILE ?= cpu
BIN := .venv/bin
ENV := TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONWARNINGS=ignore

.PHONY: reproduce test lab notebooks lint publish benchmarks clean

# The environment is rebuilt when the pins change. torch first and by its exact version, so that the CPU build is kept where there is one.
.venv/installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (2-4 minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speech,notebooks,hub,export,dev]'
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

lint: .venv/installed
	@$(BIN)/ruff check .

clean:
	rm -rf .venv runs
