"""Write recorded.json: tokens and scores of pycocoevalcap 1.2 (with Java) for test captions and a random corpus.

$ pip install pycocoevalcap==1.2 && python tests/metrics/record.py
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("recorded.json")
TEXTS = """
A man's dog isn't (really) "here".
cannot gonna gotta lemme gimme wanna dunno 'tis 'twas d'ye whaddya I can't
I'd've could've they're we'll o'clock rock 'n' roll dogs' y'all the James' dog
well-worn t-shirt, black-and-white - -- --- a-b-c 3-year-old men's-room don't-care
grey colour centre theatre travelling
1,000 people at 10:30 12:30pm 3.5 $5 5% #1 1/2 a/b and/or * & @ + = ~ ^ _ | \\ < > [x] {y}
Mr. Smith of St. Louis has a U.S. flag, etc. at 5 p.m. vs. no. 5; say no. to Dr. J. Smith
The end... wow!!! what?! huh?? a dog..
:) ;-) =) :-( 8) a:b
www.foo.com http://a.b/c foo@bar.com <UNK> <b>
\u2018quoted\u2019 \u201cdouble\u201d it\u2019s \u2013 \u2014 \u2026 \u00bd \u00a35 \u20ac5 caf\u00e9 \u732b
a,b a;b a!b a?b 2.b b.2 dog.cat St.Louis the '90s 5'10 6'2" tall
vitamin C. The dog, vitamin c. dogs, plan b
R2-D2 B&W b&w AT&T &amp; D.C. Washington,D.C. C++ 555-1234 -5 50% M&M's
jack-o'-lantern O'Brien's ma'am's hors d'oeuvre s'mores five-year-old's
$$ 10$ #tag @user __init__ *** ### x6' don\u2019t dogs\u2019
6'10" or 6'4, a 5' 10" man at 5:30-6pm, '55 '20s the '05s a 5\u201910\u201d man
a 1.5-foot-tall man, 1,000-2020 people, 5:30-3 1.5-2.5 .5-3 -5-3 +2-7
two emoji \U0001f600 here, 5 m\u00b2 of H\u2082O and soft\u00adly \u2605 \u2764
A tag like <a href> , and brackets (with (more) [of] them)
 two  spaces \t and a tab .
""".strip("\n").split("\n")


def corpus(seed: int = 0, images: int = 40) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Return captions and references of a random corpus with a small vocabulary, with empty and correct captions."""
    rng = random.Random(seed)

    def caption(shortest: int) -> list[str]:
        return [f"w{int(rng.paretovariate(0.8)) % 25}" for _ in range(rng.randint(shortest, 12))]

    references = [[caption(1) for _ in range(rng.randint(1, 5))] for _ in range(images)]
    captions = [rng.choice(texts) if rng.random() < 0.2 else caption(0) for texts in references]
    return captions, references


def peer_scores(captions: list[list[str]], references: list[list[list[str]]]) -> tuple[list[float], list[list[float]]]:
    """Return pycocoevalcap's scores of the corpus and of each image."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    results_of = {image: [" ".join(words)] for image, words in enumerate(captions)}
    references_of = {image: [" ".join(words) for words in texts] for image, texts in enumerate(references)}
    with contextlib.redirect_stdout(io.StringIO()):
        bleus, each = Bleu(4).compute_score(references_of, results_of)
        others = [scorer.compute_score(references_of, results_of) for scorer in (Rouge(), Cider())]
        results = [*zip(bleus, each, strict=True), *others]
    corpus = [float(whole) for whole, _ in results]
    return corpus, [[float(value) for value in row] for row in zip(*(row for _, row in results), strict=True)]


def peer_tokens(texts: list[str]) -> list[list[str]]:
    """Return the tokens of the Java tokenizer; each text is followed by one that starts with A."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions: dict[int, Any] = {i: [{"caption": text}, {"caption": "A dog"}] for i, text in enumerate(texts)}
    return [texts[0].split() for texts in PTBTokenizer().tokenize(captions).values()]


def one_item_per_line(content: dict[str, list[Any]]) -> str:
    parts = (
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        for name, items in content.items()
    )
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    captions, references = corpus()
    scores, each = peer_scores(captions, references)
    content = {
        "tokens": [[text, " ".join(words)] for text, words in zip(TEXTS, peer_tokens(TEXTS), strict=True)],
        "captions": [" ".join(words) for words in captions],
        "references": [[" ".join(words) for words in texts] for texts in references],
        "corpus": scores,
        "images": each,
    }
    FILE.write_text(one_item_per_line(content))
