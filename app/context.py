"""The context that every page gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradebook.pipelines.runs import Run
from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True)
class PageContext:
    """The open project, the chosen run, the user, and the app's pages."""

    store: Store
    run: Run | None  # whose predictions and record the pages show
    actor: str  # the user's name in the log
    pages: Mapping[str, Any] = field(default_factory=dict)  # name -> st.Page; empty in tests of one page
    query: Mapping[str, str] = field(default_factory=dict)  # parameters that every link keeps
    first_pass: bool = False  # whether to draw only the numbers, see `gradebook.app.progressive_render`
