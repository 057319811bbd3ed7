"""Print captions as text or JSON lines, and write them to files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.cli import output
from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.inference.attention_files import AttentionFiles
    from captioner.inference.caption import Caption
    from captioner.inference.sidecars import Sidecars
    from captioner.preparation.find_photos import Unreadable

TRUE = {True: ("true",), False: ("not true",), None: ()}


def write_captions(
    captions: Iterable[Caption | Unreadable],
    as_json: bool,
    suffix: str | None,
    coco: Path | None,
    overwrite: bool,
    maps: AttentionFiles | None = None,
) -> int:
    """Print captions, and write them to sidecar files and to a file in COCO's format; return the exit code.

    Their attention is written to the files `maps`.
    """
    written: dict[str, Caption] = {}
    sidecars = None if suffix is None else _open_sidecars(suffix, overwrite)
    keep: list[Callable[[Caption], None]] = []
    if coco is not None:
        keep.append(lambda caption: written.update({caption.image: caption}))  # a photograph may be given twice
    if sidecars is not None:
        keep.append(sidecars.write)
    code = _print(captions, as_json, keep, maps)
    if coco is not None:
        from captioner.evaluation.caption_files import write_results

        write_results(coco, list(written), [one.text for one in written.values()], overwrite)
    if sidecars is not None and sidecars.kept:
        exist = "sidecars exist" if sidecars.kept > 1 else "sidecar exists"
        output.problem(f"{sidecars.kept:,} {exist} already, not replaced; --overwrite replaces existing files")
    if maps is not None and maps.kept:
        kept = f"attention maps of {maps.kept:,} image{'s' * (maps.kept > 1)} exist already, not replaced"
        output.problem(f"{kept}; --overwrite replaces existing files")
    if maps is not None and maps.written:
        output.note(f"{maps.folder}: attention maps of {maps.written:,} image{'s' * (maps.written > 1)} written")
    return code


def _open_sidecars(suffix: str, overwrite: bool) -> Sidecars:
    from captioner.inference.sidecars import Sidecars  # needs Pillow

    return Sidecars(suffix, overwrite)


def _print(
    captions: Iterable[Caption | Unreadable],
    as_json: bool,
    keep: Sequence[Callable[[Caption], None]],
    maps: AttentionFiles | None,
) -> int:
    """Print captions, write their attention, pass each to the functions `keep`, and report failures.

    Return the exit code. If captions are also written to files, all are, even if the reader of stdout closes the pipe.
    """
    from captioner.inference.caption import Caption

    code = 0
    for caption in captions:
        try:
            if not isinstance(caption, Caption):
                raise CaptionerError(str(caption))
            files, failure = (None, None) if maps is None else _write_maps(maps, caption)
            with output.ignoring_a_closed_pipe() if keep or maps is not None else nullcontext():
                _print_caption(caption, as_json, {} if maps is None else {"attention": files})
            if failure is not None:
                output.problem(failure)
                code = 1
            for save in keep:
                save(caption)
        except output.OutputError:
            raise
        except CaptionerError as error:
            output.problem(error)
            code = 1
    return code


def _write_maps(maps: AttentionFiles, caption: Caption) -> tuple[dict[str, str] | None, CaptionerError | None]:
    """Write the attention of a caption; return the names of the files, if they were written, and the error, if not."""
    try:
        files = maps.write(caption)
    except CaptionerError as error:
        return None, error
    return None if files is None else {name: str(path) for name, path in files._asdict().items()}, None


def _print_caption(caption: Caption, as_json: bool, more: dict[str, Any]) -> None:
    from captioner.inference.caption import to_record

    if as_json:
        output.record(to_record(caption) | more)
        return
    for cells in _cells(caption):
        output.result(*cells)


def _cells(caption: Caption) -> Iterator[tuple[str, ...]]:
    yield caption.image, caption.text, f"{caption.log_prob:.2f}", *TRUE[caption.true]
    for text, log_prob in caption.candidates[1:]:
        yield "", text, f"{log_prob:.2f}"
    for reference in caption.references:
        yield "", f"  {' '.join(reference.split())}"
