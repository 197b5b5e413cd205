# LinkPeek: everything a developer does here. `make` alone lists it.
#
# Nothing needs to be installed first: on Debian (as root, or with sudo) the
# packages that are missing are installed, everything Python goes into env/.
# What is already there is left alone, so a second run starts at once and needs
# no network.

# The interpreter that env/ is made of: 3.11 or later.
PYTHON ?= python3
# More words for pytest: make test PYTEST_ARGS='-k egress -x'
PYTEST_ARGS ?=
# How many files of tests run at the same time; 0 for one test after the other, in this process.
# Most of what the tests do is waiting for what they started: with 3 they take half the time on two
# cores. Those that judge what a page looks like at a certain moment have the machine to themselves.
TEST_FILES_AT_ONCE ?= 0
# How long `make fuzz` goes on with each of its tests.
FUZZ_SECONDS ?= 60

ENV := env
BIN := $(ENV)/bin
CODE := linkpeek tests benchmarks setup.py
AT_ONCE := -n $(TEST_FILES_AT_ONCE) --dist loadfile --no-loadscope-reorder
ifeq ($(TEST_FILES_AT_ONCE),0)
RUN_TESTS = $(BIN)/python -m pytest $(PYTEST_ARGS)
else
# PYTEST_ARGS may choose none that run alone, of which pytest makes an error.
RUN_TESTS = { $(BIN)/python -m pytest $(PYTEST_ARGS) -m alone || test $$? = 5; } && \
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not alone' $(AT_ONCE)
endif

# The browser, the fonts that pages of the world need, and what uWSGI is compiled with.
RUN_PACKAGES := gcc libc6-dev chromium-headless-shell|chromium chromium-sandbox \
	fonts-liberation fonts-dejavu-core fonts-noto-cjk fonts-noto-color-emoji
ifeq ($(PYTHON),python3)
RUN_PACKAGES += python3-venv python3-dev
endif
# The tests run the snippets of /docs, the service behind a real Nginx and in a network of
# its own, and the database and the brokers of many machines; of systemd, they only ask what it
# makes of a unit.
TEST_PACKAGES := $(RUN_PACKAGES) nginx-light|nginx php-cli nodejs curl git iproute2 util-linux procps postgresql \
	redis-server rabbitmq-server logrotate systemd debootstrap wrk
# One of the servers that are compared is compiled with libev; the documentation is captured.
BENCH_PACKAGES := $(TEST_PACKAGES) libev-dev python3-doc

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List what can be made
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1#\2/p' Makefile | column -t -s '#' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1: \2/p' Makefile

.PHONY: run
run: run-system $(ENV)/.run ## Set everything up, then serve http://localhost:6543
	$(BIN)/linkpeek init development.ini
	@echo "==> http://localhost:6543 (Ctrl-C stops it)"
	exec $(BIN)/pserve development.ini

.PHONY: test
test: test-system $(ENV)/.test ## Lint, types, then every test, with real programs
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(RUN_TESTS)

.PHONY: test-unit
test-unit: $(ENV)/.test ## Only the tests that start no other program
	$(BIN)/python -m pytest -m 'not live' $(AT_ONCE) $(PYTEST_ARGS)

.PHONY: lint
lint: $(ENV)/.test ## Check style and layout of the code
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

.PHONY: typecheck
typecheck: $(ENV)/.test ## Check the types, strictly
	$(BIN)/mypy

.PHONY: format
format: $(ENV)/.test ## Lay the code out and repair what can be repaired
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: soak
soak: test-system $(ENV)/.test ## 2,000 captures of good, bad and hostile pages while workers are killed
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

.PHONY: fuzz
fuzz: $(ENV)/.test ## Requests nobody would think of, FUZZ_SECONDS=60 for each kind of them
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest --timeout 0 tests/functional/test_fuzz.py $(PYTEST_ARGS)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest --timeout 0 -m hypothesis --hypothesis-profile=fuzz \
		tests/unit $(PYTEST_ARGS)

.PHONY: bench
bench: bench-system $(ENV)/.bench ## Measure everything that docs/performance.md says, in some 40 minutes
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: bench-quick
bench-quick: bench-system $(ENV)/.bench ## The same in three minutes, into build/bench/
	$(BIN)/python -m benchmarks --quick $(BENCH_ARGS)

.PHONY: dist
dist: $(ENV)/.test ## Build the source archive and the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m build

.PHONY: clean
clean: ## Remove what make and the tools made (not var/, which holds data)
	rm -rf $(ENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis linkpeek.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- how it is done ----------------------------------------------------------

.PHONY: run-system test-system bench-system
run-system:
	@tools/debian-packages $(foreach package,$(RUN_PACKAGES),'$(package)')
test-system:
	@tools/debian-packages $(foreach package,$(TEST_PACKAGES),'$(package)')
bench-system:
	@tools/debian-packages $(foreach package,$(BENCH_PACKAGES),'$(package)')

# A virtual environment does not survive that its checkout is moved or its interpreter goes.
ifneq ($(wildcard $(BIN)/activate),)
ifneq ($(shell $(BIN)/python -IS -c '' 2>&1 && grep -qF '$(CURDIR)/$(ENV)' $(BIN)/activate && echo works),works)
$(info ==> $(ENV)/ no longer works; it is made anew)
$(shell rm -rf $(ENV))
endif
endif

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "LinkPeek needs Python 3.11 or later; choose one with: make PYTHON=..." >&2; exit 1; }
	@echo "==> making the virtual environment $(ENV)/"
	$(PYTHON) -m venv $(ENV)

$(ENV)/.run: $(BIN)/python setup.py constraints.txt
	@echo "==> installing LinkPeek into $(ENV)/ (uWSGI is compiled, which takes a while)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(ENV)/.test: $(ENV)/.run
	@echo "==> installing the tools for the tests into $(ENV)/"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(ENV)/.bench: $(ENV)/.test
	@echo "==> installing what is measured beside LinkPeek into $(ENV)/"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@
