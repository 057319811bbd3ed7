"""captioner sample: write captions for images."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.completion import complete_run
from captioner.cli.options import PATH, data_option, encoder_options, ensemble_option, example_override_option
from captioner.errors import DataError, UsageError

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus
    from captioner.inference.caption import Caption
    from captioner.inference.captioner import Captioner
    from captioner.inference.restore import LoadedModel
    from captioner.preparation.find_photos import Unreadable


@click.command(
    epilog="""\b
Examples:
  captioner sample runs/birds new.jpg holiday/
  captioner sample runs/scenes --split val -n 10
  captioner sample runs/scenes/last.h5 --features new.h5 --json
  captioner sample --ensemble runs/birds runs/birds-2 new.jpg -o decode.beam_width=5 -o decode.length_penalty=0.7
  captioner sample runs/birds new.jpg --n-best 3 -o decode.method=sampling -o decode.top_p=0.9
"""
)
@click.argument("run", type=PATH, metavar="RUN_OR_CHECKPOINT...", shell_complete=complete_run)
@click.argument("names", nargs=-1, type=PATH, metavar="[PHOTO_OR_FOLDER]...")
@ensemble_option
@data_option("Caption a split of the data set FILE instead of the run's")
@click.option(
    "--split", metavar="SPLIT", help="Caption the images of SPLIT.  [default: val, if no photographs are given]"
)
@click.option(
    "--features",
    type=PATH,
    metavar="FILE",
    help="Write captions for precomputed image features, one for each row of the array `features` in the HDF5 file "
    "FILE, with the array `regions` for attention.",
)
@click.option(
    "-n", "--number", type=click.IntRange(min=1), metavar="N", help="Caption at most N images.  [default: all]"
)
@click.option(
    "--n-best",
    type=click.IntRange(min=1, max=100),
    default=1,
    show_default=True,
    metavar="N",
    help="Write N captions per image. A narrower beam is widened to N, which may change the first caption.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@click.option(
    "--write-sidecar",
    metavar="SUFFIX",
    help="Also write each caption to a file beside its photograph: with .txt, photo.jpg gets photo.txt.",
)
@click.option(
    "--coco",
    type=PATH,
    metavar="FILE",
    help="Also write the first caption of each image to FILE in COCO's results format.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing sidecar files and an existing --coco file.")
@click.option(
    "--encoder", metavar="RECIPE",
    help="Image encoder; needed if the checkpoint's encoder is unknown or its ONNX file is not found.",
)  # fmt: skip
@encoder_options
@example_override_option("decode.beam_width=5")
def sample(
    run: Path,
    names: tuple[Path, ...],
    ensemble: bool,
    data: Path | None,
    split: str | None,
    features: Path | None,
    number: int | None,
    n_best: int,
    as_json: bool,
    write_sidecar: str | None,
    coco: Path | None,
    overwrite: bool,
    encoder: str | None,
    encoder_option: dict[str, str],
    overrides: tuple[str, ...],
) -> int:
    """Write captions for images.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, or a checkpoint file. With --ensemble, the word
    probabilities of several runs are averaged, and the options of the first are used. All models of an ensemble must
    have the same vocabulary and encoder. PHOTO_OR_FOLDER is a photograph, a folder of photographs, or -,
    which reads names of photographs and folders from stdin, one per line. Photographs must follow all runs. Without
    photographs, the images of a split are captioned.

    The first line for each image contains its name, the caption, its log-probability (natural logarithm) and, for
    generated drawings, whether the caption is true. Tabs separate them. Further candidates and the references
    follow on lines that start with a tab. Unreadable photographs are reported and skipped, and the exit code is 1.
    """
    from captioner.inference.find_checkpoint import is_run

    runs = [run, *takewhile(is_run, names)]
    photos = names[len(runs) - 1 :]
    if late := [name for name in photos if is_run(name)]:
        raise UsageError(f"{late[0]}: run after a photograph; put all runs before the photographs")
    for wrong, message in (
        (len(runs) > 1 and not ensemble,
         f"got {len(runs)} runs; name one, or average their word probabilities with --ensemble"),
        (sum((split is not None or data is not None, features is not None, bool(photos))) > 1,
         "photographs, --split (with or without --data) and --features exclude each other; use one of them"),
        ((write_sidecar or encoder or encoder_option) and not photos,
         "--write-sidecar, --encoder and --encoder-option need photographs"),
        (overwrite and write_sidecar is None and coco is None, "--overwrite needs --write-sidecar or --coco"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    if write_sidecar is not None:
        from captioner.inference.sidecars import check_suffix

        check_suffix(write_sidecar)
    if coco is not None:
        from captioner.evaluation.caption_files import check_results_output

        check_results_output(coco, overwrite)
    from captioner.inference.load import open_runs

    loaded = open_runs(runs, overrides)
    if photos:
        captions = _of_photos(loaded, photos, encoder, encoder_option, number, n_best)
    elif features is not None:
        captions = _of_features(loaded, features, number, n_best)
    else:
        captions = _of_split(loaded, data, split or "val", number, n_best)
    from captioner.cli.captions import write_captions

    return write_captions(captions, as_json, write_sidecar, coco, overwrite)


def _of_photos(
    loaded: LoadedModel,
    photos: tuple[Path, ...],
    encoder: str | None,
    encoder_option: dict[str, str],
    number: int | None,
    n_best: int,
) -> Iterable[Caption | Unreadable]:
    from captioner.inference.photos import caption_photos, open_encoder_of, photo_paths, photo_warning

    opened = open_encoder_of(loaded, encoder, encoder_option)
    captions = caption_photos(_open_captioner(loaded), opened, photo_paths(_names(photos)), n_best, number)
    warning = photo_warning(loaded)
    return captions if warning is None else _with_warning(captions, warning)


def _of_features(loaded: LoadedModel, path: Path, number: int | None, n_best: int) -> Iterable[Caption]:
    from captioner.inference.caption_features import caption_features

    return caption_features(_open_captioner(loaded), path, number, n_best)


def _of_split(loaded: LoadedModel, data: Path | None, name: str, number: int | None, n_best: int) -> Iterable[Caption]:
    from captioner.inference.caption_features import caption_split
    from captioner.inference.load import open_corpus

    corpus = open_corpus(loaded, data)
    split = corpus.split(name)
    captioner = _open_captioner(loaded, corpus if data is None else None)
    return caption_split(captioner, split, number, n_best, corpus.vocab)


def _open_captioner(loaded: LoadedModel, corpus: Corpus | None = None) -> Captioner:
    from captioner.inference.load import captioner_of

    captioner = captioner_of(loaded, corpus)
    output.warnings(captioner.warnings)
    return captioner


def _with_warning(captions: Iterable[Caption | Unreadable], warning: str) -> Iterator[Caption | Unreadable]:
    """Print a warning before the first caption of a photograph."""
    from captioner.inference.caption import Caption

    first = True
    for caption in captions:
        if first and isinstance(caption, Caption):
            output.warnings([warning])
            first = False
        yield caption


def _names(photos: tuple[Path, ...]) -> Iterator[Path]:
    for photo in photos:
        if os.fspath(photo) != "-":
            yield photo
            continue
        names = _stdin()
        if (first := next(names, None)) is None:
            raise UsageError("-: expected names of photographs on stdin, one per line, got none")
        yield first
        yield from names


def _stdin() -> Iterator[Path]:
    if sys.stdin is None:
        raise UsageError("-: expected names of photographs on stdin, one per line, but stdin is closed")
    try:
        yield from (Path(_decode(name)) for line in sys.stdin.buffer if (name := line.rstrip(b"\r\n")))
    except OSError as error:
        raise DataError(f"-: cannot read stdin: {error.strerror}") from error


def _decode(name: bytes) -> str:
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # on Windows, if another program writes names in the code page of the console
        return name.decode(sys.stdin.encoding, "backslashreplace")
