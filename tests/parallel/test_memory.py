"""Keeping freed memory."""

import ctypes
from unittest import mock

import pytest

from captioner.parallel.memory import keep_freed_memory


def test_glibc_accepts_both_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        pytest.skip("needs glibc")
    accepted = []
    spy = mock.Mock(mallopt=lambda *args: accepted.append(library.mallopt(*args)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: spy)
    keep_freed_memory()
    assert accepted == [1, 1]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
