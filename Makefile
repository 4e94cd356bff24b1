# Everything made here lands in two hidden folders: .venv (the dependencies) and .cat (a Cat's home, its log).
# Tools start as modules of the venv's Python (with -P, which leaves sys.path alone), so that a checkout still
# works after it was moved, and in a folder of any name.

PORT ?= 1865
ARGS =

PYTHON := .venv/bin/python
# Named after the contents of the files it depends on, and made last: an interrupted install has no stamp.
STAMP := .venv/.installed-$(shell cat pyproject.toml requirements.txt | cksum | cut -d' ' -f1)
# Said by .gitignore too, but an unpacked archive is no repository.
RUFF_OPTIONS := --config 'extend-exclude = [".cat"]'
FIND_PYTHON := for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; done

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test lint types unit bench clean python

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' Makefile

run: $(STAMP) ## start a Cat with this plugin (PORT=1865; VERBOSE=1 shows its log)
	@exec $(PYTHON) .dev/run.py --port $(PORT)

test: lint types unit ## lint, types and unit

lint: $(STAMP) ## check style and formatting
	$(PYTHON) -P -m ruff check $(RUFF_OPTIONS) .
	$(PYTHON) -P -m ruff format --check $(RUFF_OPTIONS) .

# The plugin's modules import each other relatively across its root, whatever the folder is called: mypy sees
# it under the name `plugin`.
types: $(STAMP) ## check types
	@mkdir -p .cat/types && ln -sfn ../.. .cat/types/plugin
	MYPYPATH=.cat/types $(PYTHON) -P -m mypy --explicit-package-bases --namespace-packages \
		-p plugin.settings -p plugin.cat_openai_api
	MYPYPATH=.dev $(PYTHON) -P -m mypy .dev/run.py

unit: $(STAMP) ## run the tests (ARGS="-k name -x")
	$(PYTHON) -P -m pytest $(ARGS)

bench: $(STAMP) ## measure what the plugin adds to a reply (ARGS=...)
	$(PYTHON) .dev/bench.py $(ARGS)

clean: ## remove .venv, .cat and caches
	rm -rf .venv .cat .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

# The interpreter that .venv is made with.
python:
	@$(FIND_PYTHON); [ "$$python" ] && echo "$$python"

# A finished install is brought up to date; the rest of an interrupted one is thrown away.
$(STAMP): pyproject.toml requirements.txt
	@if ls .venv/.installed-* >/dev/null 2>&1 && $(PYTHON) -c '' 2>/dev/null; then rm .venv/.installed-*; else \
		$(FIND_PYTHON); \
		[ "$$python" ] || { echo "No Python >= 3.11 with its venv module found. Install one, for example:" \
			"apt-get install python3 python3-venv" >&2; exit 1; }; \
		echo "Making .venv with $$($$python --version)"; \
		$$python -m venv --clear .venv; \
	fi
	@echo "Installing the dependencies into .venv: about a minute the first time"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --group dev -r requirements.txt
	@touch $@
