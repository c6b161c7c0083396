"""The `gradebook` command."""

import sys
from collections.abc import Sequence

from gradebook.pipelines.cli import app
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    silence_libraries()
    if given[:1] == ["train"]:  # its flags depend on its method, so it reads them itself
        from gradebook.pipelines.train import main as train_main

        return train_main(given[1:])
    with exit_with_message():
        return int(app.cli(prog="gradebook", description=_HELP, args=given or ["--help"], use_underscores=False) or 0)


_HELP = """Label a hundred images, train on thousands.

A first round:

  gradebook init PROJECT --classes cat,dog
  gradebook import PROJECT IMAGES
  gradebook embed PROJECT
  gradebook label PROJECT labels.csv
  gradebook train PROJECT
  gradebook queue PROJECT      which images to label next, and why
  gradebook app PROJECT        or look and label in the browser
  gradebook export PROJECT classifier
  gradebook predict classifier IMAGES"""

if __name__ == "__main__":
    sys.exit(main())
