"""The subcommands of `gradebook`. Each imports what it needs when it is called, so that the others start fast."""

from gradebook.pipelines.cli import (
    cost,
    curate,
    data,
    maintenance,
    pool,
    review,
    serve,
    session,
    simulate,
    start,
    training,
)
from gradebook.pipelines.cli.options import app

__all__ = [
    "app",
    "cost",
    "curate",
    "data",
    "maintenance",
    "pool",
    "review",
    "serve",
    "session",
    "simulate",
    "start",
    "training",
]
