"""What `gradebook` alone prints: how to start, and the commands in groups."""

import inspect
from difflib import get_close_matches

from gradebook.pipelines.cli.options import app

GROUPS = {
    "Start": ("start", "app", "demo", "completion"),
    "Data": ("init", "classes", "import", "embed", "split", "pool", "pool-join"),
    "Label": ("queue", "label", "neighbours", "agreement", "accept-rest", "undo"),
    "Train": ("train", "session", "export", "predict", "serve", "push"),
    "View": ("status", "record", "map", "fiftyone", "mcp"),
    "Maintain": (
        "verify",
        "backup",
        "restore",
        "log",
        "export-labels",
        "relocate",
        "forget",
        "delete-run",
        "fetch",
        "trust",
    ),
    "Measure": ("evaluate", "runs", "forecast", "simulate", "profile", "plan"),
}

START = """usage: gradebook COMMAND ...

Label a hundred images, train on thousands.

Label a folder of images in the browser:

  gradebook start IMAGES

Or step by step:

  gradebook init PROJECT --classes cat,dog
  gradebook import PROJECT IMAGES
  gradebook embed PROJECT
  gradebook label PROJECT labels.csv
  gradebook train PROJECT
  gradebook queue PROJECT      which images to label next, and why
  gradebook app PROJECT        or label in the browser
  gradebook export PROJECT classifier
  gradebook predict classifier IMAGES
"""

END = """gradebook COMMAND --help   show the arguments of a command
gradebook --version        show the version"""


def overview() -> str:
    """Returns the help of the whole program."""
    width = max(len(name) for names in GROUPS.values() for name in names)
    groups = [
        "\n".join([f"{title}:", *(f"  {name:<{width}}  {summaries()[name]}" for name in names), ""])
        for title, names in GROUPS.items()
    ]
    return "\n".join([START, *groups, END])


def unknown_command(name: str) -> str:
    """Returns the message for a command that does not exist, with the names that are close to it."""
    close = get_close_matches(name.lower(), list(summaries()), n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else "gradebook alone lists the commands"
    return f"there is no command {name!r}: {hint}"


def summaries() -> dict[str, str]:
    """Returns each command's first line of help."""
    return {
        name.replace("_", "-"): (inspect.getdoc(spec.target) or "").splitlines()[0]
        for name, spec in app._subcommands.items()
    }
