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
from captioner.cli.options import PATH, encoder_options, example_override_option
from captioner.errors import CaptionerError, DataError, UsageError

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus
    from captioner.inference.caption import Caption
    from captioner.inference.captioner import Captioner
    from captioner.inference.restore import LoadedModel
    from captioner.inference.sidecars import Sidecars
    from captioner.preparation.find_photos import Unreadable


@click.command(
    epilog="""\b
Examples:
  captioner sample runs/birds new.jpg holiday/
  captioner sample runs/scenes --split val -n 10
  captioner sample runs/scenes/last.h5 --features new.h5 --json
  captioner sample runs/birds runs/birds-2 new.jpg -o decode.beam_width=5 -o decode.length_penalty=0.7
  captioner sample runs/birds new.jpg --n-best 3 -o decode.method=sampling -o decode.top_p=0.9
"""
)
@click.argument("run", type=PATH, metavar="RUN_OR_CHECKPOINT...")
@click.argument("names", nargs=-1, type=PATH, metavar="[PHOTO_OR_FOLDER]...")
@click.option(
    "--split", metavar="SPLIT", help="Caption the images of SPLIT.  [default: val, if no photographs are given]"
)
@click.option(
    "--features",
    type=PATH,
    metavar="FILE",
    help="Caption image features: the rows of the array `features` in the HDF5 file FILE.",
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
@click.option("--overwrite", is_flag=True, help="Replace existing sidecar files.")
@click.option(
    "--encoder", metavar="NAME",
    help="Image encoder; needed if the checkpoint's encoder is unknown or its ONNX file is not found.",
)  # fmt: skip
@encoder_options
@example_override_option("decode.beam_width=5")
def sample(
    run: Path,
    names: tuple[Path, ...],
    split: str | None,
    features: Path | None,
    number: int | None,
    n_best: int,
    as_json: bool,
    write_sidecar: str | None,
    overwrite: bool,
    encoder: str | None,
    encoder_option: dict[str, str],
    overrides: tuple[str, ...],
) -> int:
    """Write captions for images.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, or a checkpoint file. Several runs or checkpoints
    form an ensemble: their word probabilities are averaged, and the options of the first are used. All models of an
    ensemble must have the same vocabulary and encoder. PHOTO_OR_FOLDER is a photograph, a folder of photographs, or -,
    which reads names of photographs and folders from stdin, one per line. Photographs must follow all runs. Without
    photographs, the images of a split are captioned.

    The first line of each image contains the image, the caption, its log-probability (natural logarithm) and, for
    generated drawings, whether the caption is true. Tabs separate them. Further candidates and the references
    follow on lines that start with a tab. Unreadable photographs are reported and skipped, and the exit code is 1.
    """
    from captioner.inference.find_checkpoint import is_run

    runs = [run, *takewhile(is_run, names)]
    photos = names[len(runs) - 1 :]
    if late := [name for name in photos if is_run(name)]:
        raise UsageError(f"{late[0]}: run after a photograph; put all runs before the photographs")
    if sum((split is not None, features is not None, bool(photos))) > 1:
        raise UsageError("photographs, --split and --features exclude each other; use one of them")
    if (write_sidecar or encoder or encoder_option) and not photos:
        raise UsageError("--write-sidecar, --encoder and --encoder-option need photographs")
    if overwrite and write_sidecar is None:
        raise UsageError("--overwrite needs --write-sidecar")
    if write_sidecar is not None:
        from captioner.inference.sidecars import check_suffix

        check_suffix(write_sidecar)
    from captioner.inference.load import open_corpus, open_runs

    loaded = open_runs(runs, overrides)
    if photos:
        from captioner.inference.photos import caption_photos, open_encoder_of, photo_paths

        opened = open_encoder_of(loaded, encoder, encoder_option)
        captions: Iterable[Caption | Unreadable] = caption_photos(
            _open_captioner(loaded), opened, photo_paths(_names(photos)), n_best, number
        )
    else:
        from captioner.inference.captions import caption_features, caption_split

        if features is not None:
            captions = caption_features(_open_captioner(loaded), features, number, n_best)
        else:
            corpus = open_corpus(loaded)
            images = corpus.split(split or "val")
            captions = caption_split(_open_captioner(loaded, corpus), images, number, n_best)
    if write_sidecar is None:
        return _print(captions, as_json, None)
    from captioner.inference.sidecars import Sidecars

    sidecars = Sidecars(write_sidecar, overwrite)
    code = _print(captions, as_json, sidecars)
    if sidecars.kept:
        exist = "sidecars exist" if sidecars.kept > 1 else "sidecar exists"
        output.problem(f"{sidecars.kept:,} {exist} already, not replaced; --overwrite replaces existing files")
    return code


def _open_captioner(loaded: LoadedModel, corpus: Corpus | None = None) -> Captioner:
    from captioner.inference.load import captioner_of

    captioner = captioner_of(loaded, corpus)
    for warning in captioner.warnings:
        output.problem(f"warning: {warning}")
    return captioner


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


def _print(captions: Iterable[Caption | Unreadable], as_json: bool, sidecars: Sidecars | None) -> int:
    """Print captions and report failures; return the exit code."""
    from captioner.inference.caption import Caption, to_record

    code = 0
    for caption in captions:
        try:
            if not isinstance(caption, Caption):
                raise CaptionerError(str(caption))
            if as_json:
                output.record(to_record(caption))
            else:
                for cells in _cells(caption):
                    output.result(*cells)
            if sidecars is not None:
                sidecars.write(caption)
        except output.OutputError:
            raise
        except CaptionerError as error:
            output.problem(error)
            code = 1
    return code


def _cells(caption: Caption) -> Iterator[tuple[str, ...]]:
    mark = {True: ("true",), False: ("not true",), None: ()}[caption.true]
    yield caption.image, caption.text, f"{caption.log_prob:.2f}", *mark
    for text, log_prob in caption.candidates[1:]:
        yield "", text, f"{log_prob:.2f}"
    for reference in caption.references:
        yield "", f"  {' '.join(reference.split())}"
