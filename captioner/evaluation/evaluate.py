"""Score the captions of runs, files and baselines against the same references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.arrays import Array
from captioner.data.corpus import Corpus
from captioner.errors import UsageError
from captioner.evaluation.caption_files import read_caption_file
from captioner.evaluation.image_ids import match
from captioner.evaluation.nearest_neighbours import nearest_neighbour_captions
from captioner.evaluation.references import read_references
from captioner.evaluation.runs import NamedCaptioner
from captioner.evaluation.score_model import build_evaluation_set, score_model
from captioner.evaluation.scoring import EvaluationSet, ScoredCaptions, score_captions, to_dict

BASELINES: Mapping[str, Callable[[Corpus, str, Array], list[str]]] = {"nn": nearest_neighbour_captions}
"""Functions (data set, split, rows) -> captions."""


class Evaluated(NamedTuple):
    """Scored captions of one split; the first are compared with all others."""

    split: str
    evaluation_set: EvaluationSet
    scored: list[ScoredCaptions]

    def record(self) -> dict[str, Any]:
        """Convert the scores to JSON types."""
        first, *others = self.scored
        return {"split": self.split, **to_dict(self.evaluation_set, first, others)}


def check_baseline(baseline: str | None, splits: Sequence[str]) -> None:
    """Raises: UsageError for an unknown baseline, and for a baseline on the training split."""
    if baseline is not None and baseline not in BASELINES:
        raise UsageError(f"baseline {baseline}: expected {' or '.join(BASELINES)}")
    if baseline is not None and "train" in splits:
        raise UsageError(
            f"baseline {baseline}: uses the captions of train and cannot be scored on it; try another split"
        )


def evaluate_files(files: Sequence[Path], references: Path, split: str | None) -> Evaluated:
    """Score the captions in files against the references in a file, or in one split of it.

    Raises: DataError for a file that cannot be read, or whose captions do not match the images.
    """
    evaluation_set, numbers = read_references(references, split)
    return Evaluated(
        split or references.name, evaluation_set, [_score_file(path, evaluation_set, numbers) for path in files]
    )


def evaluate_split(
    captioners: Sequence[NamedCaptioner],
    corpus: Corpus,
    split: str,
    baseline: str | None = None,
    against: Path | None = None,
) -> Evaluated:
    """Score the captions of models, then those of a baseline and of a file, on a split of a data set.

    Raises: DataError, as `evaluate_files`, and when the split does not exist.
    """
    evaluation_set, rows = build_evaluation_set(corpus, split)
    others = [] if against is None else [_score_file(against, evaluation_set, {})]  # first: it may be invalid
    if baseline is not None:
        others.insert(0, score_captions(evaluation_set, baseline, BASELINES[baseline](corpus, split, rows)))
    models = [score_model(one, corpus, split, evaluation_set, rows, name) for name, one in captioners]
    return Evaluated(split, evaluation_set, [*models, *others])


def _score_file(path: Path, evaluation_set: EvaluationSet, numbers: Mapping[str, int]) -> ScoredCaptions:
    captions = match(read_caption_file(path), path, evaluation_set.images, numbers)
    return score_captions(evaluation_set, path.name, captions)
