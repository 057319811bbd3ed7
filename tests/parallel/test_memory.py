"""Options of malloc; reservations never exceed a budget, and are granted in order."""

import ctypes
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from captioner.parallel.memory import Budget, tune_malloc


def test_glibc_accepts_all_options(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        pytest.skip("needs glibc")
    accepted = []
    functions = {name: getattr(library, name) for name in ("malloc", "free", "sbrk", "madvise")}
    spy = mock.Mock(mallopt=lambda *args: accepted.append(library.mallopt(*args)), **functions)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: spy)
    tune_malloc()
    assert accepted == [1] * 5


ALLOCATE = """
import sys
import numpy as np
from captioner.parallel.memory import tune_malloc

def huge_kib():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))

if sys.argv[1] == "tuned":
    tune_malloc()
    tune_malloc()
before = huge_kib()
arrays = [np.ones(1 << 18, np.float32) for _ in range(64)]
print(huge_kib() - before)
"""


def test_arrays_of_a_mebibyte_are_in_huge_pages() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not hasattr(ctypes.CDLL(None), "mallopt") or not setting.exists() or "[madvise]" not in setting.read_text():
        pytest.skip("needs glibc, and a kernel that gives huge pages to those that ask for them")
    kib = {
        name: int(subprocess.run([sys.executable, "-c", ALLOCATE, name], check=True, capture_output=True).stdout)
        for name in ("tuned", "default")
    }
    assert kib["tuned"] >= 32 << 10 > kib["default"]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    tune_malloc()


def test_reservations_of_many_threads_never_exceed_the_total() -> None:
    budget, lock, reserved, peak = Budget(10), threading.Lock(), 0, 0

    def work(amount: int) -> None:
        nonlocal reserved, peak
        with budget.reserve(amount):
            with lock:
                reserved += amount
                peak = max(peak, reserved)
            time.sleep(0.001)
            with lock:
                reserved -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 4, 7, 10, 2, 3] * 10))
    assert reserved == 0
    assert 7 < peak <= 10


def test_more_than_the_total_is_granted_alone() -> None:
    budget = Budget(10)
    with budget.reserve(11):
        waiting = threading.Thread(target=lambda: budget.reserve(1).__enter__(), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_small_request_does_not_overtake_a_large_one() -> None:
    budget, order = Budget(10), []

    def work(amount: int) -> None:
        with budget.reserve(amount):
            order.append(amount)

    with budget.reserve(6):
        threads = [threading.Thread(target=work, args=(amount,)) for amount in (8, 1)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [8, 1]


def test_an_exception_releases_the_reservation() -> None:
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.reserve(10):
            raise ZeroDivisionError
    with budget.reserve(10):
        pass
