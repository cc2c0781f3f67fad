# Every target makes the environment it needs; `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Image data beside the checkout, where there is some; digits are built in.
NFN_DATA ?= $(if $(wildcard ../shared/data),$(CURDIR)/../shared/data)
export NFN_DATA

.PHONY: demo test ecosystem lint types bench cases results api clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/nfn-optim demo

test: $(STAMP)
	$(BIN)/python -m pytest

# In an environment of its own: these packages bring many others.
ecosystem:
	$(PYTHON) -m venv .venv-ecosystem
	.venv-ecosystem/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[ecosystem]'
	.venv-ecosystem/bin/python -m pytest tests/nfn_optim/optimizer/test_ecosystem.py tests/nfn_optim/optimizer/test_optimizer_scenarios.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

# Adam beside ours on all kinds of networks, ten minutes on one core: docs/cases.md.
cases: $(STAMP)
	PYTHONPATH=docs/tools $(BIN)/python tests/benchmarks/cases_bench.py results/cases.json
	$(BIN)/python docs/tools/build_results.py

# docs/results.md, docs/cases.md and plots, from results/*.json; docs/api.md, from the docstrings.
results: $(STAMP)
	$(BIN)/python docs/tools/build_results.py

api: $(STAMP)
	$(BIN)/python docs/tools/build_api.py

clean:
	rm -rf .venv .venv-ecosystem build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
