"""The table of sources: every kind of data set becomes a `Corpus`."""

from __future__ import annotations

from collections.abc import Callable

from captioner.data.corpus import Corpus
from captioner.data.cs231n import cs231n
from captioner.data.prepared import prepared
from captioner.data.scenes import scenes

SOURCES: dict[str, Callable[..., Corpus]] = {"scenes": scenes, "cs231n": cs231n, "prepared": prepared}
"""Sources by config name, each a function (root, memory_mib, regions, **options of its config section) -> Corpus."""
