# Gradebook's app, with a MongoDB for FiftyOne inside, and the server for exported classifiers. It runs as a user
# without rights (1000), who must be able to write to /projects.
#   docker build -t gradebook .                         # with PyTorch for Nvidia's GPUs
#   docker build -t gradebook --build-arg DEVICE=cpu .  # with PyTorch for the CPU alone, a third of the size
#   docker run --rm -p 127.0.0.1:8501:8501 -v /path/to/projects:/projects -v /path/to/images:/images:ro gradebook
# and open the link that it prints. With compose.yaml: docker compose up
# Inside the container the server listens to all of the container's addresses; the -p above opens it to this machine alone.
# FiftyOne listens to the address 127.0.0.1 inside the container, so it is reached only with --network host.
ARG DEVICE=cuda

FROM python:3.11-slim-bookworm AS base
# Debian removes a version from its archive when it publishes the next.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 curl \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv==0.13.9 \
    && useradd --create-home --uid 1000 gradebook \
    && mkdir /projects /images /gradebook && chown gradebook /projects /gradebook
USER 1000
WORKDIR /gradebook
COPY --chown=gradebook pyproject.toml uv.lock README.md ./
ENV UV_NO_CACHE=1 UV_EXPORT="uv export --locked --extra mongodb --extra quality --extra serve --no-dev --no-hashes --no-emit-project"

# The packages of uv.lock. For the CPU, torch and torchvision of the same versions come from PyTorch's own index.
FROM base AS cuda-packages
RUN uv sync --locked --extra mongodb --extra quality --extra serve --no-dev --no-install-project

FROM base AS cpu-packages
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN uv venv \
    && $UV_EXPORT | grep --extended-regexp --only-matching '^torch(vision)?==[0-9.]+' > torch.txt \
    && uv pip install --index-url https://download.pytorch.org/whl/cpu --requirement torch.txt \
    && $UV_EXPORT --prune torch --prune torchvision > packages.txt \
    && uv pip install --requirement packages.txt

# The program, the same for both.
# hadolint ignore=DL3006
FROM ${DEVICE}-packages AS gradebook
WORKDIR /gradebook
COPY --chown=gradebook gradebook gradebook
COPY --chown=gradebook app app
COPY --chown=gradebook mpl mpl
COPY --chown=gradebook pipelines pipelines
COPY --chown=gradebook storage storage
RUN uv pip install --no-deps --editable .
ENV PATH=/gradebook/.venv/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /projects
EXPOSE 8501 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["bash", "-c", "curl --fail --silent http://127.0.0.1:8501/_stcore/health || exit 1"]
CMD ["streamlit", "run", "app/main.py", "--server.address", "0.0.0.0", "--server.port", "8501", "--server.headless", "true"]
