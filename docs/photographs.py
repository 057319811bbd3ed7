"""Caption the photographs of docs/photos with the default model, and write the rows of the README.

$ python docs/photographs.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import captioner
from captioner.captioning.caption import Caption

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PHOTOS = {
    "motorcycle": "A red motorcycle in a garage",
    "chelsea": "The face of a cat",
    "china": "A Chinese pagoda above a lake",
    "flower": "An orange dahlia",
    "grace_hopper": "A woman in the uniform of the navy",
    "coffee": "A cup of espresso",
    "astronaut": "A woman in an orange space suit",
    "camera": "A man with a camera on a tripod",
    "rocket": "A rocket on its launch pad at dusk",
}
"""The photographs, with descriptions for readers who do not see them."""
COLUMNS = 3
ROWS = re.compile(r"(?<=<!-- photographs:begin -->\n).*(?=<!-- photographs:end -->)", re.DOTALL)


def captions() -> list[Caption]:
    """Caption the photographs."""
    return captioner.load().caption([f"{ROOT}/docs/photos/{name}.jpg" for name in PHOTOS])


def render(page: str, captions: Iterable[Caption]) -> str:
    """Return the page with the photographs, each above its caption, marks and keywords."""
    cells = [
        f"![{description}](docs/photos/{name}.jpg)<br>{caption.text}"
        f"{' (**' + ', '.join(caption.marks) + '**)' if caption.marks else ''}<br><br>"
        f"keywords: {', '.join(keyword.word for keyword in caption.keywords) or 'none'}"
        for (name, description), caption in zip(PHOTOS.items(), captions, strict=True)
    ]
    first, *rest = zip(*[iter(cells)] * COLUMNS, strict=True)
    lines = (first, ["---"] * COLUMNS, *rest)
    return ROWS.sub(lambda _: "".join(f"| {' | '.join(line)} |\n" for line in lines), page)


if __name__ == "__main__":
    README.write_text(render(README.read_text(), captions()))
