"""USB (microsoft/Semi-supervised-learning): its trainer with its classic CIFAR-10 settings, on a CPU.

Patched from outside: `.cuda()` stays on the CPU, CUDA events measure nothing, the data set is not downloaded, and
packages that only its other tasks need are empty. Its source is not included.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import tempfile
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

from benchmarks.contenders.clock import Clock, MeasurementDone, Task, parse_task, report_and_exit

UNUSED_PACKAGES = ("aim", "progress", "ruamel", "tensorboard", "torchaudio", "transformers", "wandb")
MISSING_MODULES = ("torch.utils.tensorboard", "timm.models.layers.helpers")  # imported, but not used


class EmptyPackages(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports an empty package for each unused one."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See MetaPathFinder."""
        known = name.split(".")[0] in UNUSED_PACKAGES or name in MISSING_MODULES
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> ModuleType:
        """See Loader."""
        module: Any = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: ModuleType) -> None:
        """See Loader."""


def main() -> None:
    """Trains until the clock stops it."""
    import torch

    task = parse_task(sys.argv[1:])
    sys.meta_path.insert(0, EmptyPackages())
    sys.path.insert(0, task.reference)
    os.chdir(tempfile.mkdtemp())
    torch.Tensor.cuda = lambda tensor, *args: tensor
    torch.cuda.Event = MagicMock
    torch.cuda.synchronize = lambda *args: None
    MagicMock.elapsed_time = lambda *args: 0.0
    from semilearn import get_algorithm, get_config, get_net_builder
    from semilearn.core.hooks import Hook

    clock = Clock(task)

    class ClockHook(Hook):
        """Marks the steps."""

        def before_run(self, algorithm: Any) -> None:
            """Marks the start."""
            clock.mark()

        def after_train_step(self, algorithm: Any) -> None:
            """Marks the end of a step."""
            clock.mark()

    args = get_config(_settings(task))
    args.distributed = False
    algorithm = get_algorithm(args, get_net_builder(args.net, args.net_from_name), None, None)
    algorithm.register_hook(ClockHook(), None, "LOWEST")
    try:
        algorithm.train()
    except MeasurementDone:
        report_and_exit(clock)


def _settings(task: Task) -> dict[str, Any]:
    """Returns the settings of config/classic_cv/METHOD/METHOD_cifar10_4000_0.yaml with the task's batch size."""
    own = {"fixmatch": {"T": 0.5, "p_cutoff": 0.95}, "uda": {"T": 0.4, "p_cutoff": 0.8, "tsa_schedule": "none"}}
    return {
        "algorithm": task.method,
        "epoch": 1024,
        "num_train_iter": 1048576,
        "num_eval_iter": 5120,
        "num_log_iter": 256,
        "num_labels": 4000,
        "batch_size": task.labelled,
        "uratio": task.mu,
        "ulb_loss_ratio": 1.0,
        "ema_m": 0.999,
        "crop_ratio": 0.875,
        "img_size": 32,
        "optim": "SGD",
        "lr": 0.03,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "layer_decay": 1.0,
        "use_cat": True,
        "amp": False,
        "net": "wrn_28_2",
        "net_from_name": False,
        "dataset": "cifar10",
        "train_sampler": "RandomSampler",
        "num_classes": 10,
        "num_workers": 1,
        "seed": 0,
        "gpu": None,
        "hard_label": True,
        **own[task.method],
    }


if __name__ == "__main__":
    main()
