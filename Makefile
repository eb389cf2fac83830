# Each command works on a fresh machine: it installs first what it needs and what is missing.
# ARGS reaches the command behind a target, PYTHON names the Python 3.13 to use.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ARGS ?=
PYTHON ?=
export PYTHON
# Without byte code each process of the tests, and each host that they start, would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

bin := .venv/bin
python := $(bin)/python
python_ready := .venv/.ready
azurite_ready := node_modules/.ready
pip := $(python) -m pip --quiet --quiet --disable-pip-version-check --no-input
# The newest Azure CLI when its requests were last recorded; `make test-az AZ_VERSION=…` tries another.
AZ_VERSION ?= 2.91.0
az_ready := .venv-az/.ready-$(AZ_VERSION)
pip_compile := CUSTOM_COMPILE_COMMAND="make lock" $(bin)/pip-compile --quiet --allow-unsafe --generate-hashes \
	--strip-extras --no-emit-find-links --no-emit-index-url --no-emit-options --no-emit-trusted-host

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(python_ready) $(azurite_ready) ## Install what the other targets need, into .venv and node_modules
	@:

.PHONY: demo
demo: setup ## Onboard a simulated fleet and print the table (ARGS="--vms 200 --seed 7 --json --keep")
	@$(python) -m simulator demo $(ARGS)

.PHONY: storm
storm: setup ## Onboard a fleet under faults, lost events and kills, and check the final state (ARGS="--vms 500 --seeds 1-10")
	@$(python) -m simulator storm $(ARGS)

.PHONY: simulator
simulator: setup ## Start Azurite, ARM and Event Grid for func start (ARGS="--to URL")
	@$(python) -m simulator up $(ARGS)

.PHONY: package
package: $(python_ready) ## Build the zip that Azure runs, with its packages and byte code, in dist/ (ARGS=--json)
	@$(python) scripts/package.py $(ARGS)

.PHONY: bench
bench: setup ## Compare the product with baselines, and write docs/performance.md (ARGS=quick)
	@$(python) -m bench $(ARGS)

.PHONY: test
test: setup ## Run the tests in several processes, each file in one of them (ARGS="-k name tests/unit")
	@$(python) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-az
test-az: setup $(az_ready) ## Let the Azure CLI itself work against the simulator (ARGS="-k tour"; AZ_RECORD=1 records its requests)
	@AZ=$(CURDIR)/.venv-az/bin/az $(python) -m pytest tests/az $(ARGS)

.PHONY: coverage
coverage: setup ## Run the unit and flow tests, and fail if they take too few branches of the domain
	@rm -f .coverage .coverage.*
	@$(bin)/coverage run -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		tests/flow tests/unit $(ARGS)
	@$(bin)/coverage combine --quiet
	@$(bin)/coverage json --quiet -o - | $(python) scripts/branch_coverage.py

.PHONY: check
check: $(python_ready) ## Check format, lint, types, layers, and settings that Azure would refuse
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/lint-imports --no-logo
	@$(bin)/azure-functions-doctor doctor --profile deploy
	@$(python) scripts/templates.py

.PHONY: format
format: $(python_ready) ## Format the code, and fix what the linter can fix
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix .

.PHONY: templates
templates: $(python_ready) ## Format the templates in infra/, and write what they deploy to infra/compiled and infra/profiles
	@$(python) scripts/templates.py --write

.PHONY: checkov
checkov: $(python_ready) ## Compare checkov's findings in what infra/ deploys with those that infra/checkov.yaml explains
	@$(python) scripts/scan.py

.PHONY: lock
lock: $(python_ready) ## Compile the requirements; valid pins stay (ARGS=--upgrade renews them)
	@$(pip_compile) $(ARGS) --output-file=requirements.txt requirements.in
	@$(pip_compile) $(ARGS) --output-file=requirements-dev.txt requirements-dev.in
	@npm install --package-lock-only --ignore-scripts --loglevel=error

.PHONY: clean
clean: ## Remove all files that setup, tests and runs have made
	@rm -rf .venv .venv-az node_modules .azurite .run dist *.egg-info .coverage .coverage.* .hypothesis .*_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(python_ready): requirements.txt requirements-dev.txt pyproject.toml
	@if ! $(python) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
		found=$$(scripts/find-python); \
		echo "Making .venv with $$found"; \
		"$$found" -m venv --clear .venv; \
	fi
	@echo "Installing the pinned Python packages into .venv"
	@$(pip) install --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(pip) install --no-deps --no-build-isolation --editable .
	@touch $@

$(az_ready):
	@echo "Installing azure-cli $(AZ_VERSION) into .venv-az, which takes some minutes and 0.7 GB"
	@"$$(scripts/find-python)" -m venv --clear .venv-az
	@.venv-az/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input install azure-cli==$(AZ_VERSION)
	@touch $@

$(azurite_ready): package.json package-lock.json .npmrc
	@scripts/check-node
	@echo "Installing Azurite, the Kusto parser, htmx and axe into node_modules"
	@npm ci --ignore-scripts --no-progress --loglevel=error >/dev/null
	@touch $@
