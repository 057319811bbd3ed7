"""The benchmarks run, and no wrong result is timed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks import checks, decoding, loops, report, results, shapes, steps, tables, targets, timing
from benchmarks.floor import Floor
from benchmarks.session import ROOT, Session, set_library_threads
from benchmarks.timing import Contender, Timer
from captioner.arrays import Params
from captioner.model.dropout import Dropout

BENCHMARKS = tuple(program.BENCHMARKS)
SHAPE = shapes.QUICK[0]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    set_library_threads("numpy", 1)


@pytest.fixture
def session() -> Session:
    return Session(Timer(1, 0, 0), quick=True, threads=(1,))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_runs_and_is_reported(name: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = CliRunner().invoke(
        program.main, ["--quick", "--only", name, "--output", str(output)], catch_exceptions=False
    )
    found = json.loads(output.read_text())
    assert done.exit_code == 0
    assert found[name]
    assert found["measured"].keys() == {name}
    assert found["measured"][name]["machine"]["NumPy"].startswith(np.__version__)
    assert tables.render(found, with_targets=False) in done.output
    assert f"`python -m benchmarks --only {name}`" in done.output
    assert "**Targets**" not in done.output, "no targets for tiny sizes"
    assert done.output.count("\n| ") >= 2, "a table with a row"


def test_the_page_shows_the_results() -> None:
    page, block = (ROOT / report.PAGE).read_text(), report.render(results.load_all(ROOT / "benchmarks"))
    assert f"{report.BEGIN}\n{block}\n{report.END}" in page, f"{report.PAGE}: run `python -m benchmarks --page`"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose benchmarks measure nothing and have one table each."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "build_corpus", lambda config: None)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "amd-epyc-zen4")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"of": name})
        monkeypatch.setitem(tables.TABLES, name, tables.TABLES[name]._replace(write=lambda found: iter([str(found)])))
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / report.PAGE).write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")
    return tmp_path


def run(*words: str) -> None:
    assert CliRunner().invoke(program.main, words, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("words", [("--page", "--only", "steps"), ("--output", "missing/results.json")], ids=" ".join)
def test_a_wrong_option_ends_before_anything_is_measured(words: tuple[str, ...], project: Path) -> None:
    for name in BENCHMARKS:
        program.BENCHMARKS[name] = lambda session: pytest.fail("measured")
    assert CliRunner().invoke(program.main, words).exit_code == 2


def test_a_quick_run_is_not_saved(project: Path) -> None:
    before = (project / report.PAGE).read_text()
    run("--quick")
    assert not list((project / "benchmarks").iterdir())
    assert (project / report.PAGE).read_text() == before


def test_results_of_benchmarks_that_did_not_run_are_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setitem(program.BENCHMARKS, "steps", lambda session: {"of": "steps, again"})
    run("--only", "steps")
    found = json.loads((project / "benchmarks" / "results-amd-epyc-zen4.json").read_text())
    assert found.keys() == found["measured"].keys() | {"kind", "measured"}
    assert found["measured"].keys() == set(BENCHMARKS)
    assert [found[name]["of"] for name in ("steps", "growth")] == ["steps, again", "growth"]
    page = (project / report.PAGE).read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert all(str(found[name]) in page for name in BENCHMARKS)


def test_another_cpu_has_its_own_file_and_keeps_the_table_of_steps(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    file = project / "benchmarks" / "results-amd-epyc-zen4.json"
    earlier = json.loads(file.read_text().replace(program.machine.describe()["on"], "2026-01-01"))
    results.write(file, earlier)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "intel-xeon-6-143-amx")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"on Intel": name})
    run()
    assert json.loads(file.read_text()) == earlier
    page = (project / report.PAGE).read_text()
    intel, amd = page.partition("### amd-epyc-zen4")[::2]
    assert all(str({"on Intel": name}) in intel for name in BENCHMARKS), "all tables of the CPU measured last"
    assert str({"of": "steps"}) in amd
    assert str({"of": "growth"}) not in amd
    monkeypatch.setattr(program, "measure", lambda session, names: pytest.fail("measured"))
    run("--page")
    assert (project / report.PAGE).read_text() == page


def test_insert_replaces_only_the_text_between_the_marks() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.insert(page, "new") == page.replace("old", "new")
    assert report.insert("no marks\n", "new") == "no marks\n"


# Wrong results


FAULTS: dict[str, Callable[[float, Params], tuple[float, Params]]] = {
    "loss": lambda loss, grads: (loss * (1 + 2e-5), grads),
    "NaN": lambda loss, grads: (loss, grads | {"b": grads["b"] * np.nan}),
    "missing": lambda loss, grads: (loss, {name: grad for name, grad in grads.items() if name != "Wx"}),
    **{
        name: lambda loss, grads, name=name: (loss, grads | {name: grads[name] * 1.001})
        for name in SHAPE.sizes.shapes()
    },
}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the return value of one method of one contender."""
    makers = steps.learners(Session.has_torch)

    def change(contender: str, method: str, fault: Callable[[Any], Any]) -> None:
        def make(*arguments: Any) -> Any:
            learner = makers[contender](*arguments)
            true = getattr(learner, method)
            setattr(learner, method, lambda: fault(true()))
            return learner

        monkeypatch.setattr(steps, "learners", lambda with_torch, threads: makers | {contender: make})
        monkeypatch.setattr(Timer, "race", lambda *_: pytest.fail("timed"))

    return change


FLOAT32 = [name for name in steps.learners(Session.has_torch) if name != "bfloat16"]
every_contender = pytest.mark.parametrize("contender", FLOAT32)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@every_contender
def test_a_wrong_loss_or_gradient_is_not_timed(
    contender: str, fault: Any, session: Session, plant: Callable[..., None]
) -> None:
    plant(contender, "gradients", lambda true: fault(*true))
    with pytest.raises(checks.WrongResultError):
        steps.measure_shape(session, SHAPE)


@pytest.mark.parametrize("fault", [*FAULTS][1:], ids=str)
def test_a_wrong_bfloat16_gradient_is_not_timed(fault: str, session: Session, plant: Callable[..., None]) -> None:
    if "bfloat16" not in steps.learners(Session.has_torch):
        pytest.skip("needs PyTorch and a CPU with products of bfloat16 numbers")
    plant("bfloat16", "gradients", lambda true: _far(*FAULTS[fault](*true)))
    with pytest.raises(checks.WrongResultError, match="bfloat16"):
        steps.measure_shape(session, SHAPE)


def _far(loss: float, grads: Params) -> tuple[float, Params]:
    """Scale a planted error of 0.1 % to one above the tolerance of bfloat16."""
    return loss, {name: grad * 1.2 for name, grad in grads.items()}


@every_contender
def test_the_timed_step_has_the_checked_loss(contender: str, session: Session, plant: Callable[..., None]) -> None:
    plant(contender, "step", lambda loss: loss * (1 + 2e-5))
    with pytest.raises(checks.WrongResultError, match=f"{contender}, in training"):
        steps.measure_shape(session, SHAPE)


def test_a_contender_that_does_not_update_is_found(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "adam", lambda w, dw, config: w)
    with pytest.raises(checks.WrongResultError, match="loops: expected a loss below"):
        steps.measure_shape(session, SHAPE)


def test_gates_in_another_order_are_found(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    torch_peer = pytest.importorskip("benchmarks.torch_peer")
    monkeypatch.setitem(torch_peer.LAYERS, "lstm", (torch_peer.LAYERS["lstm"][0], [0, 1, 2, 3]))
    with pytest.raises(checks.WrongResultError, match="torch"):
        steps.measure_shape(session, SHAPE)


CAPTIONS = np.array([[4, 5, 2, 0], [6, 7, 2, 0]])


def test_captions_may_differ_only_after_a_tie() -> None:
    other = np.array([[4, 5, 2, 0], [6, 8, 9, 2]])

    def score(difference: float, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        assert images.tolist() == [1], "the caption that differs"
        assert tokens.tolist() == [[[6, 7], [6, 8]]], "up to the first different word"
        return np.array([[-3.0, -3.0 + difference]])

    assert checks.same_captions("ours", CAPTIONS, CAPTIONS, partial(score, 1.0)) == 0
    assert checks.same_captions("ours", CAPTIONS, other, partial(score, 5e-5)) == 1
    for difference in (2e-4, -2e-4, np.nan):
        with pytest.raises(checks.WrongResultError, match="word 2 of caption 1"):
            checks.same_captions("ours", CAPTIONS, other, partial(score, difference))


def test_only_scores_of_found_captions_are_compared() -> None:
    scores = np.array([[-3.0, -np.inf]])
    checks.same_scores("beam", scores, np.array([[-3.0005, 0.0]]))
    for wrong in (-3.002, np.nan):
        with pytest.raises(checks.WrongResultError):
            checks.same_scores("beam", scores, np.array([[wrong, 0.0]]))


@pytest.mark.parametrize("decoder", ["ours", "ours beam 3", "ours beam 5"])
def test_a_wrong_decoder_is_not_timed(decoder: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    true = decoding.decoders

    def wrong(*arguments: Any) -> Any:
        table = true(*arguments)
        decode = table[decoder]
        return table | {decoder: lambda images: (lambda ids, scores: (ids, scores - 0.002))(*decode(images))}

    monkeypatch.setattr(decoding, "decoders", wrong)
    monkeypatch.setattr(Timer, "race", lambda *_: pytest.fail("timed"))
    with pytest.raises(checks.WrongResultError, match=decoder):
        decoding.measure_cell(session, SHAPE)


# What is measured


@pytest.mark.parametrize("cell", shapes.CELLS)
def test_decoded_captions_have_the_lengths_of_coco(cell: str) -> None:
    shape = shapes.Shape(cell, 200, 300, 64, 64, 128)
    images = shapes.batch(shape).features
    tokens, _ = decoding.decoders(shape, decoding.caption_parameters(shape, images))["ours"](images)
    lengths = (tokens != shapes.NULL).sum(axis=2)
    assert lengths.mean() == pytest.approx(decoding.MEAN, abs=0.5)
    assert 1 < lengths.std() < 4
    assert len(np.unique(tokens, axis=0)) > 100


def test_training_captions_have_the_lengths_of_coco() -> None:
    batch = shapes.batch(shapes.COCO[3])
    lengths = (batch.captions != shapes.NULL).sum(axis=1)
    assert batch.captions.shape == (256, 17)
    assert batch.words == (lengths - 1).sum()
    assert pytest.approx(batch.words / 256, abs=0.3) == 11.5
    assert (batch.captions[:, 0] == shapes.START).all()
    assert (batch.captions[np.arange(256), lengths - 1] == shapes.END).all()


@pytest.mark.parametrize("contender", [name for name in FLOAT32 if name != "loops"])
def test_dropout_is_applied_in_the_step_but_not_in_the_gradient_check(contender: str) -> None:
    shape = replace(SHAPE, dropout=Dropout(0.2, 0.5, 0.5))
    learner = steps.learners(Session.has_torch)[contender](shape, shapes.parameters(shape), shapes.batch(shape))
    whole = learner.gradients()[0]
    assert learner.gradients()[0] == whole
    assert learner.step() != pytest.approx(whole, rel=1e-5)


def test_the_gemm_floor_computes_the_products_of_a_step_and_stays_finite() -> None:
    shape = shapes.QUICK[0]
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    floor = Floor(shape, params, batch)
    assert len(floor.h) == batch.words
    assert len(floor.x) < batch.words, "distinct words"
    results = []
    for _ in range(2):
        floor.step()
        results.append({name: array.copy() for name, array in floor.out.items()})
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])
        assert np.isfinite(array).all()
    np.testing.assert_allclose(results[0]["ah"], floor.h @ params["Wh"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0]["dh_prev"], floor.da @ params["Wh"].T, rtol=1e-4, atol=1e-5)
    shapes_out = {name.removeprefix("d"): a.shape for name, a in results[0].items() if name.startswith("dW")}
    assert shapes_out == {name: params[name].shape for name in ("W_proj", "Wx", "Wh", "W_vocab")}


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    contenders = {
        name: Contender(partial(calls.append, name), partial(calls.append, name.upper())) for name in ("ours", "b")
    }
    times = Timer(3, 0, 0).race(contenders)
    once, warm = ["OURS", "ours", "B", "b"], ["OURS", "ours", "ours", "B", "b", "b"]
    assert calls == once + warm * 3, "one warm-up, then three bursts, each after one untimed call"
    assert times.keys() == {"ours", "b"}
    assert all(took["min"] <= took["median"] for took in times.values())


class Cpus:
    """A fake machine: CPU seconds of other processes and of this one during sleeps and bursts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: list[float], asleep: int = 0) -> None:
        self.machine = self.own = 0.0
        self.others, self.asleep, self.bursts, self.sleeps = others, asleep, 0, 0
        monkeypatch.setattr(timing, "machine_seconds", lambda: self.machine)
        monkeypatch.setattr(timing, "own_seconds", lambda: self.own)
        monkeypatch.setattr(timing.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.machine += 1.0 if self.sleeps <= self.asleep else 0.0

    def burst(self) -> int:
        self.own += 1.0
        self.machine += 1.0 + self.others[self.bursts]
        self.bursts += 1
        return self.bursts


def test_a_disturbed_burst_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [1.0, 0.5, 0.0]), Timer()
    assert timer.undisturbed(cpus.burst) == (3, False)
    assert timer.disturbed == 0


def test_a_disturbed_burst_is_kept_and_counted_once_patience_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [1.0, 1.0, 0.0]), Timer(patience=1e-12)
    assert timer.undisturbed(cpus.burst) == (2, True)
    assert timer.disturbed == 1


def test_nothing_is_measured_before_the_machine_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [0.0], asleep=5), Timer()
    assert timer.undisturbed(cpus.burst) == (1, False)
    assert cpus.sleeps > 5


def a_race(ours: float, **others: float) -> dict[str, Any]:
    return {name: {"median": took} for name, took in {"ours": ours, **others}.items()}


def test_targets_are_checked_against_the_results() -> None:
    torch = {"torch eager": 2.0, "torch packed": 1.0}
    steps_of = {
        shape.key: {"threads": {"1": a_race(0.7, floor=0.6, **torch)}, "loops": {"1": a_race(0.7, loops=3.0)}}
        for shape in shapes.COCO
    }
    steps_of["rnn-64-10000"]["threads"]["1"] = a_race(1.4, floor=0.6, **torch)
    found = {
        "kind": "amd-epyc-zen4",
        "steps": steps_of,
        "decoding": {"lstm": {"threads": {"1": a_race(0.64, torch=1.0, **{"ours beam 3": 3.0})}}},
        "epochs": {"ratio": 0.95},
        "features": a_race(2.0, h5py=9.0, **{"ours in memory": 1.0}),
        "streaming": {"peak": 700.0, "share": 0.05},
        "startup": a_race(0.065, **{"import click": 0.05, "sample": 0.24}),
    }
    got = {target.name: (target.got, target.reached) for target in targets.check(found)}
    assert got["one thread: step / PyTorch best, mean"] == (pytest.approx(0.7 * 2**0.1), False)
    assert got["one thread: step / PyTorch best, worst"] == (1.4, False)
    assert got["one thread: step / PyTorch eager, mean"] == (pytest.approx(0.35 * 2**0.1), True)
    assert got["one thread: step / GEMM floor, lstm-64-1004"] == (pytest.approx(0.7 / 0.6), True)
    assert got["one thread: step / GEMM floor, lstm-256-1004"] == (pytest.approx(0.7 / 0.6), False)
    assert got["one thread: loops / LSTM step, mean"] == (pytest.approx(3 / 0.7), False)
    assert got["one thread: loops / RNN step, mean"] == (pytest.approx(3 / 0.7), True)
    assert got["one thread: LSTM greedy / PyTorch"] == (0.64, False)
    assert got["one thread: LSTM beam 3 / greedy"] == (pytest.approx(3 / 0.64), False)
    assert got["words/s of an epoch / of its training steps"] == (0.95, True)
    assert got["read a batch of features / h5py"] == (pytest.approx(1 / 9), False)
    assert got["captioner --help / import click"] == (pytest.approx(1.3), True)
    assert got["captioner sample of one image, s"] == (0.24, True)
    assert got["waiting for these features / step time"] == (0.05, True)
    assert got.pop("peak memory with 800 MB of features and memory_mib=256, MB") == (700.0, False)
    assert {got[name] for name in got if "two" in name or "memory" in name or "RNN greedy" in name} == {(None, None)}


def test_the_bounds_depend_on_the_vendor_and_bfloat16_is_not_best() -> None:
    races = {"1": a_race(0.94, floor=0.78, **{"torch packed": 1.0, "bfloat16": 0.1})}
    steps_of = {shape.key: {"threads": races, "loops": {"1": a_race(0.94, loops=3.0)}} for shape in shapes.COCO}
    worst = {}
    for kind in ("intel-xeon-6-143-amx", "amd-epyc-zen4", "arm"):
        got = {target.name: target for target in targets.check({"kind": kind, "steps": steps_of})}
        worst[kind] = got["one thread: step / PyTorch best, worst"]
        floor = got["one thread: step / GEMM floor, lstm-64-1004"]
    assert [(target.got, target.reached) for target in worst.values()] == [(0.94, True), (0.94, False), (0.94, True)]
    assert floor.bound == "<= 1.25"
