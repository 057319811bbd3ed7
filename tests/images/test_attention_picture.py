"""The picture of attention: panels, opacity of cells, and text that is never cut."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from captioner.images import attention_picture, fonts
from captioner.images.attention_picture import COLUMNS, FAINT, GAP, LABEL, MARGIN, SIDE, SMALL, WORD, draw
from captioner.images.fonts import choose_font

RED = Image.new("RGB", (64, 64), (200, 0, 0))
CAPTION = "there is a small pink ring left of a large green ring with a large white diamond in the bottom right"


def panels(page: Image.Image, count: int) -> list[np.ndarray]:
    """The cells of each panel, found by their places in the layout."""
    pixels = np.asarray(page).astype(int)
    columns = (page.width - 2 * MARGIN + GAP) // (SIDE + GAP)
    lines = -(-count // columns)
    height = LABEL + SIDE + attention_picture.NUMBERS
    top = page.height - MARGIN - lines * height - (lines - 1) * GAP
    found = []
    for panel in range(count):
        row, column = divmod(panel, columns)
        x, y = MARGIN + column * (SIDE + GAP), top + row * (height + GAP) + LABEL
        found.append(pixels[y : y + SIDE, x : x + SIDE])
    return found


def test_opacity_is_proportional_to_weight_and_fades_with_the_sentinel() -> None:
    maps = np.array([[[0.5, 0.25], [0, 0]], [[0.1, 0], [0, 0]], [[0, 0], [0, 0]]])
    sentinel = np.array([0.25, 0.9, 1.0])
    image, *words = panels(draw(RED, "a b c", ["a", "b", "c"], maps, sentinel), 4)
    assert (image[5:-5, 5:-5] == (200, 0, 0)).all()
    for panel, own, share in zip(words, maps, sentinel, strict=True):
        for row, column in np.ndindex(2, 2):
            opacity = FAINT + (1 - FAINT) * (1 - share) * own[row, column] / max(own.max(), 1e-12)
            expected = 255 + opacity * (np.array([200, 0, 0]) - 255)
            cell = panel[row * SIDE // 2 + 2 : (row + 1) * SIDE // 2 - 2, column * SIDE // 2 + 2 :][:, : SIDE // 2 - 4]
            assert abs(cell - expected).max() <= 2


GRIDS = [(1, 1), (7, 7), (2, 5), (1, 50), (14, 14), (200, 200)]


@pytest.mark.parametrize(
    ("words", "grid"), [*((words, (3, 3)) for words in (0, 1, 5, 20, 60)), *((2, one) for one in GRIDS)]
)
def test_every_caption_length_and_grid_fits(words: int, grid: tuple[int, int]) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(grid[0] * grid[1] + 1), words)
    maps, text = weights[:, :-1].reshape(-1, *grid), (CAPTION.split() * 3)[:words]
    for picture in (RED, Image.new("RGB", (640, 300), (0, 90, 0)), Image.new("L", (64, 64)), None):
        page = draw(picture, " ".join(text), text, maps, weights[:, -1])
        assert page.width <= 2 * MARGIN + COLUMNS * (SIDE + GAP)
        border = np.asarray(page)
        for edge in (
            border[: MARGIN // 2],
            border[-MARGIN // 2 :],
            border[:, : MARGIN // 2],
            border[:, -MARGIN // 2 :],
        ):
            assert (edge == 255).all()


def test_without_a_picture_cells_are_grey() -> None:
    (panel,) = panels(draw(None, "a", ["a"], np.array([[[1.0, 0]]]), np.zeros(1)), 1)
    assert (panel[5:-5, 5 : SIDE // 2 - 5] == attention_picture.NO_PICTURE).all()
    assert (panel[5:-5, SIDE // 2 + 5 : -5] > 200).all()


@pytest.mark.parametrize("word", ["a", "unbelievably_long_words" * 9, "m" * 400, "\n\x1b[2J", "猫" * 40, "🐈"])
def test_words_are_written_inside_their_panel(word: str) -> None:
    shown, font = attention_picture._fitting(word, WORD, SIDE)
    assert font.getlength(shown) <= SIDE
    assert font.size >= SMALL - 3
    assert len(word) > 5 or shown == choose_font(word, WORD)[0]
    page = draw(RED, word, [word], np.ones((1, 3, 3)) / 9, np.zeros(1))
    assert (np.asarray(page)[:, -MARGIN:] == 255).all()


def test_titles_are_wrapped_between_words() -> None:
    lines = list(attention_picture._wrap(CAPTION * 3, 26, 600))
    assert len(lines) > 4
    assert "".join(lines).replace(" ", "") == (CAPTION * 3).replace(" ", "")
    for line in lines:
        assert choose_font(line, 26)[1].getlength(line) <= 600


def test_the_sentinel_is_a_bar() -> None:
    colour = tuple(int(attention_picture.BAR[place : place + 2], 16) for place in (1, 3, 5))
    lengths = [
        int(
            (np.asarray(draw(RED, "a", ["a"], np.zeros((1, 3, 3)), np.array([s]))) == colour)
            .all(axis=2)
            .any(axis=0)
            .sum()
        )
        for s in (0.0, 0.5, 1.0)
    ]
    assert lengths[0] == 0
    assert lengths[1] == pytest.approx(lengths[2] / 2, abs=1)
    assert lengths[2] > 80


def test_characters_without_a_font_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "INSTALLED", ("no-such-font.ttf",))
    assert choose_font("café 猫", 20)[0] == r"caf\xe9 \u732b"
    assert choose_font("a\x1b", 20)[0] == r"a\x1b"


def test_an_installed_font_has_the_characters_that_the_default_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ImageFont.truetype("DejaVuSans.ttf", 20)
    except OSError:
        pytest.skip("DejaVu is not installed")
    monkeypatch.setattr(fonts, "INSTALLED", ("no-such-font.ttf", "DejaVuSans.ttf"))
    shown, font = choose_font("café 猫", 20)
    assert (shown, font.getname()[0]) == (r"café \u732b", "DejaVu Sans")
    assert choose_font("cafe", 20)[1].getname()[0] != "DejaVu Sans"
