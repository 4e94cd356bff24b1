# Everything made here lands in hidden folders: .venv (the dependencies), .cat (a Cat's home, its log), and for the
# targets of Cheshire Cat 1.9 also .venv-v1 (that Cat's dependencies).
# Tools start as modules of the venv's Python (with -P, which leaves sys.path alone), so that a checkout still
# works after it was moved, and in a folder of any name.

PORT ?= 1865
ARGS =
MINUTES = 5
# Processes that share the tests, file by file, each with Cats of its own.
WORKERS = 2
# The Python that .venv is made with (3.11 or later), such as python3.12 or a path; empty: the newest that is found.
# Another one than before makes .venv anew.
PYTHON ?=
# A folder of other people's plugins, for the target of that name.
PLUGINS ?=
# The folder core/ of a checkout of Cheshire Cat 1.9, and a Python 3.10 for it.
CAT_CORE ?=
PYTHON_V1 ?= python3.10

VENV_PYTHON := .venv/bin/python
# Named after the contents of the files it depends on, and made last: an interrupted install has no stamp.
STAMP := .venv/.installed-$(shell cat pyproject.toml requirements.txt | cksum | cut -d' ' -f1)
# Said by .gitignore too, but an unpacked archive is no repository.
RUFF_OPTIONS := --config 'extend-exclude = [".cat", ".venv-v1"]'
FIND_PYTHON := for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; done

NO_PYTHON := $(if $(PYTHON),"PYTHON=$(PYTHON) is no Python >= 3.11 with its venv module.","No Python >= 3.11 with its \
	venv module found. Install one - for example: apt-get install python3 python3-venv")
# Not empty: .venv was made with another Python than PYTHON.
OTHER_PYTHON := $(if $(PYTHON),$(shell \
	[ "$$($(VENV_PYTHON) --version 2>&1)" = "$$("$(PYTHON)" --version 2>&1)" ] || echo other))

# Later setuptools have no pkg_resources; sse-starlette is what the plugin would install at its first start.
REQUIREMENTS_V1 := 'setuptools<81' 'sse-starlette>=2.2,<3.0.4' 'jsonschema>=4.18,<5' 'redis>=5.2,<8' 'prometheus-client>=0.17'
STAMP_V1 := .venv-v1/.installed-$(shell { cat "$(CAT_CORE)/pyproject.toml" requirements.txt; \
	echo $(REQUIREMENTS_V1); } 2>/dev/null | cksum | cut -d' ' -f1)
FIND_PYTHON_V1 := python="$(PYTHON_V1)"; "$$python" -c \
	'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null || python=
ADMIN_PAGE := No panel here
# The environment that says which Cat the tests and run_v1.py start.
V1 = CAT=1.9 CAT_CORE="$$(realpath "$(CAT_CORE)")" CAT_PYTHON="$(CURDIR)/.venv-v1/bin/python"
PARALLEL = --numprocesses $(WORKERS) --dist loadfile --durations=25
# These tests start no Cat, or choose it themselves.
WITHOUT_DOUBLE := $(patsubst %,--ignore=tests/test_%.py,cat_1_models docs double other_cats rate_limiter remote_images settings_page tokens two_generations)

# A finished install is brought up to date; the rest of an interrupted one is thrown away.
# Arguments: the folder; shell code that sets $python; the error when it finds none; not empty: make it anew.
define VENV
	@if [ -z "$(4)" ] && ls $(1)/.installed-* >/dev/null 2>&1 && $(1)/bin/python -c '' 2>/dev/null; then \
		rm $(1)/.installed-*; \
	else \
		$(2); \
		[ "$$python" ] || { echo $(3) >&2; exit 1; }; \
		echo "Making $(1) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(1); \
	fi
endef

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: other-python help zip run run-v1 test lint types unit unit-double test-v1 bench soak plugins clean python core-v1

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

run: $(STAMP) ## start a Cat with this plugin (PORT=1865; VERBOSE=1 shows its log)
	@exec $(VENV_PYTHON) .dev/run.py --port $(PORT)

run-v1: core-v1 $(STAMP) $(STAMP_V1) ## the same with Cheshire Cat 1.9 (CAT_CORE=folder core/ of its checkout)
	@$(V1) exec $(VENV_PYTHON) .dev/run_v1.py --port $(PORT)

test: lint types unit unit-double ## lint, types, unit and unit-double (PYTHON=python3.12: with that Python)

lint: $(STAMP) ## check style and formatting
	$(VENV_PYTHON) -P -m ruff check $(RUFF_OPTIONS) .
	$(VENV_PYTHON) -P -m ruff format --check $(RUFF_OPTIONS) .

# The plugin's modules import each other relatively across its root, whatever the folder is called: mypy sees
# it under the name `plugin`.
types: $(STAMP) ## check types
	@mkdir -p .cat/types && ln -sfn ../.. .cat/types/plugin
	MYPYPATH=.cat/types $(VENV_PYTHON) -P -m mypy --explicit-package-bases --namespace-packages \
		-p plugin.settings -p plugin.cat_openai_api
	MYPYPATH=.dev $(VENV_PYTHON) -P -m mypy .dev/run.py .dev/run_v1.py

unit: $(STAMP) ## run the tests (ARGS="-k name -x")
	$(VENV_PYTHON) -P -m pytest $(PARALLEL) $(ARGS)

unit-double: $(STAMP) ## run them against the double of Cheshire Cat 1.9
	CAT=double $(VENV_PYTHON) -P -m pytest $(PARALLEL) $(WITHOUT_DOUBLE) $(ARGS)

test-v1: core-v1 $(STAMP) $(STAMP_V1) ## run them against Cheshire Cat 1.9 (CAT_CORE=folder core/ of its checkout)
	$(V1) $(VENV_PYTHON) -P -m pytest $(ARGS)

bench: $(STAMP) ## measure what the plugin adds to a reply (ARGS=...)
	$(VENV_PYTHON) .dev/bench.py $(ARGS)

# Asked for with CAT=1.9, the Cat is the one that test-v1 tests.
soak: $(if $(filter 1.9,$(CAT)),core-v1) $(STAMP) $(if $(filter 1.9,$(CAT)),$(STAMP_V1)) ## mixed traffic with random faults (MINUTES=5 SEED=... USERS=...; CAT=1.9 CAT_CORE=...)
	$(if $(filter 1.9,$(CAT)),$(V1)) $(VENV_PYTHON) .dev/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(USERS),--users $(USERS))

plugins: $(if $(filter 1.9,$(CAT)),core-v1) $(STAMP) $(if $(filter 1.9,$(CAT)),$(STAMP_V1)) ## other people's plugins, in the Cat's own chat and through the API (PLUGINS=<folder>; ARGS=...; CAT=1.9 CAT_CORE=...)
	@[ -d "$(PLUGINS)" ] || { echo "PLUGINS=$(PLUGINS) is not a folder of plugins. See docs/plugins.md" >&2; exit 1; }
	$(if $(filter 1.9,$(CAT)),$(V1)) $(VENV_PYTHON) .dev/plugins.py "$(PLUGINS)" $(ARGS)

# Its name has no version: on Cheshire Cat 1.9 a plugin is known by the name of its zip.
zip: ## pack the plugin for a Cat: dist/cat_openai_api.zip
	@$(FIND_PYTHON); "$$python" .dev/pack.py dist/cat_openai_api.zip

clean: ## remove .venv, .venv-v1, .cat and caches
	rm -rf .venv .venv-v1 .cat .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

# The interpreter that .venv is made with.
python:
	@$(FIND_PYTHON); [ "$$python" ] || { echo $(NO_PYTHON) >&2; exit 1; }; echo "$$python"

$(STAMP): pyproject.toml requirements.txt $(if $(OTHER_PYTHON),other-python)
	$(call VENV,.venv,$(FIND_PYTHON),$(NO_PYTHON),$(OTHER_PYTHON))
	@echo "Installing the dependencies into .venv: about a minute the first time"
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --group dev -r requirements.txt
	@touch $@

# A Cheshire Cat 1.9 that can be started: its source, and the folder /admin that it mounts when it is imported.
# In the Cat's image the admin panel is there.
core-v1:
	@grep -qs '^version = "1\.9\.' "$(CAT_CORE)/pyproject.toml" && [ -f "$(CAT_CORE)/cat/startup.py" ] || { \
		echo "CAT_CORE=$(CAT_CORE) is not the folder core/ of a checkout of Cheshire Cat 1.9. For example:"; \
		echo "  git clone --branch 1.9.2 --depth 1 https://github.com/cheshire-cat-ai/core ../core-1.9"; \
		echo "  make $(firstword $(MAKECMDGOALS)) CAT_CORE=../core-1.9/core"; exit 1; } >&2
	@[ -f /admin/index.html ] || { mkdir -p /admin && echo $(ADMIN_PAGE) >/admin/index.html && \
		echo "Made /admin/index.html, without which Cheshire Cat 1.9 does not start"; } 2>/dev/null || { \
		echo "Cheshire Cat 1.9 does not start without /admin/index.html, which cannot be made here. Once:"; \
		echo "  sudo sh -c 'mkdir -p /admin && echo \"$(ADMIN_PAGE)\" >/admin/index.html'"; exit 1; } >&2

# .venv's Python reads the list: that of 3.10 knows no TOML.
$(STAMP_V1): requirements.txt | $(STAMP)
	$(call VENV,.venv-v1,$(FIND_PYTHON_V1),"$(PYTHON_V1) is no Python 3.10 with its venv module. Install one or say" \
		"where it is: PYTHON_V1=/path/to/python3.10")
	@echo "Installing Cheshire Cat 1.9's dependencies into .venv-v1: about five minutes and 1.1 GB the first time"
	@$(VENV_PYTHON) -c 'import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]["dependencies"], sep="\n")' \
		<"$(CAT_CORE)/pyproject.toml" >.venv-v1/requirements.txt
	@.venv-v1/bin/python -m pip install -qq --disable-pip-version-check \
		-r .venv-v1/requirements.txt -r requirements.txt $(REQUIREMENTS_V1)
	@touch $@
