"""Cores are counted; too few cores are a warning."""

import os

import pytest

from captioner.parallel import hardware


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    usable, total = hardware.cores()
    assert 1 <= usable <= total
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert hardware.cores() == (1, 1)


CASES = {
    "one process": ((8, 8), 64, 1, None),
    "enough cores": ((8, 8), 2, 4, None),
    "too many threads": ((8, 8), 4, 4, "16 threads share 8 cores of this machine, which slows all ranks down; "
                        "try -o threads=2"),
    "too many ranks": ((2, 2), 1, 3, "3 threads share 2 cores of this machine, which slows all ranks down; "
                      "try fewer ranks on this machine"),
    "bound to enough cores": ((2, 8), 2, 4, None),
    "bound to too few": ((2, 8), 4, 2, "4 threads share 2 cores of this machine, which slows all ranks down; "
                         "try -o threads=2"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_oversubscription(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, threads, processes, warning = CASES[case]
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    assert list(hardware.oversubscription(threads, processes)) == ([] if warning is None else [warning])
