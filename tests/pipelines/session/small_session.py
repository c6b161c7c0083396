"""Settings with which a session trains for a moment: short bursts of small batches."""

from dataclasses import replace
from typing import Any

from gradebook.storage.store import Store

BURST, MAX = 6, 12  # steps of a burst, and after a label


def small_config(original: Any) -> Any:
    """Returns a function that makes a session's settings smaller than `original` does."""

    def config(store: Store, method: str, seed: int) -> Any:
        made = original(store, method, seed)
        return replace(made, steps=MAX, labelled=8, unlabelled=16, hidden=8, finetune_steps=2)

    return config
