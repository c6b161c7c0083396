# Gradebook's app, with a MongoDB for FiftyOne inside, and the server for exported classifiers. It runs as a user
# without rights (1000), who must be able to write to /projects.
#   docker build -t gradebook .
#   docker run --rm -p 127.0.0.1:8501:8501 -v /path/to/projects:/projects -v /path/to/images:/images:ro gradebook
# and open the link that it prints. With compose.yaml: docker compose up
# Inside the container the server listens to all of the container's addresses; the -p above opens it to this machine alone.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 curl \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv==0.13.9 \
    && useradd --create-home --uid 1000 gradebook \
    && mkdir /projects /images /gradebook && chown gradebook /projects /gradebook
USER gradebook
WORKDIR /gradebook
COPY --chown=gradebook pyproject.toml uv.lock README.md ./
RUN uv sync --locked --extra mongodb --extra serve --no-dev --no-install-project --no-cache
COPY --chown=gradebook gradebook gradebook
COPY --chown=gradebook app app
COPY --chown=gradebook mpl mpl
COPY --chown=gradebook pipelines pipelines
COPY --chown=gradebook storage storage
RUN uv sync --locked --extra mongodb --extra serve --no-dev --no-cache
ENV PATH=/gradebook/.venv/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /projects
EXPOSE 8501 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD curl --fail --silent http://127.0.0.1:8501/_stcore/health || exit 1
CMD ["streamlit", "run", "app/main.py", "--server.address", "0.0.0.0", "--server.port", "8501", "--server.headless", "true"]
