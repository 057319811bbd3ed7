"""captioner sample: write captions for images: photographs, the rows of a feature file, or a split."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.shared_options import (
    PATH,
    caption_options,
    data_option,
    ensemble_option,
    example_override_option,
    examples,
    grouped,
    images_option,
    recipe_option,
    report_missing,
)
from captioner.config.overrides import NONE, Values
from captioner.errors import CaptionerError, DataError, UsageError

if TYPE_CHECKING:
    from captioner.captioning.caption import Caption
    from captioner.captioning.output_files import CaptionSink
    from captioner.data.corpus import Corpus

PAGES = (".html", ".htm")
"""The pages of --write; other files are those of `output_files`."""
CORRECT = {True: ("fully correct",), False: ("not fully correct",), None: ()}


@dataclass(frozen=True)
class Source:
    """The options that choose images, if no photographs are given, and how many; and the encoder of photographs."""

    data: Path | None
    split: str | None
    features: Path | None
    number: int | None
    encoder: str | None


@dataclass(frozen=True)
class Files:
    """The options of what is written: JSON on stdout, and files; `images` are the photographs of a page."""

    as_json: bool
    outputs: tuple[Path, ...]
    images: Path | None
    overwrite: bool

    @property
    def has_page(self) -> bool:
        return _has_suffix(self.outputs, *PAGES)


@click.command(
    epilog=examples(
        "sample runs/birds new.jpg holiday/",
        "sample runs/scenes --split val -n 10",
        "sample runs/scenes/last.h5 --features new.h5 --json",
        "sample runs/scenes-attention -n 10 --write maps.html",
        "sample --ensemble runs/birds runs/birds-2 new.jpg -o decode.beam_width=5 -o decode.length_penalty=0.7",
        "sample runs/birds new.jpg --n-best 3 -o decode.method=sampling -o decode.top_p=0.9",
        "sample runs/birds --split train --n-best 5 --write teacher.jsonl",
    )
)
@click.argument("run", type=PATH, metavar="RUN_OR_MODEL...")
@click.argument("names", nargs=-1, type=PATH, metavar="[PHOTO_OR_FOLDER]...")
@ensemble_option
@data_option("Caption a split of the data set FILE instead of the run's")
@click.option(
    "--split", metavar="SPLIT", help="Caption the images of SPLIT.  [default: val, if no photographs are given]"
)
@click.option(
    "--features", type=PATH, metavar="FILE",
    help="Write captions for precomputed image features, one for each row of the array `features` in the HDF5 file "
    "FILE, with the array `regions` for attention.",
)  # fmt: skip
@click.option(
    "-n", "--number", type=click.IntRange(min=1), metavar="N", help="Caption at most N images.  [default: all]"
)
@caption_options("n_best", "attention", "labels")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@click.option(
    "--write", "outputs", multiple=True, type=PATH, metavar="FILE",
    help="Also write the captions to FILE; may be repeated. FILE.csv is a table for spreadsheets: image, first "
    "caption, log-probability, familiarity, similarity, marks, keywords and labels. FILE.jsonl has the records of "
    "--json. FILE.html is a page of attention maps. With xmp or txt, each caption is written to a sidecar beside its "
    "photograph: photo.jpg.xmp, as in darktable and digiKam, or photo.txt. Uncertain captions have no sidecar. XMP "
    "sidecars of other programs are never changed.",
)  # fmt: skip
@images_option("--write FILE.html with --split")
@click.option("--overwrite", is_flag=True, help="Replace existing files of --write.")
@recipe_option
@example_override_option("decode.beam_width=5")
@grouped(source=Source, files=Files)
def sample(
    run: Path, names: tuple[Path, ...], ensemble: bool, source: Source, files: Files, overrides: Values,
) -> int:  # fmt: skip
    """Write captions for images.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. With --ensemble, the word
    probabilities of several runs are averaged, and the options of the first are used. All models of an ensemble must
    have the same vocabulary and encoder. PHOTO_OR_FOLDER is a photograph or a folder of photographs. Photographs must
    follow all runs. Without photographs, the images of a split are captioned.

    The first line for each image contains its name, the caption, for generated scenes whether the caption is fully
    correct, and its marks: `outside the training domain` if its familiarity is below decode.unfamiliar_below, and
    `uncertain` if its expected similarity to references is below decode.uncertain_below. Tabs separate them. Further
    candidates with their ranks, labels and the references follow on lines that start with a tab. Log-probabilities are
    in --json and --write. Unreadable photographs are reported, skipped and counted, and the exit code is 1.

    --n-best, --attention and --labels set the options caption.* of the config. The attention weights are written to the
    records of --json and FILE.jsonl. They need a model with attention, and ImageNet labels an EfficientNet-Lite
    encoder.
    """
    runs, photos = _runs_and_photos(run, names, ensemble)
    _check_usage(photos, source, files, overrides)
    from captioner.captioning.captioner import Captioner
    from captioner.captioning.checks import check_attention, check_reads_data, photo_warnings
    from captioner.captioning.load import open_corpus, open_runs, shares_of_split

    loaded = open_runs(runs, overrides)
    attention, split = loaded.config.caption.attention, "val" if source.split is None else source.split
    if photos or source.features or source.data:
        check_reads_data(loaded, source.data, source.features)
    options = {"caption.attention": True} if files.has_page else NONE
    captioner = Captioner(loaded, source.encoder).with_options(options)
    corpus = None if photos or source.features else open_corpus(loaded, source.data)

    sinks = [_open_sink(path, files, bool(photos), corpus, split) for path in files.outputs]
    if attention or files.has_page:
        check_attention(loaded)

    captions: Iterator[Caption | DataError]
    if corpus is not None:
        shares = shares_of_split(loaded, corpus, split)
        captions = captioner.caption_split(corpus.split(split), source.number, corpus.vocab, shares)
    elif source.features is not None:
        captions = captioner.caption_features(source.features, source.number)
    else:
        captions = captioner.captions(captioner.photographs(photos, source.number))
    output.warnings((*captioner.warnings, *(photo_warnings(loaded) if photos else ())))
    code, captioned = _print(captions, files.as_json, attention, sinks)

    if sinks and not captioned:
        raise DataError("no image was captioned; no file was written")
    for sink in sinks:
        kept, written = sink.finish()
        if kept:
            output.problem(kept)
        if written:
            output.note(written)
    if files.has_page and corpus is not None:
        from captioner.report.gallery import AttentionPage

        for page in (sink for sink in sinks if isinstance(sink, AttentionPage)):
            report_missing(page.gallery.missing, len(page.gallery.entries), corpus.about, files.images)
    if output.is_terminal() and not (photos or source.features or files.as_json or ensemble or source.data):
        output.next_command("evaluate", run)
    return code


def _runs_and_photos(run: Path, names: Sequence[Path], ensemble: bool) -> tuple[list[Path], Sequence[Path]]:
    """Separate the runs, which come first, from the photographs; a run is recognized by its name.

    Raises: UsageError for another order, or several runs that are not an ensemble.
    """
    from captioner.captioning.find_checkpoint import is_run

    runs = [run, *takewhile(is_run, names)]
    photos = names[len(runs) - 1 :]
    if os.path.exists(run) and not is_run(run) and (later := [name for name in names if is_run(name)]):
        words = shlex.join(map(str, (*later, *(name for name in (run, *names) if name not in later))))
        raise UsageError(f"{run}: expected a run before the photographs; did you mean captioner sample {words}?")
    files = [] if is_run(run) else next(os.walk(run), ("", [], [str(run)]))[2]
    if any((guess_type(file, strict=False)[0] or "").startswith("image/") for file in files):
        raise UsageError(f"{run}: expected a run folder or a model file first, such as models/everyday.h5")
    if late := [name for name in photos if is_run(name)]:
        raise UsageError(f"{late[0]}: run after a photograph; put all runs before the photographs")
    if len(runs) > 1 and is_run(run) and not ensemble:
        raise UsageError(f"got {len(runs)} runs; use one, or average their word probabilities with --ensemble")
    if len(runs) == 1 and ensemble:
        raise UsageError("--ensemble needs several runs")
    return runs, photos


def _check_usage(photos: Sequence[Path], source: Source, files: Files, overrides: Values) -> None:
    """Raises: UsageError for options that exclude or need each other, and for outputs that cannot be written."""
    from captioner.captioning.output_files import SIDECARS

    of_split, of_features = source.split is not None or source.data is not None, source.features is not None
    for wrong, message in (
        (sum((of_split, of_features, bool(photos))) > 1,
         "photographs, --split (with or without --data) and --features exclude each other; use one of them"),
        ((source.encoder or not SIDECARS.keys().isdisjoint(map(str, files.outputs))) and not photos,
         "--write xmp, --write txt and --encoder need photographs"),
        (files.overwrite and not files.outputs, "--overwrite needs --write"),
        (overrides.get("caption.attention") and not files.as_json and not _has_suffix(files.outputs, ".jsonl", *PAGES),
         "--attention needs --json, or --write FILE.jsonl or FILE.html"),
        (files.images is not None and (not files.has_page or photos or of_features),
         "--images needs --write FILE.html and the images of a split"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    _check_outputs(files.outputs)


def _has_suffix(paths: Iterable[Path], *suffixes: str) -> bool:
    return any(path.suffix.lower() in suffixes for path in paths)


def _check_outputs(outputs: Sequence[Path]) -> None:
    """Raises: UsageError for a name that is of no kind of output, and for two outputs with one target."""
    from captioner.captioning.output_files import FILES, SIDECARS

    targets = [str(path) if str(path) in SIDECARS else os.path.realpath(path) for path in outputs]
    for number, (path, target) in enumerate(zip(outputs, targets, strict=True)):
        if str(path) not in SIDECARS and not _has_suffix([path], *FILES, *PAGES):
            raise UsageError(
                f"--write {path}: expected a name that ends in {', '.join(FILES)} or {PAGES[0]}, "
                f"or {' or '.join(SIDECARS)}"
            )
        if target in targets[:number]:
            raise UsageError(f"--write {path}: given twice; name each output once")


def _open_sink(path: Path, files: Files, is_photo: bool, corpus: Corpus | None, split: str) -> CaptionSink:
    """Return an output; a page has the pictures of photographs, or those of a split of a data set.

    Raises: UsageError when a file cannot be written, or exists and is not to be replaced.
    """
    from captioner.captioning.output_files import open_sink

    if not _has_suffix([path], *PAGES):
        return open_sink(path, files.overwrite)
    from captioner.report.gallery import AttentionPage, pictures_by_name

    find = None if corpus is None else pictures_by_name(corpus, split, files.images)
    return AttentionPage(path, (lambda caption: Path(caption.image)) if is_photo else find, files.overwrite)


def _print(
    captions: Iterable[Caption | DataError], as_json: bool, attention: bool, sinks: Sequence[CaptionSink]
) -> tuple[int, int]:
    """Write captions to the sinks and print them, with their attention if it is set.

    Failures are reported. Return the exit code and the number of captions. If captions are also written to files, all
    are, even if the reader of stdout closes the pipe.
    """
    code = captioned = failed = empty = 0
    marked = Counter[str]()
    for caption in captions:
        if isinstance(caption, DataError):
            output.problem(caption)
            code, failed = 1, failed + 1
            continue
        captioned, empty = captioned + 1, empty + (not caption.text)
        marked.update(caption.marks)
        shown = caption if attention else caption._replace(attention=None)
        for sink in sinks:
            try:
                sink.write(caption if sink.has_attention else shown)
            except CaptionerError as error:
                output.problem(error)
                code = 1
        with output.ignoring_a_closed_pipe() if sinks else nullcontext():
            _print_caption(shown, as_json)
    if empty:
        from captioner.captioning.decoding import ENDS_EARLY

        those = f"{empty:,} of {captioned:,} captions are empty" if captioned > 1 else "the caption is empty"
        output.warnings([f"{those}: {ENDS_EARLY}"])
    from captioner.captioning.caption import MARKS

    for mark, (option, meaning) in MARKS.items():
        if count := marked[mark]:
            those = f"{count:,} of {captioned:,} captions are" if captioned > 1 else "the caption is"
            output.note(f'{those} marked "{mark}": {meaning} (decode.{option})')
    if failed and captioned:
        output.problem(f"images captioned: {captioned:,}; errors, reported above: {failed:,}")
    return code, captioned


def _print_caption(caption: Caption, as_json: bool) -> None:
    if as_json:
        from captioner.captioning.caption import to_record

        output.record(to_record(caption))
        return
    marks = [", ".join(caption.marks)] if caption.marks else []
    output.result(caption.image, caption.text, *CORRECT[caption.correct], *marks)
    for rank, candidate in enumerate(caption.candidates[1:], 2):
        output.result("", candidate.text, f"rank {rank}")
    for name, probability in caption.labels:
        output.result("", name, f"{probability:.0%}")
    for reference in caption.references:
        output.result("", f"  {' '.join(reference.split())}")
