# Onewrite's commands. `make` alone lists them. Everything is installed inside this folder, from the locks in
# requirements/, with hashes; `make distclean` removes all of it again.
#
#   ARGS="…"            is passed on to what `demo`, `serve`, `test`, `test-guards`, `proof` and `soak` start
#   PYTHON=/path/to/it  chooses the interpreter of the virtual environment (3.11 or later)
#   LOCALSTACK_PYTHON=… the one that LocalStack runs on in tests (3.12 or later)

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
SAM_VENV := .venv-sam
LOCALSTACK_VENV := .venv-localstack
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)
WORKERS ?= 2
# The parameters Runtime and Architecture of template.yaml, with the same defaults: the wheels must fit them.
LAMBDA_RUNTIME ?= python3.13
LAMBDA_ARCH ?= arm64

# Wheels are checked against the locks, and nothing that is not locked is ever fetched, build tools included.
PIP_INSTALL := -m pip install -qq --disable-pip-version-check --no-input --root-user-action=ignore --no-deps
LOCKED := $(PIP_INSTALL) --require-hashes
export SAM_CLI_TELEMETRY := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Colour is for people: MAKE_TERMOUT is only set when standard output is a terminal.
ifeq ($(if $(NO_COLOR),,$(MAKE_TERMOUT)),)
BOLD :=
DIM :=
RED :=
GREEN :=
OFF :=
else
BOLD := \033[1m
DIM := \033[2m
RED := \033[31m
GREEN := \033[32m
OFF := \033[0m
endif
say = printf '$(BOLD)»$(OFF) %s\n' "$(1)"
fail = { printf '$(RED)✗ %s$(OFF)\n' "$(1)" >&2; exit 1; }
count = $$(grep -cE '^[a-z0-9].*==' $(1))

.PHONY: help
help: ## this list
	@printf '$(BOLD)Onewrite$(OFF): durable workflows at one write per step\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  $(BOLD)make %-12s$(OFF) %s\n", $$1, $$2}' Makefile
	@printf '\n$(DIM)New here: make demo. Before a commit: make check test.$(OFF)\n'

# --- set-up -----------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV)/.locked-dev $(VENV)/.project ## the virtual environment, with everything for development

# A pyenv shim exists for versions that it then refuses to run, so each candidate is run, not only looked up.
$(VENV)/pyvenv.cfg:
	@chosen=; for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then chosen=$$python; break; fi; \
	done; \
	[ -n "$$chosen" ] || $(call fail,Python 3.11 or later is needed. On Debian 12: apt-get install python3 python3-venv); \
	$$chosen -c 'import ensurepip; import venv' 2>/dev/null || \
	  $(call fail,$$($$chosen -V) cannot make virtual environments. On Debian: apt-get install python3-venv); \
	$(call say,Making a virtual environment in $(VENV) with $$($$chosen -V)); \
	$$chosen -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.locked-build: requirements/build.txt | $(VENV)/pyvenv.cfg
	@$(BIN)/python $(LOCKED) -r $<
	@touch $@

# What the demo needs is a fifth of what development needs, so it is a step of its own.
$(VENV)/.locked-local: requirements/local.txt $(VENV)/.locked-build
	@$(call say,Installing $(call count,$<) locked packages (about half a minute))
	@$(BIN)/python $(LOCKED) --no-build-isolation --use-pep517 -r $<
	@touch $@

$(VENV)/.locked-dev: requirements/dev.txt $(VENV)/.locked-local
	@$(call say,Installing $(call count,$<) locked packages for development (about a minute))
	@$(BIN)/python $(LOCKED) --no-build-isolation --use-pep517 -r $<
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.locked-local
	@$(BIN)/python $(PIP_INSTALL) --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(SAM_VENV)/.locked: requirements/sam.txt requirements/build.txt | $(VENV)/pyvenv.cfg
	@$(call say,Installing the SAM command line into $(SAM_VENV) (about a minute))
	@[ -x $(SAM_VENV)/bin/python ] || $(BIN)/python -m venv $(SAM_VENV)
	@$(SAM_VENV)/bin/python $(LOCKED) -r requirements/build.txt
	@$(SAM_VENV)/bin/python $(LOCKED) --no-build-isolation --use-pep517 -r $<
	@touch $@

# Where this cannot be, the target is just not made: `python -m hosts.engines` says loudly what that leaves untested.
$(LOCALSTACK_VENV)/.locked: requirements/localstack.txt requirements/build.txt
	@chosen=; for python in $(LOCALSTACK_PYTHON) python3.13 $(PYENV)/versions/3.13.*/bin/python \
	  python3.12 $(PYENV)/versions/3.12.*/bin/python python3 $$(uv python find 3.13 2>/dev/null); do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then exit 0; fi; \
	$(call say,Installing LocalStack into $(LOCALSTACK_VENV) with $$($$chosen -V) (about a minute)); \
	$$chosen -m venv --clear $(LOCALSTACK_VENV) && \
	$(LOCALSTACK_VENV)/bin/python $(LOCKED) -r requirements/build.txt && \
	$(LOCALSTACK_VENV)/bin/python $(LOCKED) --no-build-isolation --use-pep517 -r $< && \
	touch $@ || printf '$(RED)✗ LocalStack could not be installed$(OFF)\n' >&2

# --- run --------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.locked-local $(VENV)/.project ## watch orders run, fail and recover on this machine; exits by itself
	@$(BIN)/python -m hosts.local demo $(ARGS)

.PHONY: serve
serve: $(VENV)/.locked-local $(VENV)/.project ## the API, the queue and the tick on this machine, until Ctrl-C
	@$(BIN)/python -m hosts.local serve $(ARGS)

# --- check ------------------------------------------------------------------------------------------------------------

.PHONY: test
test: setup artefact $(LOCALSTACK_VENV)/.locked ## all tests, on moto, DynamoDB Local and LocalStack (ARGS="-k name" for some)
	@$(BIN)/python -m hosts.engines
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

.PHONY: test-guards
test-guards: setup ## what each condition of a write is there for; GUARD=<name>: without it, which tests notice
ifneq ($(GUARD),)
	@$(call say,Without the guard $(GUARD): these tests ought to notice)
endif
	@$(BIN)/python -m tests.guards $(GUARD) $(ARGS)

# All of them run, whatever the first one says: one round shows everything that is to be mended.
.PHONY: check
check: setup $(SAM_VENV)/.locked ## style, types, layers and the template, without running anything
	@failed=; \
	step() { \
	  name=$$1; shift; printf '$(BOLD)»$(OFF) %s\n' "$$name"; \
	  "$$@" || { failed="$$failed [$$name]"; printf '$(RED)✗ %s$(OFF)\n' "$$name"; }; \
	}; \
	step 'ruff check' $(BIN)/ruff check --quiet --output-format concise .; \
	step 'ruff format' $(BIN)/ruff format --check --quiet --output-format concise .; \
	step 'mypy --strict' $(BIN)/mypy; \
	step 'pyright' $(BIN)/pyright; \
	step 'import contracts' $(BIN)/lint-imports --no-cache --no-logo; \
	step 'cfn-lint' $(BIN)/cfn-lint template.yaml; \
	step 'sam validate' $(SAM_VENV)/bin/sam validate --lint --region us-east-1; \
	if [ -n "$$failed" ]; then $(call fail,check failed:$$failed); fi; \
	printf '$(GREEN)✓ check$(OFF)\n'

.PHONY: format
format: setup ## lay the code out, and mend what can be mended without thinking
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: bench
bench: setup artefact ## what a step costs, and how fast the kernel, a cold start, the store and a hop over Redis are
	@for bench in cost kernel coldstart store hops; do \
	  $(call say,bench.$$bench); $(BIN)/python -m bench.$$bench --json; \
	done

.PHONY: proof
proof: setup artefact $(LOCALSTACK_VENV)/.locked ## every crash point, guard, trap and engine, 20,000 histories: one to two hours
	@$(BIN)/python -m hosts.engines
	@$(BIN)/python -m bench.proof $(ARGS)

.PHONY: soak
soak: setup ## kill processes for five minutes, then account for every run (TRANSPORT=redis, ARGS="--minutes 1")
	@$(BIN)/python -m bench.soak $(if $(TRANSPORT),--transport $(TRANSPORT)) $(ARGS)

# --- Lambda -----------------------------------------------------------------------------------------------------------

# Folders count as well as files, so that a deleted file makes a new artefact.
PACKAGES := onewrite kernel infra handlers workflows
SOURCES := $(shell find $(PACKAGES) -name __pycache__ -prune -o -print 2>/dev/null)
RECIPE := scripts/artefact.py pyproject.toml requirements/runtime.txt requirements/worker.txt
STAGE := build/$(LAMBDA_RUNTIME)-$(LAMBDA_ARCH)

.PHONY: artefact
artefact: build/lambda.done ## the Lambda package for this machine, read-only, in build/lambda (for bench.coldstart)

build/lambda.done: $(SOURCES) $(RECIPE) | $(VENV)/pyvenv.cfg
	@$(call say,Building the artefact for this machine)
	@$(BIN)/python scripts/artefact.py --host --into build/lambda
	@touch $@

.PHONY: build
build: $(SAM_VENV)/.locked ## sam build: the functions as they are deployed, in .aws-sam/build
	@$(SAM_VENV)/bin/sam build --parameter-overrides \
	  "Runtime=$(LAMBDA_RUNTIME) Architecture=$(LAMBDA_ARCH)"

# The answers are kept out of the repository: they are your account's, not the project's.
.PHONY: deploy
deploy: build ## sam deploy, guided; your answers are kept in samconfig.deploy.toml
	@$(SAM_VENV)/bin/sam deploy --guided --config-file "$(CURDIR)/samconfig.deploy.toml"

# `sam build` calls one of these per function (BuildMethod: makefile in template.yaml) and says where to put the result.
# The three share one artefact, so it is made once and copied.
$(STAGE).done: $(SOURCES) $(RECIPE) | $(VENV)/pyvenv.cfg
	@$(BIN)/python scripts/artefact.py --runtime $(LAMBDA_RUNTIME) --arch $(LAMBDA_ARCH) --into $(STAGE)
	@touch $@

.PHONY: build-IntakeFunction build-JobFunction build-TickFunction
build-IntakeFunction build-JobFunction build-TickFunction: $(STAGE).done
	@[ -n "$${ARTIFACTS_DIR:-}" ] || $(call fail,$@ is for sam build: run make build)
	@cp -R $(STAGE)/. "$$ARTIFACTS_DIR/"

# --- housekeeping -----------------------------------------------------------------------------------------------------

# UPGRADE=--upgrade takes newer versions; without it only what pyproject.toml asks for changes.
UV := build/uv/bin/uv
COMPILE_FOR = $(UV) pip compile --quiet --generate-hashes --custom-compile-command 'make lock' \
  --no-emit-index-url --no-emit-find-links --annotation-style line $(UPGRADE)
COMPILE = $(COMPILE_FOR) --universal
.PHONY: lock
lock: | $(VENV)/pyvenv.cfg ## renew requirements/*.txt from pyproject.toml (UPGRADE=--upgrade for newer versions)
	@[ -x $(UV) ] || { $(BIN)/python -m venv build/uv && build/uv/bin/python -m pip install -qq uv; }
	@$(call say,Resolving)
	@$(COMPILE) --extra local --extra worker --extra dev -o requirements/dev.txt pyproject.toml
	@$(COMPILE) --extra local --no-annotate -c requirements/dev.txt -o requirements/local.txt pyproject.toml
	@$(COMPILE_FOR) --python-version 3.12 --extra worker --no-annotate -c requirements/dev.txt -o requirements/worker.txt pyproject.toml
	@$(COMPILE) --no-annotate -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml
	@$(COMPILE) --group build -o requirements/build.txt
	@$(COMPILE) --group sam -o requirements/sam.txt
	@$(COMPILE_FOR) --no-annotate --python-version 3.12 --exclude-newer 2026-03-05 --group localstack -o requirements/localstack.txt

.PHONY: clean
clean: ## remove what was built and cached (the virtual environments stay)
	@[ ! -d build ] || chmod -R u+w build
	@rm -rf build .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache ./*.egg-info
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove the virtual environments
	@rm -rf $(VENV) $(SAM_VENV) $(LOCALSTACK_VENV)
