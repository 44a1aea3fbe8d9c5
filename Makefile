# What a newcomer needs: `make demo` and `make test` work right after the clone, with nothing but bash, make and Python 3.11 or later.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types layout deploy hazards kills long simulate mutants stress chaos bench lock ci clean

# Of this checkout, whatever is active in the caller's shell.
RUN := .venv/bin/python
PYTEST_WORKERS ?= auto
PYTEST_ARGS ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter of a new .venv; PYTEST_ARGS='-k fence -x' goes to pytest."

setup: ## Make .venv from the lock file (other targets do it by themselves)
	@.ci/setup

demo: setup ## See it work: embedded servers, two workers, one killed in the middle of a run
	@$(RUN) -m fencepost demo

test: setup ## Run all tests, on real servers of their own
	@$(RUN) -m pytest -q -n $(PYTEST_WORKERS) --maxprocesses=4 --dist=worksteal $(PYTEST_ARGS)

lint: setup ## Check style and format
	@$(RUN) -m ruff check . && first=0 || first=1; $(RUN) -m ruff format --check . && exit $$first

format: setup ## Mend style and format where a tool can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

types: setup ## Check types, strictly, with two checkers
	@$(RUN) -m pyright && first=0 || first=1; $(RUN) -m mypy && exit $$first

layout: setup ## Check rooms, arrows, sizes and the wheel
	@$(RUN) -m pytest -q tests/layout $(PYTEST_ARGS)

deploy: setup ## Render and verify the deployment files
	@$(RUN) -m pytest -q -rs tests/deploy $(PYTEST_ARGS)

hazards: setup ## Run each hazard's tests, as they are and with its guards taken out, and print the table
	@$(RUN) -m tests.hazards $(HAZARDS)

kills: setup ## Kill workers between append and settle and in bodies, 20 times each way
	@FENCEPOST_KILLS=$(or $(TIMES),20) $(RUN) -m pytest -q -s tests/kills/test_kills.py $(PYTEST_ARGS)

long: setup ## On real servers, some minutes: one run with 100,000 events, whose turns cost the same at its end; statements and 4,000,000 rows
	@FENCEPOST_LONG=1 $(RUN) -m pytest -q -s tests/long tests/store/test_plans.py $(PYTEST_ARGS)

simulate: setup ## Play SEEDS=20000 seeded fault schedules of the whole engine (SEED=s alone: one, with its trace)
	@$(RUN) -m tests.simulate $(if $(SEEDS)$(SEED),$(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)),--seeds 20000) --jobs $(or $(JOBS),2)

mutants: setup ## Take each guard out, put bugs of other engines in: the simulator and the tests must find each
	@$(RUN) -m tests.simulate.mutants --jobs $(or $(JOBS),2)

stress: setup ## The storm: 40 cycles of races on real servers, an hour or so; STRESS_ARGS='--cycles 2' for less
	@$(RUN) -m tests.stress $(STRESS_ARGS)

chaos: setup ## Kill, freeze, flush, restart and cut off at random for MINUTES=5; CHAOS_ARGS='--seed 7' repeats one
	@$(RUN) -m tests.chaos --minutes $(or $(MINUTES),5) $(CHAOS_ARGS)

bench: setup ## Measure against the floor of plain Postgres on this machine
	@$(RUN) -m benchmarks $(BENCH_ARGS)

lock: ## Resolve the dependencies anew into requirements.lock (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras --group test --upgrade \
	  --no-emit-index-url --no-emit-find-links --no-header --quiet pyproject.toml -o requirements.lock

ci: ## Run all that a change must pass
	@.ci/run

clean: ## Delete what can be made again: .venv, caches, builds (not the data in .fencepost)
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find worker queue store tests -name __pycache__ -type d -prune -exec rm -rf {} +
