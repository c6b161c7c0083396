"""The subcommands of `gradebook`: each is one job, and what it needs is imported when it is called."""

from gradebook.pipelines.cli import cost, data, maintenance, pool, review, simulate, training
from gradebook.pipelines.cli.options import app

__all__ = ["app", "cost", "data", "maintenance", "pool", "review", "simulate", "training"]
