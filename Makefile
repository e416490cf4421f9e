# make demo   make test   make lint   ARGS is handed on: make test ARGS="-k ladder", make demo ARGS="--seconds 60"

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-mesos test-pmu fuzz survive lint clean

BIN := .venv/bin
INSTALLED := .venv/installed

help:
	@echo "make demo    show it: production, best-effort tasks that hurt it, and what Serenity does (2.5 minutes)"
	@echo "make test    run the tests"
	@echo "make test-mesos    those against the real mesos-master and mesos-agent, from PATH or SERENITY_MESOS_BIN; as root with cgroups too"
	@echo "make test-pmu      the hardware counters' code on a PMU that QEMU emulates (three minutes; fetches Debian packages)"
	@echo "make fuzz    ten thousand made-up histories of crashes and lost messages (ten minutes; SEED=N repeats a run)"
	@echo "make survive    200 random sequences of kills, cut lines and restarts of real processes (20 minutes; SEED=N repeats a run)"
	@echo "make lint    ruff and mypy"
	@echo "make venv    only make .venv with all of it installed (the others do it too)"
	@echo "make clean   remove .venv and everything built"

demo: venv
	@$(BIN)/serenity demo $(ARGS)

# More workers than cores: most tests wait for processes.  A file's tests stay together, and share its fixtures.  Files
# go in our order (tests/conftest.py): in xdist's own, those of few tests last, one worker ends a minute after the rest.
PYTEST = $(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder
# Where it is set, every worker rewrites the assertions of all tests anew: five seconds of CPU each.
unexport PYTHONDONTWRITEBYTECODE

test: venv
	@$(PYTEST) $(ARGS)

test-mesos: venv
	@$(PYTEST) -m real_mesos $(ARGS)

test-pmu: venv
	@$(BIN)/python tests/pmu/run.py $(ARGS)

# One process, for one core.
SEED := $(or $(SEED),$(shell date +%s))
fuzz: venv
	@echo "seed $(SEED)"
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -q --hypothesis-seed=$(SEED) tests/fuzz $(ARGS)

survive: venv
	@$(BIN)/python -m tests.survival --seed $(SEED) $(ARGS)

lint: venv
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy

clean:
	@rm -rf .venv build dist src/*.egg-info wire/_vendor* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(INSTALLED)
	@:

# The first python that is new enough; `make PYTHON=/path/to/python` chooses another.
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

$(INSTALLED): setup.cfg pyproject.toml $(wildcard build_backend/*.py)
	@python='$(PYTHON)'; \
	test -n "$$python" || { echo "Serenity needs Python 3.11 or newer, and found none on PATH." >&2; exit 1; }; \
	$$python -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	echo "Installing Serenity into .venv with $$($$python --version) (a minute the first time)"; \
	$(BIN)/python -c 'import pip' 2>/dev/null || $$python -m venv --clear .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@
