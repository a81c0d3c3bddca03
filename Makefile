# Everything is set up into .venv by the first command that needs it. `make help` lists the commands.
# Works at any path: nothing here is absolute, and the environment's programs are started through its Python.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q

.PHONY: help demo test lab bench check clean
help:
	@echo "make demo   run the first notebook for real, with a simulated GPU where there is none"
	@echo "make test   run the tests"
	@echo "make lab    open JupyterLab with the examples and the GPU kernels"
	@echo "make bench  print the benchmark table"
	@echo "make check  lint and types"
	@echo "make clean  remove what these commands have made"

.venv/.made:
	@test -n "$(PYTHON)" || { echo "Perijove needs Python 3.11 or newer; install it, or say: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf .venv; exit 1; }
	@$(PIP) install -U 'pip>=25.1'
	@touch $@

.venv/.demo: .venv/.made pyproject.toml
	@echo "setting up .venv (once)…"
	@$(PIP) install -e '.[all]' --group demo
	@touch $@

.venv/.test: .venv/.demo
	@$(PIP) install --group test
	@touch $@

.venv/.check: .venv/.test
	@$(PIP) install --group check
	@touch $@

.venv/.bench: .venv/.demo
	@$(PIP) install --group bench
	@touch $@

demo: .venv/.demo
	@$(PY) examples/demo.py

PYTEST_ARGS ?= -q
test: .venv/.test
	@.venv/bin/pytest -n auto --dist loadgroup $(PYTEST_ARGS)

# Without an NVIDIA driver, stand-in GPUs are offered, and called simulated. The GPU kernels are installed into .venv.
lab: .venv/.demo
	@export PERIJOVE_SIMULATE="$${PERIJOVE_SIMULATE-$$(test -e /dev/nvidiactl || echo H100:2)}"; \
	$(PY) -m perijove.cli install --sys-prefix && \
	$(PY) -m jupyterlab --notebook-dir=examples $(LAB_ARGS)

bench: .venv/.bench
	@$(PY) -m benchmarks $(BENCH_ARGS)

check: .venv/.check
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

clean:
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
