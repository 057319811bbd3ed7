"""python -m benchmarks.marks MODEL --data FILE --pictures FOLDER: marks and keywords.

The pictures are of another kind than the photographs of FILE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

import captioner
from captioner.arrays import Array
from captioner.captioning.caption import MARKS, Caption
from captioner.captioning.load import open_corpus
from captioner.decode.word_regression import FORMS
from captioner.evaluation.scoring import build_evaluation_set, score_captions
from captioner.metrics import image_scores

PATH = click.Path(path_type=Path)
OUTSIDE, UNCERTAIN = MARKS
KEYWORDS_ABOVE = (0.2, 0.28, 0.4)
"""Values of `caption.keywords_above` that are compared."""
RESAMPLES, TAIL = 1000, 0.2
"""AUC: captions of the fifth (`TAIL`) with the lowest CIDEr-D against the others."""


@click.command()
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("--data", required=True, type=PATH, help="Data set of MODEL; its split val is compared.")
@click.option("--pictures", required=True, type=PATH, help="Pictures of another kind.")
def main(model: Path, data: Path, pictures: Path) -> None:
    """Print the figures of docs/decoding.md."""
    loaded = captioner.load(model, {"caption.keywords_above": min(KEYWORDS_ABOVE)})
    corpus = open_corpus(loaded.loaded, data)
    val = corpus.split("val")
    own, others = list(loaded.caption_split(val, vocab=corpus.vocab)), loaded.caption([pictures])
    scored = score_captions(build_evaluation_set(corpus, "val")[0], "model", [caption.text for caption in own])
    cider = image_scores(scored.rows, "cider_d")
    sources = np.array(val.sources or [""] * len(own))
    for source in np.unique(sources):
        mine = np.flatnonzero(sources == source)
        print(f"\n{source or 'val'}")
        print_source([own[row] for row in mine], cider[mine], predictors(others)["familiarity"])
    marked = {mark: sum(mark in caption.marks for caption in others) for mark in MARKS}
    print(f"\npictures: {marked[OUTSIDE]} of {len(others)} marked, {marked[UNCERTAIN]} uncertain")


def print_source(captions: Sequence[Caption], cider: Array, unfamiliar: Array) -> None:
    """Print figures of the captions of a source: familiarity, the mark *uncertain*, and keywords."""
    marked = np.mean([OUTSIDE in caption.marks for caption in captions])
    is_low, count, numbers = cider <= np.quantile(cider, TAIL), len(captions), predictors(captions)
    area = auc(numbers["familiarity"], unfamiliar)
    print(f"familiarity against the pictures: AUC {area:.3f}; {marked:.1%} of {count} marked")
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    for name, values in numbers.items():
        areas = [auc(values[rows][~is_low[rows]], values[rows][is_low[rows]]) for rows in drawn]
        bounds = " to ".join(f"{bound:.2f}" for bound in np.quantile(areas, (0.025, 0.975)))
        low, high = np.split(100 * cider[np.argsort(values, kind="stable")], [int(TAIL * count)])
        area = auc(values[~is_low], values[is_low])
        print(f"{name}: AUC {area:.2f} ({bounds}); CIDEr-D {low.mean():.1f} and {high.mean():.1f}")
    below = np.array([UNCERTAIN in caption.marks for caption in captions])
    low, high = 100 * cider[below], 100 * cider[~below]
    print(f"{below.mean():.1%} uncertain, CIDEr-D {low.mean():.1f}; of the others {high.mean():.1f}")
    references = [words(*caption.references) for caption in captions]
    for least in KEYWORDS_ABOVE:
        shown = [[word for word, share in caption.keywords if share >= least] for caption in captions]
        hits = [bool(forms(word) & own) for row, own in zip(shown, references, strict=True) for word in row]
        counts = [len(row) for row in shown]
        print(f"keywords above {least:g}: {np.mean(hits):.1%} of {len(hits)} in a reference; per image, mean ", end="")
        print(f"{np.mean(counts):.2f}, median {np.median(counts):g}, none {np.mean(np.array(counts) == 0):.1%}")
    known = set[str]().union(*references)
    plurals = {word for word in known if word.endswith("s") and word[:-1] in known}
    wrong = [caption.text for caption in captions if after_article(caption.text) & plurals]
    print(f"{len(wrong)} of {count} captions have a plural after `a`: {'; '.join(wrong)}")


def predictors(captions: Sequence[Caption]) -> Mapping[str, Array]:
    """Return numbers that may predict the CIDEr-D of each caption without references."""
    log_probs = np.array([caption.log_prob for caption in captions])
    return {
        "familiarity": np.array([caption.familiarity for caption in captions]),
        "log-probability": log_probs,
        "log-probability per word": log_probs / [len(caption.text.split()) + 1 for caption in captions],
        "expected similarity": np.array([caption.similarity for caption in captions]),
    }


def auc(higher: Array, lower: Array) -> float:
    """Compute the probability that a number of `higher` exceeds one of `lower`; ties count half."""
    ordered = np.sort(higher)
    below = np.searchsorted(ordered, lower, "left") + np.searchsorted(ordered, lower, "right")
    return 1 - float(below.mean()) / (2 * len(ordered))


def words(*texts: str) -> set[str]:
    """Return the words of texts in lower case."""
    return set(re.findall("[a-z]+", " ".join(texts).lower()))


def after_article(text: str) -> set[str]:
    """Return the words that follow `a` or `an`, or come after one word in between, at the end of a phrase."""
    return set(
        re.findall(
            r"\ban?(?: (?!few|couple|lot)\w+)? (\w+)(?= (?:is|are|in|on|of|at|with|and|while|near|next)\b|$)", text
        )
    )


def forms(keyword: str) -> set[str]:
    """Return the last part of a keyword, such as *shirt* of *t-shirt*, and its other names, in singular and plural."""
    last = re.findall("[a-z]+", keyword.lower())[-1]
    forms = {last, *(form for form, thing in FORMS.items() if thing == last)}
    plain = {form for word in forms for form in (word, re.sub("s$", "", word), re.sub("es$", "", word))}
    return {form for word in plain for form in (word, f"{word}s", f"{word}es", re.sub("y$", "ies", word))}


if __name__ == "__main__":
    main()
