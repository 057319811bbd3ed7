"""The progress of `captioner train` on stderr."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.cli import output
from captioner.config.checks import samples_captions
from captioner.data.encoder_identity import parse_identity
from captioner.data.vocabulary import SPECIAL
from captioner.metrics import NAMES
from captioner.training.solver import Step
from captioner.training.train import Ended, Estimated, Event, Started, Validated, Warned

PERPLEXITY_NOTE = (
    "note: loss and perplexity are those of the reference captions. The model is trained on {captions}, so they can "
    "increase while captions improve. Compare BLEU-4 and CIDEr-D."
)

METRICS = {
    "word_loss": "loss {:.3f} per word",
    "reward": "reward {:.3f}",
    "advantage": "advantage {:.3f}",
}
"""Metrics of a step shown in the progress bar, by their names in history.jsonl."""

INITIALIZED = (
    "starts from {checkpoint}: {shared_words:,} of {words:,} words shared, {new:,} new, {dropped_words:,} dropped"
)
FEW = 30
"""Of fewer validation images, a difference of scores is chance."""


def show_training(events: Iterator[Event], is_quiet: bool = False) -> dict[str, Any]:
    """Consume the events of a training run with a progress bar, and return the summary.

    With `is_quiet`, print nothing, as another rank does.
    """
    bar: tqdm[Any] = tqdm(disable=True)
    words, limit = 0, "train.epochs"
    command: tuple[object, ...] = ()
    summary: dict[str, Any] = {}
    try:
        for event in events:
            if isinstance(event, Ended):
                summary = event.summary
            if is_quiet:
                continue
            match event:
                case Started():
                    output.note(*_started(event))
                    is_known = event.config.data.source == "prepared" and parse_identity(event.corpus.encoder)
                    photos = "caption", "PHOTO", "--model", event.folder
                    command = photos if is_known else ("sample", event.folder, "-n", "10")
                    limit = "train.max_steps" if event.total_steps == event.config.train.max_steps else limit
                    bar = output.progress(event.total_steps, "step", event.step)
                case Step():
                    words += event.words
                    _advance(bar, event, words)
                case Validated():
                    with output.above_progress():
                        output.note(_validated(event))
                case Estimated(seconds):
                    about = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
                    with output.above_progress():
                        output.note(f"training takes about {about}")
                case Warned():
                    with output.above_progress():
                        output.note(f"warning: {event.problem}")
                case Ended():
                    bar.close()
                    output.note(_ended(event, limit), *_compared(event))
                    ignored = summary["ended"] == "stopped" or "overfit" in summary or _start_is_best(summary)
                    if command and not ignored:
                        output.next_command(*command)
    finally:
        bar.close()
    return summary


def _advance(bar: tqdm[Any], step: Step, words: int) -> None:
    elapsed = bar.format_dict["elapsed"] if not bar.disable else 0.0
    if elapsed:
        metrics = [text.format(step.metrics[name]) for name, text in METRICS.items() if name in step.metrics]
        bar.set_postfix_str(", ".join((*metrics, f"{words / elapsed:,.0f} words/s")), refresh=False)
    bar.update()


def _started(event: Started) -> list[str]:
    config, corpus = event.config, event.corpus
    splits = ", ".join(
        f"{name} {split.features.shape[0]:,} images {len(split.captions):,} captions"
        for name, split in corpus.splits.items()
    )
    plural = "s" if event.total_steps != 1 else ""
    resumed = f", from step {event.step:,}" if event.step else ""
    initial, start = event.initialization if not event.step else None, config.train.init_from
    if initial and isinstance(start, str):
        initial["checkpoint"] = f"{start}, the model that comes with captioner"
    source = "captions that it samples" if samples_captions(config) else ""
    source = source or (f"the captions in {config.data.captions}" if config.data.captions else "")
    return [
        f"{config.data.source}: {splits}; {len(corpus.vocab) - len(SPECIAL):,} words",
        f"{config.model.decoder}: {event.parameters:,} parameters; {event.total_steps:,} step{plural} of "
        f"{config.train.batch_size} captions, {event.steps_per_epoch:,} per epoch{resumed} -> {event.folder}",
        *([PERPLEXITY_NOTE.format(captions=source)] if source else []),
        *([INITIALIZED.format(**initial, new=initial["words"] - initial["shared_words"])] if initial else []),
    ]


def _validated(event: Validated) -> str:
    where = f"epoch {event.epoch}" if event.step else "start"
    scored = f"validation loss {event.loss:.4f} per word, perplexity {event.perplexity:.2f}"
    if event.scores:
        scored += f"  BLEU-4 {100 * event.scores['bleu4']:.1f}, CIDEr-D {100 * event.scores['cider_d']:.1f}"
    return f"{where}  {scored}{'  best so far' if event.best and event.step else ''}"


def _start_is_best(summary: dict[str, Any]) -> bool:
    """Return whether no epoch is better than the start, or scores show that the base is."""
    compared = summary.get("compared")
    scored = compared and compared["images"] >= FEW and compared["best"]["cider_d"] <= compared["start"]["cider_d"]
    return bool(scored or (compared and not summary["best"]["step"]))


def _compared(event: Ended) -> Iterator[str]:
    """Report the gain of CIDEr-D over the base, or name that: best.h5 of epoch 0 has new words, another regression.

    CIDEr-D of one image is 0: its perplexity is reported, with the new words in both.
    """
    if compared := event.summary.get("compared"):
        start, best = (100 * compared[name]["cider_d"] for name in ("start", "best"))
        images = f"{compared['images']:,} validation image{'s' if compared['images'] != 1 else ''}"
        metric, scores = "CIDEr-D", f"{best:.1f} against {start:.1f} on {images}"
        if compared["images"] == 1:
            best, start = event.summary["best"]["perplexity"], compared["perplexity"]
            metric, scores = "perplexity", f"{best:.2f} against {start:.2f} at the start; one photograph cannot decide"
        if _start_is_best(event.summary):
            yield f"not better than the model it started from: use that one, {compared['base']}; {metric} {scores}"
        elif compared["images"] < FEW:
            yield (
                f"{images}: too few to choose the best epoch; compare captions of "
                f"{event.folder / BEST}, {event.folder / LAST} and {compared['base']}; {metric} {scores}"
            )
        else:
            yield f"CIDEr-D {best - start:.1f} better than the model it started from ({scores})"


def _ended(event: Ended, limit: str) -> str:
    """Describe the end of training, and how to continue; `limit` is the option that limits the number of steps."""
    summary = event.summary
    best = summary["best"]
    metric = next((name for name in NAMES if name in (best or ())), None)
    value = f"{metric} {100 * best[metric]:.1f}" if metric else f"perplexity {best['perplexity']:.2f}" if best else ""
    at = f"; best {value} in epoch {best['epoch']}" if best else ""
    start, mpi = (f"mpiexec -n {summary['ranks']} ", " --mpi") if summary.get("ranks", 1) > 1 else ("", "")
    folder = shlex.quote(os.fspath(event.folder))
    reason = summary["ended"]
    ended = f"{reason} after {summary['step']:,} step{'s' if summary['step'] != 1 else ''}"
    speed = f", {summary['seconds']:.0f} s, {summary['words_per_second']:,} words/s"
    hint = f"; continue with {start}captioner train --resume {folder}{mpi}" if reason == "stopped" else ""
    if not summary.get("steps_this_time", 1):  # resumed after its end
        ended, speed = f"finished already: {ended}", ""
        hint = f"; to continue, increase {'train.patience' if reason == 'early stopping' else limit} with -o"
    return f"{ended}{speed}{at} -> {event.folder}{hint}"
