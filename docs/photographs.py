"""Caption the photographs of docs/photos with models/flickr8k.h5, and write the row of the README.

$ python docs/photographs.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import captioner
from captioner.captioning.caption import Caption

ROOT = Path(__file__).parents[1]
README, MODEL = ROOT / "README.md", ROOT / "models" / "flickr8k.h5"
PHOTOS = {"astronaut": "A woman in an orange space suit", "chelsea": "The face of a cat", "coffee": "A cup of espresso"}
"""The photographs, with descriptions for readers who do not see them."""
LABELS = 3
ROW = re.compile(r"(?<=<!-- photographs:begin -->\n).*(?=<!-- photographs:end -->)", re.DOTALL)


def captions() -> list[Caption]:
    """Caption the photographs."""
    return captioner.load(MODEL).caption([f"{ROOT}/docs/photos/{name}.jpg" for name in PHOTOS], labels=LABELS)


def render(page: str, captions: Iterable[Caption]) -> str:
    """Return the page with a row of the photographs, and the captions, marks and ImageNet labels below them."""
    cells = [f"![{description}](docs/photos/{name}.jpg)" for name, description in PHOTOS.items()]
    texts = [
        f"{caption.text}{' (**outside the training domain**)' if caption.is_outside_domain else ''}<br><br>"
        f"ImageNet labels: {', '.join(f'{name} {probability:.0%}' for name, probability in caption.labels)}"
        for caption in captions
    ]
    lines = (cells, ["---"] * len(cells), texts)
    return ROW.sub(lambda _: "".join(f"| {' | '.join(line)} |\n" for line in lines), page)


if __name__ == "__main__":
    README.write_text(render(README.read_text(), captions()))
