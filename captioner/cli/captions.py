"""Print captions as text or JSON lines, and write them to files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.cli import output
from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.inference.caption import Caption
    from captioner.inference.sidecars import Sidecars
    from captioner.preparation.find_photos import Unreadable

TRUE = {True: ("true",), False: ("not true",), None: ()}


def write_captions(
    captions: Iterable[Caption | Unreadable], as_json: bool, suffix: str | None, coco: Path | None, overwrite: bool
) -> int:
    """Print captions, and write them to sidecar files and to a file in COCO's format; return the exit code."""
    written: dict[str, Caption] = {}
    sidecars = None if suffix is None else _open_sidecars(suffix, overwrite)
    keep: list[Callable[[Caption], None]] = []
    if coco is not None:
        keep.append(lambda caption: written.update({caption.image: caption}))  # a photograph may be given twice
    if sidecars is not None:
        keep.append(sidecars.write)
    code = _print(captions, as_json, keep)
    if coco is not None:
        from captioner.evaluation.caption_files import write_results

        write_results(coco, list(written), [one.text for one in written.values()], overwrite)
    if sidecars is not None and sidecars.kept:
        exist = "sidecars exist" if sidecars.kept > 1 else "sidecar exists"
        output.problem(f"{sidecars.kept:,} {exist} already, not replaced; --overwrite replaces existing files")
    return code


def _open_sidecars(suffix: str, overwrite: bool) -> Sidecars:
    from captioner.inference.sidecars import Sidecars  # needs Pillow

    return Sidecars(suffix, overwrite)


def _print(captions: Iterable[Caption | Unreadable], as_json: bool, keep: Sequence[Callable[[Caption], None]]) -> int:
    """Print captions, pass each to the functions `keep`, and report failures; return the exit code.

    If there are such functions, all captions reach them, even if the reader of stdout closes the pipe.
    """
    from captioner.inference.caption import Caption

    code = 0
    for caption in captions:
        try:
            if not isinstance(caption, Caption):
                raise CaptionerError(str(caption))
            with output.ignoring_a_closed_pipe() if keep else nullcontext():
                _print_caption(caption, as_json)
            for save in keep:
                save(caption)
        except output.OutputError:
            raise
        except CaptionerError as error:
            output.problem(error)
            code = 1
    return code


def _print_caption(caption: Caption, as_json: bool) -> None:
    from captioner.inference.caption import to_record

    if as_json:
        output.record(to_record(caption))
        return
    for cells in _cells(caption):
        output.result(*cells)


def _cells(caption: Caption) -> Iterator[tuple[str, ...]]:
    yield caption.image, caption.text, f"{caption.log_prob:.2f}", *TRUE[caption.true]
    for text, log_prob in caption.candidates[1:]:
        yield "", text, f"{log_prob:.2f}"
    for reference in caption.references:
        yield "", f"  {' '.join(reference.split())}"
