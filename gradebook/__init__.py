"""Gradebook: label a hundred images, train on thousands, and see what every pseudo-label did.

The subpackages are `gradebook.mpl` (Meta Pseudo Labels and other methods, on arrays), `gradebook.storage` (rows on
disk), `gradebook.pipelines` (one package a job, and the command line) and `gradebook.app` (the browser app).
"""

from importlib.metadata import version

__version__ = version("gradebook-ai")
