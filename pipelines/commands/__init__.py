"""The subcommands of `gradebook`: each is one job, and what it needs is imported when it is called."""

from pipelines.commands import begin, learn, look, measure, pool, scale, upkeep
from pipelines.commands.shared import app

__all__ = ["app", "begin", "learn", "look", "measure", "pool", "scale", "upkeep"]
