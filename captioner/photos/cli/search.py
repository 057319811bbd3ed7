"""captioner search: find the photographs of an album by words."""

from __future__ import annotations

import os
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, examples
from captioner.errors import CaptionerError, UsageError
from captioner.photos.cli.album import album_option, open_album


@click.command(epilog=examples("search dog on the beach", "search --in holiday/ 'red car' -n 5 --json"))
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("--in", "folder", type=PATH, metavar="FOLDER", help="Search this folder alone.")
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=20, metavar="N", help="Print at most N photographs."
)
@click.option(
    "--model", type=PATH, metavar="FILE_OR_RUN", help="Use the vocabulary and IDF of another than the default model."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per photograph.")
@album_option
def search(
    words: tuple[str, ...], folder: Path | None, number: int, model: Path | None, as_json: bool, album_file: Path | None
) -> None:
    """Find captioned photographs by words.

    WORD... is the query; the album has the photographs that `captioner caption` has captioned. They are ranked by the
    expected shares of the words in all their forms, so that what a caption does not mention is found too. Rare words
    have more weight. Words that a person wrote, and names of files and their folders, are certain.

    Each line contains the path of a photograph, its caption, and the words of the query that fit it, best first,
    separated by tabs. Those that all words clearly fit are first; a line on stderr precedes the others. Photographs
    that no word fits are not printed. If none fits, the exit code is 1.
    """
    from captioner.captioning.find_checkpoint import DEFAULT_MODEL
    from captioner.captioning.load import open_run, without_summary
    from captioner.photos import search as ranking

    loaded = open_run(model or DEFAULT_MODEL)
    output.warnings(loaded.warnings)
    if loaded.summary is None:
        raise UsageError(without_summary(loaded))
    terms = ranking.read_query(" ".join(words), loaded.summary.regression)
    with open_album(album_file, must_exist=True) as album:
        matches = ranking.search(album, terms, number, folder)
        found = {word.word for match in matches for word in match.words}
        if unknown := [term for term in terms if term.near is not None and term.word not in found]:
            hints = (f"{term.word} (did you mean {term.near[0]}?)" if term.near else term.word for term in unknown)
            own = "" if model else "; for words of a model of yours, add --model"
            output.note(f"unknown to the model, and in no name or correction{own}: {', '.join(hints)}")
        is_clear, missing, found_any = True, 0, album.has_any(folder)
        for match, entry in zip(matches, album.entries(match.place for match in matches), strict=True):
            if not os.path.lexists(entry.path):
                missing += 1
                continue
            if is_clear and not match.is_clear:
                output.flush()
                output.note(
                    "less certain:" if match is not matches[0] else "none that all words clearly fit; less certain:"
                )
            is_clear = match.is_clear
            image = os.path.relpath(entry.path)
            if as_json:
                fields = {"score": round(match.score, 4), "words": [word._asdict() for word in match.words]}
                output.record({"image": image, "caption": entry.caption.text, "is_clear": match.is_clear, **fields})
            else:
                output.result(image, entry.caption.text, ", ".join(word.word for word in match.words))
    if missing:
        output.note(f"missing files that fit: {missing:,} (captioner album --forget-missing FOLDER)")
    if not matches and not found_any:
        raise CaptionerError(f"no photograph of the album{f' is in {folder}' if folder else ''}; see captioner album")
    if not matches:
        raise CaptionerError(f"no photograph fits: {', '.join(term.word for term in ranking.deciding(terms))}")
