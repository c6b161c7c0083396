"""The `gradebook` command."""

import sys
from collections.abc import Sequence

from gradebook.pipelines.cli import app
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.process.terminal import prepare_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in ([], ["-h"], ["--help"]):
        from gradebook.pipelines.cli.overview import overview

        print(overview())
        return 0
    if given == ["--version"]:
        from gradebook import __version__

        print(f"gradebook {__version__}")
        return 0
    silence_libraries()
    if given[0] == "train":  # its options depend on the method, so it parses them itself
        from gradebook.pipelines.cli.train_command import main as train_main

        return train_main(given[1:])
    with exit_with_message():
        if not given[0].startswith("-"):
            _check_command(given[0])
        return int(app.cli(prog="gradebook", args=given, use_underscores=False) or 0)


def _check_command(name: str) -> None:
    """Raises ProjectError if there is no command of this name."""
    from gradebook.pipelines.cli.overview import summaries, unknown_command
    from gradebook.storage.project import ProjectError

    older = {alias for spec in app._subcommands.values() for alias in spec.aliases}
    if name.replace("_", "-") not in summaries().keys() | older:
        raise ProjectError(unknown_command(name))


if __name__ == "__main__":
    sys.exit(main())
