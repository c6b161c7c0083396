"""Trains a student: `accelerate launch pipelines/train.py PROJECT ...`, or without `accelerate launch`.

This is the entry point. `cli/train_command.py` parses the command line, `training/trainer.py` trains.
"""

import sys
from pathlib import Path

# Run as a file, Python looks in this folder first: there, no module of ours may hide an installed package.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

from gradebook.pipelines.cli.train_command import main

if __name__ == "__main__":
    sys.exit(main())
