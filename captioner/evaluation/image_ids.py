"""Match captions to images by COCO's image ids, by names, and by names without folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeAlias

from captioner.data.readers.records import image_name
from captioner.errors import DataError

Id: TypeAlias = int | str
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_IN_NAME = re.compile(r"(?:^|.*[^0-9])([0-9]{12})")


def image_id(image: str) -> Id:
    """Return the COCO id of an image if its name is a number or ends in 12 digits, else the name."""
    stem = PurePath(image).stem
    found = _IN_NAME.fullmatch(stem)
    if found:
        return int(found[1])
    return int(image) if _NUMBER.fullmatch(image) else image


def match(captions: Mapping[Id, str], where: Path, images: Sequence[str], numbers: Mapping[str, int]) -> list[str]:
    """Return the captions in the order of the images; `numbers` are known ids by name without its folder.

    An image is identified by its number or its name. Folders may be missing at the start of either name.

    Raises: DataError when an image has no caption or two, or a caption matches no image.
    """
    index = _Index(images, numbers)
    found: dict[int, str] = {}
    for name, caption in captions.items():
        place = index.find(name)
        if place is None:
            raise DataError(
                f"{where}: image {name!r:.80}: expected one of the {len(images):,} images of the references, "
                f"such as {image_id(images[0])!r:.80}; try --split with the split of the captions, or leave it out"
            )
        if place in found:
            raise DataError(f"{where}: image {name!r:.80}: image {images[place]:.80} has two captions; expected one")
        found[place] = caption
    missing = [image for place, image in enumerate(images) if place not in found]
    if missing:
        raise DataError(
            f"{where}: expected one caption for each of {len(images):,} images, {len(missing):,} missing, "
            f"such as {missing[0]:.80}; add the captions, or select a split with --split"
        )
    return [found[place] for place in range(len(images))]


class _Index:
    """The places of images by every unambiguous name or number."""

    def __init__(self, images: Sequence[str], numbers: Mapping[str, int]) -> None:
        bare = [PurePath(image).name for image in images]
        kinds: tuple[Sequence[Id], ...] = (
            [numbers.get(name, image) for name, image in zip(bare, images, strict=True)],
            images,
            bare,
            list(map(image_id, images)),
        )
        self._images, self._places = images, dict[Id, int]()
        for names in kinds:
            counts = Counter(names)
            for place, name in enumerate(names):
                if counts[name] == 1:
                    self._places.setdefault(name, place)
        self._by_bare: dict[str, list[int]] = {}
        for place, name in enumerate(bare):
            self._by_bare.setdefault(name, []).append(place)

    def find(self, name: Id) -> int | None:
        """Return the place of an image, or None."""
        if isinstance(name, int):
            return self._places.get(name)
        name = image_name(name)
        if name in self._places:
            return self._places[name]
        # a name with more folders, as of a photograph: the longest image name at its end
        ends = [at for at in self._by_bare.get(PurePath(name).name, ()) if name.endswith(f"/{self._images[at]}")]
        return max(ends, key=lambda at: len(self._images[at]), default=None)
