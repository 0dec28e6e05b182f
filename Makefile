# Everything that CI runs and a person needs; `make` alone builds the virtual environment.
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= configs/digits.yaml
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: all demo runners test test-fast test-flink test-prism test-thorough docs lint types format lock benchmark-deps benchmark-lock similarity-deps \
	similarity-lock clean
all: .venv/ready

.venv/ready: requirements.lock setup.py
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e .
	touch $@

demo: .venv/ready
	$(BIN)/ruiji run --config $(CONFIG)

# What some tests start: a Flink cluster, Prism, a browser (from the system's packages, as Java is); and the kernels,
# which else all of their processes would compile at once.
runners: .venv/ready
	$(BIN)/python -m tests.runners.install flink prism vectors chromium
	$(BIN)/python -m tests.kernels

# All tests. Those of the cluster wait for most of their time, so that they go beside two others, and first.
test: runners
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
		tests/runners $(filter-out tests/runners/ tests/__pycache__/,$(wildcard tests/*/)) $(wildcard tests/test_*.py)

test-fast: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not flink and not prism and not browser"

test-flink: .venv/ready
	$(BIN)/python -m tests.runners.install flink vectors
	$(BIN)/python -m pytest tests/runners -m flink

test-prism: .venv/ready
	$(BIN)/python -m tests.runners.install prism vectors
	$(BIN)/python -m pytest tests/runners -m prism

# As often as was promised, where the suite makes do with a share: kills, races, damages (`tests/thorough.py`), and
# faults on a cluster twenty times.
test-thorough: .venv/ready
	$(BIN)/python -m tests.runners.install flink vectors
	RUIJI_THOROUGH=1 $(BIN)/python -m pytest -n 2 --dist loadfile \
		tests/contracts tests/properties tests/pipelines/test_kill.py tests/unit/service/test_openapi.py \
		tests/trainer/test_jax.py tests/trainer/test_fit.py tests/trainer/backbones
	RUIJI_THOROUGH=1 $(BIN)/python -m pytest tests/runners/test_flink.py

# The documentation as a site in build/site; links that lead nowhere fail it. (`--quiet` would let them pass.)
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file configs/site/mkdocs.yml

lint: .venv/ready docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/ready
	$(BIN)/uv pip compile setup.py --extra dev --python-version 3.11 --generate-hashes --quiet --output-file requirements.lock

# Peers of the benchmarks, beside the locked packages; hnswlib is compiled here, with the build tools of the main lock.
benchmark-deps: .venv/ready
	$(BIN)/uv pip install --quiet --require-hashes --no-deps --no-build-isolation --python $(BIN)/python \
		-r benchmarks/requirements.lock

benchmark-lock: .venv/ready
	$(BIN)/uv pip compile --generate-hashes --python-version 3.11 -c requirements.lock --quiet \
		--output-file benchmarks/requirements.lock benchmarks/requirements.in

# TensorFlow Similarity needs TensorFlow 2.15 and Keras 2, which do not go with the main lock: an environment of its own.
similarity-deps: .venv-similarity/ready

.venv-similarity/ready: benchmarks/tensorflow_similarity/requirements.lock | .venv/ready
	$(PYTHON) -m venv --clear --without-pip .venv-similarity
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python .venv-similarity/bin/python $<
	touch $@

similarity-lock: .venv/ready
	$(BIN)/uv pip compile --generate-hashes --python-version 3.11 --quiet \
		--output-file benchmarks/tensorflow_similarity/requirements.lock benchmarks/tensorflow_similarity/requirements.in

clean:
	rm -rf .venv .runners .venv-similarity work build dist *.egg-info
