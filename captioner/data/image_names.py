"""Names of images: how they are normalized, and which images of a data set a name means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence


def image_name(text: str) -> str:
    """Normalize an image name: images\\a.jpg becomes images/a.jpg, and ./a.jpg becomes a.jpg."""
    return re.sub(r"^(?:\./+)+(?=[^/])", "", text.strip().replace("\\", "/"))


class ImageNames:
    """The places of images by name.

    Folders may be missing at the start of either name, but other folders are another image: x/a.jpg is also called
    a.jpg and photos/x/a.jpg, never y/a.jpg.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self._whole = {image: place for place, image in enumerate(images)}
        self._ends: dict[str, list[int]] = {}
        for image, place in self._whole.items():
            for end in without_folders(image):
                self._ends.setdefault(end, []).append(place)

    def places(self, name: str) -> Sequence[int]:
        """Return the place of the image of exactly this name, or else of those whose names end in it.

        Without any, it is the image whose name is the longest end of this one. No image, and several, are for the
        caller to report.
        """
        whole = [self._whole[end] for end in (name, *without_folders(name)) if end in self._whole]
        return whole[:1] if name in self._whole else self.ending_in(name) or whole[:1]

    def ending_in(self, name: str) -> Sequence[int]:
        """Return the places of the images whose names have folders before this one."""
        return self._ends.get(name, ())


def without_folders(name: str) -> Iterator[str]:
    """Yield a name without its first folder, without its first two, and so on."""
    while "/" in name:
        name = name.partition("/")[2]
        yield name
