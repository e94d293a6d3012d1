# make demo   a painting from a fresh clone, without PyTorch
# make test   the whole test suite, everything installed
# make lint   ruff and mypy
# make bench  the measurements of benchmarks/ (hours are not needed: some ten minutes)
#
# Environments are made once and kept; they are made anew when pyproject.toml changes.

PYTHON ?= python3
STYLE ?= starry_night
PHOTO ?= examples/raccoon.jpg
# PyTorch 2.13.0: where a CPU build of it is at hand, pip takes that; plain "torch" would bring several GB of CUDA.
TORCH ?= torch==2.13.0

.PHONY: demo test lint format bench clean

demo: .venv-demo/ready
	@mkdir -p out
	@.venv-demo/bin/impasto stylize $(PHOTO) --style $(STYLE) -o out

test: .venv-test/ready
	.venv-test/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

format: .venv-test/ready
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

bench: .venv-test/ready
	.venv-test/bin/python benchmarks/speed.py --json benchmarks/results/speed.json

.venv-demo/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python -m pip install --quiet --editable .
	@touch $@

.venv-test/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-test
	.venv-test/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-test/bin/python -m pip install --quiet "$(TORCH)"
	.venv-test/bin/python -m pip install --quiet --editable ".[all]" --group bench --group lint --group test
	@touch $@

clean:
	rm -rf .venv-demo .venv-test out dist
