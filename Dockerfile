# Gradebook's app, with a MongoDB for FiftyOne inside.
#   docker build -t gradebook .
#   docker run --rm -p 127.0.0.1:8501:8501 -v /path/to/projects:/projects -v /path/to/images:/images:ro gradebook
# and open the link that it prints.
# Inside the container the server listens to all of the container's addresses; the -p above opens it to this machine alone.
FROM python:3.11-slim-bookworm
RUN pip install --no-cache-dir uv && apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 curl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /gradebook
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --locked --extra mongodb --no-dev --no-install-project
COPY gradebook gradebook
COPY app app
COPY mpl mpl
COPY pipelines pipelines
COPY storage storage
RUN uv sync --locked --extra mongodb --no-dev
ENV PATH=/gradebook/.venv/bin:$PATH
EXPOSE 8501
CMD ["streamlit", "run", "app/main.py", "--server.address", "0.0.0.0", "--server.port", "8501"]
