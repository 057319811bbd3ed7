"""A damaged history: extreme numbers and long warnings neither overflow the page nor leave the charts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser

OUTSIDE = """
return [...document.querySelectorAll(".chart svg text")].filter(text => {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.x + box.width > view.width || box.y + box.height > view.height;
}).map(text => text.textContent)
"""


@pytest.mark.parametrize("width", [380, 1200])
def test_extreme_numbers(width: int, own_run: Path, browser: Browser, cli: Callable[..., Any]) -> None:
    records: list[dict[str, Any]] = [
        {"kind": "step", "step": step, "word_loss": loss, "learning_rate": rate, "grad_norm": 1e29, "epoch": 10**25}
        for step, loss, rate in ((1, -1e29, 0.002995), (7, 1e29, 0.003005))
    ]
    records.append({"kind": "validation", "step": int(1e29), "loss": 1e29, "perplexity": 1e29})
    records.append({"kind": "warning", "step": 5, "problem": "x" * 1_000_000})
    (own_run / "history.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    page = own_run.parent / "page.html"
    assert cli("report", own_run, "--output", page).code == 0
    browser.view(width=width)
    browser.open(page)
    assert browser.driver.execute_script(OUTSIDE) == []
    assert not browser.overflows()
