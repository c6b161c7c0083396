# Format, lint, types, layers
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run lint-imports --no-cache

# The checks and the first tier of tests: minutes
test *arguments:
    uv run --extra mongodb python -m tests {{arguments}}

# The checks and every test, as CI runs them
test-all *arguments:
    uv run --extra mongodb python -m tests --all {{arguments}}

# Lines that the tests do not run, by file
coverage:
    uv run --extra mongodb python -m tests --all --coverage --cov-report term-missing:skip-covered

# The README's demo: real images to an exported classifier in about a minute
demo:
    uv run --extra mongodb gradebook demo

# Draw the pictures of README and docs again, from a project in a browser
docs project="demo/project":
    uv run --extra mongodb python -m docs.pictures {{project}}

# The documentation as a site, in site/; warnings are errors
site:
    uv run mkdocs build --strict

# The site of a version, beside those of other versions, on the branch gh-pages; the newest is also `latest`
site-version version:
    uv run mike deploy --update-aliases {{version}} latest
    uv run mike set-default latest
