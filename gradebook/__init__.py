"""Gradebook: label a hundred images, train on thousands, and see what every pseudo-label did.

    import gradebook

    project = gradebook.create("pets", images="~/photos", classes=["cat", "dog"])
    project.embed()
    queue = project.queue(limit=50)
    project.label({queue.sample_id[0]: "cat"})
    run = project.train()
    classifier = run.export("classifier")
    classifier.predict(["new.jpg"])

This API is `gradebook.api`; its names are imported when they are first used. The other subpackages are `gradebook.mpl`
(Meta Pseudo Labels and other methods, on arrays), `gradebook.storage` (rows on disk), `gradebook.pipelines` (one
package a job, and the command line) and `gradebook.app` (the browser app).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradebook.api.creation import create
    from gradebook.api.creation import open_project as open  # noqa: A004
    from gradebook.api.evaluation import Evaluation
    from gradebook.api.labelling import LabelResult
    from gradebook.api.project import Project
    from gradebook.api.run import Run
    from gradebook.pipelines.inference.classifier import Classifier, Prediction, load_classifier
    from gradebook.pipelines.training.config import ConfigError
    from gradebook.storage.images import BrokenImage
    from gradebook.storage.project import ProjectError

    __version__: str
else:
    _MODULES = {
        "gradebook.api.creation": ("create", "open_project"),
        "gradebook.api.evaluation": ("Evaluation",),
        "gradebook.api.labelling": ("LabelResult",),
        "gradebook.api.project": ("Project",),
        "gradebook.api.run": ("Run",),
        "gradebook.pipelines.inference.classifier": ("Classifier", "Prediction", "load_classifier"),
        "gradebook.pipelines.training.config": ("ConfigError",),
        "gradebook.storage.images": ("BrokenImage",),
        "gradebook.storage.project": ("ProjectError",),
    }
    _MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name):
        """Imports a name of the API, so that `import gradebook` itself loads neither torch nor pandas."""
        from importlib import import_module

        if name == "__version__":
            from importlib.metadata import version

            return version("gradebook-ai")
        original = "open_project" if name == "open" else name
        if name not in __all__:
            raise AttributeError(f"module 'gradebook' has no attribute {name!r}")
        return getattr(import_module(_MODULE_OF[original]), original)

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "BrokenImage",
    "Classifier",
    "ConfigError",
    "Evaluation",
    "LabelResult",
    "Prediction",
    "Project",
    "ProjectError",
    "Run",
    "__version__",
    "create",
    "load_classifier",
    "open",
]
