"""What a report states about a run: names without paths, and nothing of an earlier training."""

from pathlib import Path

from captioner.files.history import end_of, records
from captioner.inference.load import open_run
from captioner.report.run_facts import MAX_WARNINGS, History, RunFacts, facts_of_run


def test_the_facts_of_a_finished_run(own_run: Path) -> None:
    end = end_of(records(own_run / "history.jsonl"))
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "8 (2 epochs)"
    assert facts.training["ended"] == "done"
    assert facts.training["speed"] == f"{end['words_per_second']:,} words per second"
    assert facts.training["versions"].startswith(f"captioner {end['versions']['captioner']}, Python ")
    assert facts.model["decoder"] == "lstm, 16 units"
    assert "hidden_dim: 16" in facts.differences


def test_a_run_may_end_at_a_step_that_is_not_logged(own_run: Path) -> None:
    lines = (own_run / "history.jsonl").read_text().splitlines(keepends=True)
    (own_run / "history.jsonl").write_text("".join([*lines[:-3], lines[-1]]))
    facts = facts_of_run("a", open_run(own_run / "last.h5"))
    assert facts.training["ended"] == "done"
    assert facts.training["steps"].startswith("8 ")


def test_a_resumed_run_does_not_state_the_end_of_the_training_before(own_run: Path) -> None:
    with open(own_run / "history.jsonl", "a") as file:
        file.write('{"kind": "step", "step": 9, "epoch": 3}\n')
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "9 (3 epochs)"
    assert not {"ended", "time", "speed"} & facts.training.keys()


def test_a_damaged_end_is_left_out(own_run: Path) -> None:
    lines = (own_run / "history.jsonl").read_text().splitlines(keepends=True)
    odd = '{"kind": "end", "step": 8, "seconds": NaN, "profile": [1], "versions": 3, "ended": {}}\n'
    (own_run / "history.jsonl").write_text("".join([*lines[:-1], odd]))
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "8 (2 epochs)"
    assert not {"ended", "time", "speed"} & facts.training.keys()


def test_a_kind_of_caption_collapse_is_one_warning_with_its_last_figures() -> None:
    records = [
        {"step": step, "collapse": kind, "problem": f"{kind} {share}%"}
        for step, kind, share in ((3, "unk", 50), (3, "identical", 90), (5, "unk", 40), (9, "unk", 20))
    ]
    facts = RunFacts("a", History([], [], records), "")
    assert facts.warnings == ["unk 20% (steps 3 to 9)", "identical 90% (step 3)"]


def test_warnings_are_listed_once_and_few() -> None:
    records = [{"step": step, "problem": "the same"} for step in (3, 5, 9)]
    many = [{"step": number, "problem": f"{number} " + "x" * 1_000_000} for number in range(2 * MAX_WARNINGS)]
    facts = RunFacts("a", History([], [], [*records, *many]), "")
    assert facts.warnings[0] == "the same (steps 3 to 9)"
    assert len(facts.warnings) == MAX_WARNINGS
    assert max(map(len, facts.warnings)) < 400
