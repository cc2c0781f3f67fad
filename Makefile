# Every target makes the environment it needs; `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS := .venv/.installed-docs

# Image data beside the checkout, where there is some; digits are built in.
NFN_DATA ?= $(if $(wildcard ../shared/data),$(CURDIR)/../shared/data)
export NFN_DATA

.PHONY: demo test ecosystem lint types bench results docs serve tutorials clean
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
	.venv-ecosystem/bin/python -m pytest tests/nfn_optim/optimizer/test_ecosystem.py tests/nfn_optim/optimizer/test_optimizer_scenarios.py tests/docs/test_guides.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

# docs/results.md and its plots, from results/*.json.
results: $(STAMP)
	$(BIN)/python docs/tools/build_results.py

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# The documentation as a site: site/index.html. A warning of mkdocs and a link to nowhere are errors.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(DOCS)
	PATH="$(CURDIR)/$(BIN):$$PATH" mkdocs build --strict
	$(BIN)/python docs/tools/check_site.py site

serve: $(DOCS)
	PATH="$(CURDIR)/$(BIN):$$PATH" mkdocs serve

# The pictures and the output that the tutorials' pages show.
tutorials: $(STAMP)
	cd docs/tutorials && for name in *.py; do ../../$(BIN)/python "$$name" > "$${name%.py}.txt" || exit 1; done

clean:
	rm -rf .venv .venv-ecosystem build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
