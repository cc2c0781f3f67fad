# Every target makes the environment it needs; `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS := .venv/.installed-docs

# Image data beside the checkout, where there is some; digits are built in.
NFN_DATA ?= $(if $(wildcard ../shared/data),$(CURDIR)/../shared/data)
export NFN_DATA

.PHONY: demo test sanitize ecosystem lint types bench cases results docs serve tutorials clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/nfn-optim demo

# Two processes, a file at a time, so that what a file prepares once is prepared once.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The tests of native code under GCC's sanitizers, without registers that they do not see into. Left
# out are those of the compiler's calls, and one that asks for more memory than a sanitizer bears.
# Reports name functions from the second run on, when the code is kept.
sanitize: $(STAMP)
	NFN_CXXFLAGS="-Og -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=1 CXX=g++ \
	$(BIN)/python -m pytest --capture=sys tests/nfn_optim/native \
		--ignore tests/nfn_optim/native/test_loader.py --deselect \
		tests/nfn_optim/native/test_border.py::test_what_is_thrown_is_an_error_that_names_the_function

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

# Adam beside ours on all kinds of networks, some minutes on one core: docs/cases.md.
cases: $(STAMP)
	PYTHONPATH=docs/tools $(BIN)/python tests/benchmarks/cases_bench.py results/cases.json
	$(BIN)/python docs/tools/build_results.py

# docs/results.md, docs/cases.md and plots, from results/*.json.
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
