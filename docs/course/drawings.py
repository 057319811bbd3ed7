"""Write the drawings of the course, docs/course/drawings/*.svg.

Blue boxes are states, yellow ones parameters, green ones inputs and predictions; red are gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

BLUE, YELLOW, GREEN, GREY, WHITE = "#dbe9fb", "#fff3c4", "#dcf2dc", "#eee", "#fff"
INK, FAINT, RED, PATH = "#222", "#666", "#c62828", "#1a66c8"


class Drawing:
    """An SVG picture of 700 pixels width; its white background makes it readable on dark pages too."""

    def __init__(self, height: int, title: str, description: str) -> None:
        font = {"font-family": "Helvetica, Arial, sans-serif", "text-anchor": "middle", "fill": INK}
        size = {"viewBox": f"0 0 700 {height}", "width": "700", "height": str(height)}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size, **font})
        for tag, text in ("title", title), ("desc", description):
            ElementTree.SubElement(self.root, tag).text = text
        self.add("rect", width="100%", height="100%", fill=WHITE)

    def add(self, tag: str, **attributes: object) -> ElementTree.Element:
        """Add an element; empty attributes are left out."""
        texts = {k.replace("_", "-"): f"{v:g}" if isinstance(v, float) else str(v) for k, v in attributes.items() if v}
        return ElementTree.SubElement(self.root, tag, texts)

    def labels(self, *texts: str, size: int = 14, color: str = "") -> None:
        """Write texts: "x,y text", where (x, y) is the middle."""
        for x, y, text in (text.replace(",", " ", 1).split(" ", 2) for text in texts):
            self.add("text", x=x, y=float(y) + 0.36 * size, font_size=size, fill=color).text = text

    def box(self, x: float, y: float, width: int, height: int, fill: str, *lines: str, size: int = 15) -> None:
        """Draw a rounded box whose middle is (x, y); lines of text after the first are small."""
        self.add("rect", x=x - width / 2, y=y - height / 2, width=width, height=height, rx=6, fill=fill, stroke=INK)
        for i, line in enumerate(lines):
            text = f"{x},{y + 17 * i - 8.5 * (len(lines) - 1)} {line}"
            self.labels(text, size=12 if i else size, color=FAINT if i else "")

    def nodes(self, text: str, *places: str) -> None:
        """Draw an operation as circles with these middles, "x,y"."""
        for place in places:
            x, y = place.split(",")
            self.add("circle", cx=x, cy=y, r=14, fill=WHITE, stroke=INK)
            self.labels(f"{place} {text}", size=18)

    def arrows(self, *paths: str, color: str = INK, width: float = 1.5, dash: str = "") -> None:
        """Draw lines "x,y x,y ..." with an arrowhead at the last point."""
        for path in paths:
            *first, start, end = (complex(*map(float, point.split(","))) for point in path.split())
            head = (5 + 2 * width) * (end - start) / abs(end - start)
            back, side = end - head, 0.5j * head
            parts = (*first, start, back), (end, back + side, back - side)
            line, tip = ("M" + " ".join(f"{p.real:g},{p.imag:g}" for p in part) for part in parts)
            self.add("path", d=line, fill="none", stroke=color, stroke_width=width, stroke_dasharray=dash)
            self.add("path", d=tip, fill=color)


def step() -> Drawing:
    """Draw one step of an RNN, with shapes, and the gradients of its backward pass."""
    d = Drawing(285, "One step of an RNN", "a = x Wx + prev_h Wh + b, next_h = tanh(a). The gradients flow back.")
    d.arrows("125,60 185,60", "125,150 185,150", "275,60 350,60 350,136", "275,150 336,150", "275,240 350,240 350,164")
    d.arrows("364,150 400,150", "500,150 580,150")
    d.arrows("595,183 475,183", "425,183 372,183", color=RED, dash="5 4")
    d.nodes("+", "350,150")
    d.labels("535,138 tanh")
    d.box(75, 150, 100, 46, GREEN, "x", "(N, D)")
    for y, name, shape in (60, "Wh", "(H, H)"), (150, "Wx", "(D, H)"), (240, "b", "(H,)"):
        d.box(230, y, 90, 46, YELLOW, name, shape)
    for x, y, name, fill in (75, 60, "prev_h", BLUE), (450, 150, "a", WHITE), (630, 150, "next_h", BLUE):
        d.box(x, y, 100, 46, fill, name, "(N, H)")
    d.labels("530,36 a = x Wx + prev_h Wh + b", "530,60 next_h = tanh(a)", size=15)
    d.labels("75,93 dprev_h", "230,93 dWh", "75,183 dx", "230,183 dWx", "230,273 db", size=13, color=RED)
    d.labels("450,183 da", "630,183 dnext_h", size=13, color=RED)
    d.labels("530,236 red: gradients of the loss, each in the shape", size=12, color=RED)
    d.labels("530,252 of its variable, computed from right to left", size=12, color=RED)
    return d


def unrolled() -> Drawing:
    """Draw a captioner over its time steps."""
    description = "The image gives h0. Each step reads a word and the state before, and predicts the next word."
    d = Drawing(395, "A captioner, unrolled over its time steps", description)
    d.box(62, 208, 84, 46, GREEN, "image", "features")
    d.labels("129,194 W_proj", size=12, color=FAINT)
    d.arrows("104,208 154,208")
    d.box(178, 208, 48, 46, BLUE, "h₀")
    for t, (read, predicted) in enumerate((("<START>", "a"), ("a", "dog"), ("dog", "<END>")), 1):
        x, left = 146 + 156 * t, 34 + 156 * t if t > 1 else 202
        d.arrows(f"{left},208 {x - 44},208", *(f"{x},{y} {x},{end}" for y, end in ((328, 301), (269, 235), (181, 150))))
        d.arrows(f"{x},118 {x},91")
        d.arrows(f"{x - 44},226 {left},226", f"{x + 16},150 {x + 16},181", color=RED, dash="5 4")
        d.box(x, 74, 88, 34, GREEN, predicted)
        d.box(x, 134, 88, 32, YELLOW, "W_vocab", size=13)
        d.box(x, 208, 88, 54, BLUE, f"h{'₀₁₂₃'[t]}", "Wx, Wh, b")
        d.box(x, 285, 88, 32, YELLOW, "W_embed", size=13)
        d.box(x, 345, 88, 34, GREEN, read)
        d.labels(f"{x + 34},105 softmax", f"{x},378 step {t}", size=12, color=FAINT)
    d.labels("458,20 Each step predicts the word that the next step reads.", size=15)
    d.labels("458,42 All steps share W_embed, Wx, Wh, b and W_vocab.", size=13, color=FAINT)
    d.labels("92,285 red: the gradient", "92,301 flows back through", "92,317 all steps to W_proj", size=12, color=RED)
    return d


def lstm() -> Drawing:
    """Draw one step of an LSTM: its gates, and the path of the cell state."""
    d = Drawing(400, "One step of an LSTM", "On the path from prev_c to next_c, the gradient is multiplied only by f.")
    path = "350,24 On the path of c, the gradient is multiplied by f and by nothing else: dprev_c = dc ⊙ f"
    d.labels(path, size=13, color=RED)
    d.arrows("600,44 115,44", "613,157 540,157 540,141", "540,110 540,88", color=RED, dash="5 4")
    d.labels("622,127 second part of dc", size=12, color=RED)
    d.arrows("110,80 286,80", "314,80 421,80", "449,80 605,80", color=PATH, width=4)
    d.arrows("525,82 525,110", "525,140 525,175 576,175", "604,175 615,175", "590,237 590,189", "300,237 300,94")
    d.arrows("395,237 395,175 421,175", "475,237 475,175 449,175", "435,161 435,94", "110,325 245,325")
    d.nodes("⊙", "300,80", "435,175", "590,175")
    d.nodes("+", "435,80")
    d.box(525, 125, 60, 30, WHITE, "tanh", size=14)
    for x, gate, kind in (300, "f", "forget"), (395, "i", "input"), (475, "g", "candidate"), (590, "o", "output"):
        d.arrows(f"{x},322 {x},283")
        d.box(x, 260, 66, 46, WHITE, gate, f"{'tanh' if gate == 'g' else 'σ'}(a_{gate})")
        d.labels(f"{x + 10 + 3.2 * len(kind):g},303 {kind}", size=12, color=FAINT)
    d.box(445, 350, 400, 56, YELLOW, "a = x Wx + prev_h Wh + b", "(N, 4 H): a_i, a_f, a_o and a_g, H columns each")
    for x, y, name in (60, 80, "prev_c"), (646, 80, "next_c"), (60, 325, "prev_h"), (654, 175, "next_h"):
        d.box(x, y, 100 if x == 60 else 78, 44, BLUE, name, "(N, H)")
    d.arrows("110,373 245,373")
    d.box(60, 373, 100, 44, GREEN, "x", "(N, D)")
    return d


def packing() -> Drawing:
    """Draw captions of different lengths, sorted by length, and the rows that they are packed into."""
    text = "Captions of 2, 4 and 3 words, sorted by length: the four steps have 3, 3, 2 and 1 rows, 9 of 12."
    d = Drawing(360, "Packing of captions of different lengths", text)
    captions = [text.split() for text in ("a dog", "two cats run fast", "a red ball")]
    colors, order = (YELLOW, BLUE, GREEN), (1, 2, 0)
    for left, title, rows in (85, "padded: 12 positions", (0, 1, 2)), (455, "sorted by length: 9 words", order):
        d.labels(f"{left + 104},20 {title}", size=15)
        d.labels(*(f"{left + 26 + 52 * t},46 t = {t}" for t in range(4)), size=12, color=FAINT)
        for y, n in zip((71, 103, 135), rows, strict=True):
            d.labels(f"{left - 40},{y} caption {n}", size=12, color=FAINT)
            for t, word in enumerate(captions[n] if left > 85 else [*captions[n], "", ""][:4]):
                d.box(left + 26 + 52 * t, y, 50, 28, colors[n] if word else GREY, word, size=13)
    d.arrows("310,103 360,103", width=2)
    d.labels("350,184 packed: the rows of a step are contiguous, so a step is one product of all its rows", size=15)
    d.labels("350,212 arrows: the row of the state before", size=12, color=FAINT)
    packed = [(t, n) for t in range(4) for n in order if t < len(captions[n])]
    for row, (t, n) in enumerate(packed):
        x, top = 62 + 72 * row, 252 - 8 * order.index(n)
        d.box(x, 280, 66, 30, colors[n], captions[n][t], size=14)
        d.labels(f"{x},306 row {row}", size=12, color=FAINT)
        if t:
            before = 70 + 72 * packed.index((t - 1, n))
            d.arrows(f"{before},265 {before},{top} {x - 8},{top} {x - 8},265", color=FAINT)
    for x, count, t in (134, 3, 0), (350, 3, 1), (530, 2, 2), (638, 1, 3):
        d.add("path", d=f"M{x + 3 - 36 * count} 320h{72 * count - 6}", stroke=INK)
        d.labels(f"{x},338 t = {t}: {count} row{'s' if count > 1 else ''}", size=13)
    return d


def attention() -> Drawing:
    """Draw one step of an LSTM with attention over the regions of an image."""
    description = "The scores of prev_h and 16 regions become weights; the weighted sum enters the LSTM."
    d = Drawing(385, "One step of an LSTM with attention", description)
    for i, shades in enumerate(((0, 0, 1, 0), (0, 6, 20, 1), (1, 22, 38, 3), (0, 2, 6, 0))):
        for j, shade in enumerate(shades):
            blue = "#" + "".join(f"{255 - c * shade // 40:02x}" for c in (229, 153, 55))
            for left, fill in (30, GREEN), (350, blue):
                d.add("rect", x=left + 26 * j, y=160 + 26 * i, width=26, height=26, fill=fill, stroke=FAINT)
    d.arrows("225,95 225,187", "270,72 505,72", "134,212 168,212", "282,212 350,212", "454,212 490,212")
    d.arrows(
        "518,212 550,212", "82,312 82,330 504,330 504,226", "590,189 590,97", "468,28 565,28 565,47", "625,72 636,72"
    )
    d.nodes("Σ", "504,212")
    d.box(225, 72, 90, 46, BLUE, "prev_h", "(N, H)")
    d.box(225, 212, 114, 50, WHITE, "prev_h · A_l / √H", "16 scores", size=13)
    d.box(430, 28, 76, 36, GREEN, "x (N, D)", size=13)
    d.box(565, 72, 120, 50, YELLOW, "LSTM step", "Wx, Wh, Wattn, b")
    d.box(590, 212, 80, 46, BLUE, "attn", "(N, H)")
    d.box(664, 72, 56, 46, BLUE, "next_h", "(N, H)", size=13)
    d.labels("252,140 query", "314,199 softmax", "290,318 regions", size=12, color=FAINT)
    d.labels("82,300 (N, H, 4, 4)", "402,300 (N, 4, 4), sum 1", "600,294 c is not drawn", size=12, color=FAINT)
    d.labels("225,38 h_0 = c_0 = mean(A)", size=12, color=FAINT)
    d.labels("82,282 A: 16 regions A_l", "402,282 attn_weights α", "600,268 attn = Σ_l α_l A_l")
    gradient = "350,362 Each step adds two parts to dA: through the sum, and through the scores and the softmax"
    d.labels(gradient, size=12, color=RED)
    return d


def render() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of each file."""
    for draw in step, unrolled, lstm, packing, attention:
        root = draw().root
        ElementTree.indent(root, "")
        yield Path(__file__).with_suffix("") / f"{draw.__name__}.svg", ElementTree.tostring(root, "unicode") + "\n"


if __name__ == "__main__":
    for path, text in render():
        path.write_text(text)
