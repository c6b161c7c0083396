"""Embedding by a tiny backbone with random weights, for tests."""

from dataclasses import replace
from typing import Any

from gradebook.pipelines.embedding.embed import EmbedReport, embed
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store

TINY = "test_efficientnet"  # timm's smallest, 256 features


def run(store: Store, **settings: Any) -> EmbedReport:
    return embed(store, **{"backbone": TINY, "weights": "random", "size": 32, "views": 5, **settings})


def ids(store: Store, split: Split | None = None) -> list[str]:
    return [sample.sample_id for sample in store.catalog.samples(split)]


def emptied(store: Store) -> Store:
    """Returns the store without its vectors."""
    return replace(store, vectors=memory_store(store.project).vectors)
