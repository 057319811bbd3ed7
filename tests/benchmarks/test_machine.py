"""Kinds of CPU have short names that do not depend on the clock rate."""

from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import Cpu

AVX512 = ("avx2", "avx512f")
KINDS = {
    "amd-epyc-zen4": Cpu("AuthenticAMD", "AMD EPYC 9B14", 25, 17, AVX512),
    "amd-epyc-zen3": Cpu("AuthenticAMD", "AMD EPYC 7B13", 25, 1, ("avx2",)),
    "amd-epyc-zen5": Cpu("AuthenticAMD", "AMD EPYC", 26, 2, AVX512),
    "amd-ryzen-zen2": Cpu("AuthenticAMD", "AMD Ryzen 7 3700X 8-Core Processor", 23, 0x71, ("avx2",)),
    "intel-xeon-6-143-amx": Cpu(
        "GenuineIntel", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 6, 143, ("amx_tile", *AVX512)
    ),
    "intel-core-6-154-avx2": Cpu("GenuineIntel", "12th Gen Intel(R) Core(TM) i7-1260P", 6, 154, ("avx2",)),
    "apple-m2": Cpu("", "Apple M2", 0, 0, ()),
    "unknown": Cpu("", "", 0, 0, ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_kind(kind: str) -> None:
    assert machine.kind(KINDS[kind]) == kind


def test_caches_are_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, texts in enumerate((("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"))):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in zip(("level", "type", "size"), texts, strict=True):
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "index3").mkdir()
    (tmp_path / "index3" / "level").write_text("3\n")
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    assert machine.caches() == {"L1": 32 << 10, "L2": 1 << 20}
    monkeypatch.setattr(machine, "CACHES", tmp_path / "none")
    assert machine.caches() == {}
