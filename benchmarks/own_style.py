"""python -m benchmarks.own_style DATA FOLDER: the config `photos` on few captions in three styles of one's own.

`own_style.csv` has 120 captions in each style, written for validation photographs of Flickr8k, whose `images` and
`dataset_flickr8k.json` are in DATA: names of people and animals, headlines, and a register of objects. The first 30,
60 and 120 are trained on (a tenth of them is `val`), and 100 other validation photographs captioned. Counted are
captions that recite a learned one (all words but one are equal), and those that contain a word of the style: one of at
least `TYPICAL` learned captions that the default model does not write for any of the photographs. FOLDER keeps the
runs, and `captions.csv`, in which a person or another program can judge the captions.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

import captioner
from benchmarks import machine
from benchmarks.results import Row, table
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import open_corpus
from captioner.data.vocabulary import tokenize

CAPTIONS = Path(__file__).with_name("own_style.csv")
SIZES = (30, 60, 120)
SCORED, TYPICAL = 100, 3
PATH = click.Path(path_type=Path)


def command(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "captioner", *map(str, words)], check=True, stderr=subprocess.DEVNULL)


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of words to insert, delete or replace. Source: Wagner and Fischer 1974."""
    row = np.arange(len(b) + 1)
    for number, word in enumerate(a, 1):
        replaced = np.minimum(row[:-1] + [word != other for other in b], row[1:] + 1)
        row = np.minimum.accumulate(np.append(number, replaced) - np.arange(len(b) + 1)) + np.arange(len(b) + 1)
    return int(row[-1])


def recited(caption: Sequence[str], learned: Sequence[Sequence[str]]) -> bool:
    return any(distance(caption, other) <= 1 for other in learned)


def typical_words(learned: Sequence[Sequence[str]], base: Sequence[Sequence[str]]) -> set[str]:
    """Return the words of at least `TYPICAL` learned captions that are in no caption of the base."""
    counts = Counter(word for caption in learned for word in {*caption})
    return {word for word, count in counts.items() if count >= TYPICAL}.difference(*base)


def prepared(folder: Path, data: Path, learned: Mapping[str, str], name: str) -> Path:
    """Prepare learned captions, a tenth of them as `val`, and the scored photographs as `test`."""
    file, output = folder / f"{name}.csv", folder / f"{name}.h5"
    images = json.loads((data / "dataset_flickr8k.json").read_text())["images"]
    others = [image for image in images if image["split"] == "val" and image["filename"] not in styles_images()]
    with open(file, "w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("image", "caption", "split"))
        for number, (image, caption) in enumerate(learned.items()):
            writer.writerow((image, caption, "val" if number % 10 == 9 else "train"))
        for image in sorted(others, key=lambda image: str(image["filename"]))[:: len(others) // SCORED][:SCORED]:
            writer.writerows((image["filename"], sentence["raw"], "test") for sentence in image["sentences"])
    command("prepare", file, "--images", data / "images", "--output", output, "--overwrite")
    return output


def styles() -> dict[str, dict[str, str]]:
    """Return the captions of each style by their images."""
    found: dict[str, dict[str, str]] = {}
    with open(CAPTIONS, newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["style"], {})[row["image"]] = row["caption"]
    return found


def styles_images() -> set[str]:
    return {image for captions in styles().values() for image in captions}


def written(model: Path, data: Path) -> dict[str, str]:
    """Return the captions that a model writes for the scored photographs."""
    loaded = captioner.load(model)
    split = open_corpus(loaded.loaded, data).split("test")
    return {caption.image: caption.text for caption in loaded.caption_split(split)}


def rows(folder: Path, data: Path) -> Iterator[Row]:
    """Train on each style, and yield the rows of the table; the captions are written to captions.csv."""
    with open(folder / "captions.csv", "w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("style", "photographs", "image", "caption"))
        for style, captions in styles().items():
            for size in SIZES:
                learned = dict([*captions.items()][:size])
                file = prepared(folder, data, learned, f"{style}-{size}")
                run = folder / f"run-{style}-{size}"
                command("train", "-c", "photos", "--data", file, "--run", run, "--overwrite")
                own = written(run, file)
                writer.writerows((style, size, image, caption) for image, caption in own.items())
                known = [*map(tokenize, learned.values())]
                words = typical_words(known, [*map(tokenize, written(DEFAULT_MODEL, file).values())])
                texts = [*map(tokenize, own.values())]
                shares = (
                    sum(recited(text, known) for text in texts),
                    sum(not words.isdisjoint(text) for text in texts),
                )
                yield style, str(size), *(f"{100 * share / len(texts):.0f} %" for share in shares)


@click.command()
@click.argument("data", type=PATH)
@click.argument("folder", type=PATH)
def main(data: Path, folder: Path) -> None:
    """Print the table of docs/own-photos.md."""
    folder.mkdir(parents=True, exist_ok=True)
    print(machine.cpu(), table("style | captions | recited | words of the style", [*rows(folder, data)]), sep="\n")


if __name__ == "__main__":
    main()
