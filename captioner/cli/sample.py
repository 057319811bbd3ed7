"""captioner sample"""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli.options import override_option
from captioner.errors import UsageError


@click.command(
    epilog="""\b
Examples:
  captioner sample runs/scenes --split val -n 10
  captioner sample runs/scenes/last.h5 --features new.h5 --json
"""
)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN_OR_CHECKPOINT")
@click.option("--split", metavar="SPLIT", help="Caption the images of this split.  [default: val]")
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Caption the rows of `features` in this HDF5 file.",
)
@click.option("-n", "--number", type=click.IntRange(min=1), help="Only so many images.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@override_option
def sample(
    run: Path, split: str | None, features: Path | None, number: int | None, as_json: bool, overrides: tuple[str, ...]
) -> None:
    """Write captions of images.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is taken, or a checkpoint file. A line has the image,
    the caption, its log-probability (natural, of the whole caption) and, where the data set can tell, whether it is
    true, with tabs between; the references, where known, follow on lines that begin with a tab.
    """
    if split is not None and features is not None:
        raise UsageError("--split and --features do not go together; give one of them")
    from captioner.run import sample as use_case
    from captioner.run.folder import to_json

    restored = use_case.open_run(run, overrides)
    if features is not None:
        captions = use_case.caption_features(restored, features, number)
    else:
        captions = use_case.caption_split(restored, use_case.open_corpus(restored).split(split or "val"), number)
    for caption in captions:
        if as_json:
            print(to_json(caption._asdict()))
            continue
        mark = {True: "\ttrue", False: "\tnot true", None: ""}[caption.true]
        print(f"{caption.image}\t{caption.caption}\t{caption.log_prob:.2f}{mark}")
        for reference in caption.references:
            print(f"\t  {reference}")
