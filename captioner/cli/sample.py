"""captioner sample"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.options import encoder_options, override_option
from captioner.errors import CaptionerError, DataError, UsageError

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus
    from captioner.inference.caption import Caption
    from captioner.inference.captioner import Captioner
    from captioner.inference.photos import Failed
    from captioner.inference.restore import LoadedModel
    from captioner.inference.sidecars import Sidecars


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
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN_OR_CHECKPOINT...")
@click.argument("names", nargs=-1, type=click.Path(path_type=Path, allow_dash=True), metavar="[PHOTO_OR_FOLDER]...")
@click.option("--split", metavar="SPLIT", help="Caption the images of this split.  [default: val, without photographs]")
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Caption the rows of `features` in this HDF5 file.",
)
@click.option("-n", "--number", type=click.IntRange(min=1), help="Only so many images.  [default: all]")
@click.option(
    "--n-best",
    type=click.IntRange(min=1, max=100),
    default=1,
    show_default=True,
    help="Captions an image, of a beam at least so wide: the first may differ from that of decode.beam_width.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--write-sidecar", metavar="SUFFIX", help="Write each caption beside its photograph, as photo.txt.")
@click.option("--overwrite", is_flag=True, help="Replace sidecars that are there already.")
@click.option(
    "--encoder", metavar="NAME",
    help="Where the encoder is (onnx:FILE), or which it is, when the checkpoint does not know.",
)  # fmt: skip
@encoder_options
@override_option
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
    """Write captions of images.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is taken, or a checkpoint file. Several, of one vocabulary
    and encoder, write as one: their probabilities are averaged word by word, and the options are those of the first.
    The first name that is no run begins the photographs, after which no run may come. Each PHOTO_OR_FOLDER is a
    photograph, a folder whose photographs are taken in order, or - to read such names from stdin, one a line; without
    any, the images of a split are captioned.

    A line has the image, the caption, its log-probability (natural, of the whole caption) and, where the data set can
    tell, whether it is true, with tabs between; other candidates, and the references where known, follow on lines that
    begin with a tab. A photograph that cannot be read is told on stderr, the rest goes on, and the exit code is 1.
    """
    from captioner.inference.find_checkpoint import is_run

    runs = [run, *takewhile(is_run, names)]
    photos = names[len(runs) - 1 :]
    if late := [name for name in photos if is_run(name)]:
        raise UsageError(f"{late[0]}: is a run, after a photograph; name all runs before the photographs")
    if sum((split is not None, features is not None, bool(photos))) > 1:
        raise UsageError("photographs, --split and --features do not go together; give one of them")
    if (write_sidecar or encoder or encoder_option) and not photos:
        raise UsageError("--write-sidecar and --encoder are for photographs; name some")
    if write_sidecar is not None:
        from captioner.inference.sidecars import check_suffix

        check_suffix(write_sidecar)
    from captioner.inference.load import open_corpus, open_runs

    loaded = open_runs(runs, overrides)
    if photos:
        from captioner.inference.photos import caption_photos, open_encoder_of, photo_paths

        opened = open_encoder_of(loaded, encoder, encoder_option)
        captions: Iterable[Caption | Failed] = caption_photos(
            _open_captioner(loaded), opened, photo_paths(_names(photos)), n_best, number
        )
    else:
        from captioner.inference.captions import caption_features, caption_split

        if features is not None:
            captions = caption_features(_open_captioner(loaded), features, number, n_best)
        else:
            corpus = open_corpus(loaded)
            chosen = corpus.split(split or "val")
            captions = caption_split(_open_captioner(loaded, corpus), chosen, number, n_best)
    if write_sidecar is None:
        return _show(captions, as_json, None)
    from captioner.inference.sidecars import Sidecars

    sidecars = Sidecars(write_sidecar, overwrite)
    code = _show(captions, as_json, sidecars)
    if sidecars.kept:
        many = sidecars.kept > 1
        were = "s were there already and are left as they are" if many else " was there already and is left as it is"
        output.problem(f"{sidecars.kept:,} sidecar{were}; --overwrite replaces them")
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
            raise UsageError("-: expected names of photographs on stdin, one a line, got none")
        yield first
        yield from names


def _stdin() -> Iterator[Path]:
    if sys.stdin is None:
        raise UsageError("-: expected names of photographs on stdin, one a line, but stdin is closed")
    try:
        yield from (Path(os.fsdecode(name)) for line in sys.stdin.buffer if (name := line.rstrip(b"\r\n")))
    except OSError as error:
        raise DataError(f"-: stdin cannot be read: {error.strerror}") from error


def _show(captions: Iterable[Caption | Failed], as_json: bool, sidecars: Sidecars | None) -> int:
    """Print captions, and tell failures; the exit code."""
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
