# Every verb sets up what it needs: a virtual environment in .venv with pinned packages. The first one takes minutes,
# the next starts at once; a changed pyproject.toml or constraints.txt installs again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

PYTHON = .venv/bin/python
INSTALL = $(PYTHON) -m pip install --quiet --constraint constraints.txt
# What tests run on; each worker computes on one core of its own.
WORKERS ?= 2
BENCH_ROWS ?= recipes/data/shell.jsonl
PYTEST = OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(PYTHON) -m pytest

.PHONY: help demo demo-remote test test-slow test-gpu chaos chaos-remote lint types docs lock bench quality clean

help: ## Show these verbs
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/ready ## Train a small model on bash commands here, and write the report
	@lorry run recipes/demo.yaml

demo-remote: .venv/ready .venv/sshd ## The same on a rented machine that is taken away in the middle; the cloud is emulated here
	@$(PYTHON) -m lorry.emulators.demo recipes/demo.yaml

test: .venv/ready-dev ## Run the tests
	@$(PYTEST) -m 'not slow and not gpu and not chaos' -n $(WORKERS)

test-slow: .venv/ready-dev ## Run the tests that take minutes
	@$(PYTEST) -m 'slow and not gpu and not chaos'

chaos: .venv/ready-dev ## Kill runs of a real model at random moments, for about an hour
	@$(PYTEST) -m chaos -n $(WORKERS) --ignore tests/chaos/remote

chaos-remote: .venv/ready-dev ## Carry 100 rented runs through random faults of an emulated cloud, for up to an hour
	@$(PYTEST) -m chaos -s tests/chaos/remote

test-gpu: .venv/ready-dev ## Run the tests that need a CUDA GPU
	@$(PYTHON) -m pytest -m gpu

lint: .venv/ready-dev ## Check style and format
	@ruff check --no-cache . # a cache forgets that imports are sorted by which modules are there
	@ruff format --check .
	@shellcheck .ci/run src/lorry/compute/machine/on_machine/dead_man.sh

types: .venv/ready-dev ## Check types
	@pyright

docs: .venv/ready ## Write docs/reference again
	@$(PYTHON) docs/generate.py

lock: .venv/ready ## Write the lock for rented machines again, after a change of dependencies
	@$(PYTHON) .ci/lock.py

bench: .venv/ready-dev ## Measure speed, as benchmarks/README.md tells
	@$(PYTHON) benchmarks/against_trl.py $(BENCH_ROWS)
	@$(PYTHON) benchmarks/data.py
	@$(PYTHON) benchmarks/check.py
	@$(PYTHON) benchmarks/cli.py

quality: .venv/ready-dev ## Train with each method on the data sets in DATA=folder, and measure what it brings
	@for name in dpo grpo cpt ppo orpo kto reward chain; do $(PYTHON) benchmarks/quality/$$name.py "$(DATA)"; done

clean: ## Remove the virtual environment and everything built
	rm -rf .venv build dist .pytest_cache .ruff_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first, alone and pinned: the build that pip finds then is the one that everything else builds on.
.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing what lorry needs into .venv; the first time takes minutes.'
	@$(PYTHON) -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	@$(INSTALL) --editable '.[train,demo]'
	@touch $@

.venv/ready-dev: .venv/ready .venv/sshd
	@echo 'Installing what the checks need into .venv'
	@$(INSTALL) --editable '.[train,demo,dev]'
	@touch $@

# Emulated machines answer SSH with the system's own server.
.venv/sshd: | .venv/bin/python
	@if ! PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v sshd >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openssh-server >/dev/null; \
	  else echo 'Emulated machines need an SSH server: `sudo apt-get install openssh-server`' >&2; exit 1; fi; \
	fi
	@touch $@

.venv/bin/python:
	@for python in $${PYTHON_BIN:-python3} python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then echo 'lorry needs Python 3.11 or later; on Debian: `apt-get install python3 python3-venv`' >&2; exit 1; fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
	  else echo 'Python cannot make virtual environments here: `sudo apt-get install python3-venv`' >&2; exit 1; fi; \
	fi; \
	"$$found" -m venv .venv
