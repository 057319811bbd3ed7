"""The page docs/course/bptt.html: its numbers against plain.py and captioner's layers, and its controls."""

import json
from typing import Any

import bptt
import numpy as np
import pytest
from pages import ROOT

from captioner import cs231n

PAGE = ROOT / "docs" / "course" / "bptt.html"
DATA = json.loads(PAGE.read_text().partition('id="data">')[2].partition("</script>")[0])
RUNS = [(network, mistakes, run) for network, runs in DATA["networks"].items() for mistakes, run in runs.items()]
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent);"
SET = """
const [network, mistakes, t] = arguments, [cell, bias] = network.split("-"), step = document.getElementById("step");
for (const input of document.querySelectorAll("#form input"))
  input.checked = [cell, bias ?? "1", ...mistakes.split(" ")].includes(input.value);
step.value = t, step.dispatchEvent(new Event("input"));
return document.querySelector("main").getBoundingClientRect().bottom;
"""


def equal(first: Any, second: Any, tolerance: float = 5e-6) -> None:
    np.testing.assert_allclose(np.squeeze(first), np.squeeze(second), rtol=0, atol=tolerance)


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == bptt.render(), "run `make docs`"


@pytest.mark.parametrize(("network", "mistakes", "run"), RUNS)
def test_numbers_are_those_of_plain_py_and_add_up(network: str, mistakes: str, run: dict[str, Any]) -> None:
    (dh, *inputs), cell, steps = bptt.inputs(network), network.partition("-")[0], run["steps"]
    for source in (bptt.loop(bptt.RUNS[mistakes]), vars(cs231n))[: 1 if mistakes else 2]:
        _, cache = source[f"{cell}_forward"](*inputs)
        dx, dh0, _, dWh, _ = source[f"{cell}_backward"](dh, cache)
        equal([step["dx"] for step in steps], dx)
        equal(steps[0]["out_h"], dh0)
        equal(steps[0]["sum"], dWh)
    for record, later, dh_t in zip(steps, [*steps[1:], {"out_h": 0, "out_c": 0, "sum": 0}], dh[0], strict=True):
        step = {key: np.array(value) for key, value in record.items()}
        equal(step["dprev_h"], later["out_h"])
        equal(step["dnext_h"], dh_t if "forget" in mistakes else dh_t + step["dprev_h"])
        equal(step["sum"], step["dWh"] if "assign" in mistakes else later["sum"] + step["dWh"])
        equal(step["dWh"], np.outer(step["prev_h"], step["da"]))
        equal(step["dWx"], np.outer(step["x"], step["da"]))
        if cell == "lstm":
            equal(step["dnext_c"], later["out_c"])
            equal(step["out_c"], step["dc"] * step["f"])
        else:
            equal(step["da"], step["dnext_h"] * step["derivative"])
    *inner, last = DATA["reports"][cell][mistakes]
    assert {"": "_backward: PASS", "assign": "dWh ("}.get(mistakes, "dx (") in last
    assert [line.rpartition(": ")[2] for line in inner] == 3 * ["PASS"]


def test_the_norm_that_is_left_is_that_of_the_gradient_of_an_earlier_state() -> None:
    dh, x, h0, *params = bptt.inputs("rnn")
    dh[:, :-1], (h, _) = 0, cs231n.rnn_forward(x, h0, *params)
    for t, left in enumerate(DATA["networks"]["rnn"][""]["left"][:-1], 1):
        _, cache = cs231n.rnn_forward(x[:, t:], h[:, t - 1], *params)
        equal(left, np.linalg.norm(cs231n.rnn_backward(dh[:, t:], cache)[1]) / np.linalg.norm(dh))


@pytest.mark.slow
def test_every_state_fits_on_one_screen_and_shows_its_numbers(browser: Any) -> None:
    browser.view(width=1280, height=800)
    browser.open(PAGE)
    for network, mistakes, run in RUNS:
        for t in (6, 3, 1):
            assert browser.driver.execute_script(SET, network, mistakes, t) <= 800
            total, right = (
                np.reshape(steps[t - 1]["sum"], (3, -1, 3)).swapaxes(0, 1).ravel()  # gate by gate
                for steps in (run["steps"], DATA["networks"][network][""]["steps"])
            )
            shown = " ".join(browser.driver.execute_script(TEXTS, "#sum td > span:first-child")).replace("−", "-")
            equal(total, [float(text) for text in shown.split()], 5.1e-4)
            ticks = len(browser.driver.execute_script(TEXTS, "#sum .right"))
            assert (abs(total - right) > 1e-3).sum() <= ticks <= (total != right).sum()
            report = "".join(browser.driver.execute_script(TEXTS, "#report:not([hidden]) pre"))
            assert report == (DATA["reports"][network.partition("-")[0]][mistakes][-1] if mistakes else "")
    browser.view(width=400, dark=True)
    for network, mistakes, _ in RUNS:
        browser.driver.execute_script(SET, network, mistakes, 3)
        assert not browser.overflows()
    assert (browser.requests(), browser.console()) == ([PAGE.as_uri()], [])


@pytest.mark.slow
def test_the_controls_are_used_by_keyboard(browser: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    def after(*keys: str) -> list[str]:
        ActionChains(browser.driver).send_keys(*keys).perform()
        return list(browser.driver.execute_script(TEXTS, "#play, #report:not([hidden]) b, #chart .strong, #title"))

    browser.open(PAGE)
    assert after(Keys.ARROW_LEFT, Keys.ARROW_LEFT) == ["Play", "RNN", "50 %", "Step t = 4"]
    assert after(3 * Keys.TAB, Keys.ARROW_RIGHT)[1:3] == ["bias 1", "36 %"]  # after two links: the network
    assert after(Keys.TAB, Keys.ARROW_RIGHT, Keys.TAB, Keys.SPACE)[1] == "dh[:, t] instead of dh[:, t] + dprev_h"
    assert after(Keys.SPACE, Keys.TAB, Keys.SPACE)[1:3] == ["dWh = dWh_t instead of dWh += dWh_t", "bias 3"]
    assert after(Keys.SPACE, Keys.TAB, Keys.ENTER)[3] == "Step t = 6"
    browser.driver.execute_script("window.setInterval = (tick) => { window.tick = tick; return 1; }")
    assert after(2 * Keys.TAB, Keys.ENTER)[0] == "Pause"
    browser.driver.execute_script("tick()")
    assert after()[3] == "Step t = 5"
    play, *_ = after(Keys.ENTER)
    assert (play, after(Keys.TAB, Keys.ARROW_LEFT)[3]) == ("Play", "Step t = 4")  # the slider
