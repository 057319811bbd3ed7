"""captioner sample: write captions for images."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.caption_inputs import captions_of_features, captions_of_photos, captions_of_split
from captioner.cli.completion import complete_run
from captioner.cli.options import (
    PATH,
    data_option,
    ensemble_option,
    example_override_option,
    images_hint,
    images_option,
    recipe_options,
    shard_option,
)
from captioner.errors import UsageError

if TYPE_CHECKING:
    from captioner.data.shard import Shard
    from captioner.inference.caption import Caption
    from captioner.preparation.find_photos import Unreadable


@click.command(
    epilog="""\b
Examples:
  captioner sample runs/birds new.jpg holiday/
  captioner sample runs/scenes --split val -n 10
  captioner sample runs/scenes/last.h5 --features new.h5 --json
  captioner sample runs/scenes-attention -n 10 --attention maps
  captioner sample --ensemble runs/birds runs/birds-2 new.jpg -o decode.beam_width=5 -o decode.length_penalty=0.7
  captioner sample runs/birds photos/ --json --shard 1/4
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
@shard_option(
    "Caption only shard I of N. The outputs of all shards, concatenated in order, have the same captions as one run "
    "without --shard."
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
@click.option(
    "--attention",
    type=PATH,
    metavar="FOLDER",
    help="Also write the attention maps of each image's first caption to FOLDER: a picture and a JSON file. The model "
    "must have attention.",
)
@images_option("--attention with --split")
@click.option("--overwrite", is_flag=True, help="Replace existing files of --write-sidecar, --coco and --attention.")
@recipe_options
@example_override_option("decode.beam_width=5")
def sample(
    run: Path,
    names: tuple[Path, ...],
    ensemble: bool,
    data: Path | None,
    split: str | None,
    features: Path | None,
    number: int | None,
    shard: Shard | None,
    n_best: int,
    as_json: bool,
    write_sidecar: str | None,
    coco: Path | None,
    attention: Path | None,
    images: Path | None,
    overwrite: bool,
    encoder: str | None,
    encoder_option: dict[str, str],
    overrides: tuple[str, ...],
) -> int:
    """Write captions for images.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or an installed model
    (`captioner models`). With --ensemble, the word probabilities of several runs are averaged, and the options of the
    first are used. All models of an ensemble must have the same vocabulary and encoder. PHOTO_OR_FOLDER is a
    photograph, a folder of photographs, or -, which reads names of photographs and folders from stdin, one per line.
    Photographs must follow all runs. Without photographs, the images of a split are captioned.

    The first line for each image contains its name, the caption, its log-probability (natural logarithm) and, for
    generated scenes, whether the caption is true. Tabs separate them. Further candidates and the references
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
        (overwrite and write_sidecar is None and coco is None and attention is None,
         "--overwrite needs --write-sidecar, --coco or --attention"),
        (images is not None and (attention is None or photos or features is not None),
         "--images needs --attention and the images of a split"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    if write_sidecar is not None:
        from captioner.inference.sidecars import check_suffix

        check_suffix(write_sidecar)
    if coco is not None:
        from captioner.evaluation.caption_files import check_results_output

        check_results_output(coco, overwrite)
    if attention is not None:
        from captioner.inference.attention_files import check_folder

        check_folder(attention)
    from captioner.inference.load import open_runs

    loaded = open_runs(runs, overrides)
    if attention is not None:
        from captioner.inference.attention import check_attention

        check_attention(loaded)
    with_attention, corpus = attention is not None, None
    captions: Iterable[Caption | Unreadable]
    if photos:
        captions = captions_of_photos(loaded, photos, encoder, encoder_option, number, n_best, with_attention, shard)
    elif features is not None:
        captions = captions_of_features(loaded, features, number, n_best, with_attention, shard)
    else:
        from captioner.inference.load import open_corpus

        corpus = open_corpus(loaded, data)
        captions = captions_of_split(
            loaded, corpus, split or "val", data is None, number, n_best, with_attention, shard
        )
    from captioner.cli.captions import write_captions

    if attention is None:
        return write_captions(captions, as_json, write_sidecar, coco, overwrite)
    from captioner.inference.attention_files import AttentionFiles, no_picture, photograph, split_pictures

    find = photograph if photos else no_picture if corpus is None else split_pictures(corpus, split or "val", images)
    files = AttentionFiles(attention, find, loaded.meta.encoder, overwrite)
    code = write_captions(captions, as_json, write_sidecar, coco, overwrite, files)
    if corpus is not None and files.without_picture:
        missing = f"{files.without_picture:,} of {files.written:,} photographs not found or unreadable"
        output.problem(f"{missing}; {images_hint(corpus.about, images)}")
    return code
