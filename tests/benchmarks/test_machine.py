"""The CPU is read from the kernel's file, or described as unknown."""

from pathlib import Path

import pytest

from benchmarks import machine

X86 = """\
processor\t: 0
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse sse2 sse4_2 avx f16c avx2 fma avx512f avx512_vnni amx_tile amx_bf16 avx_vnni rdtscp smep smap

processor\t: 1
model name\t: AMD EPYC 7B13
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimdhp sve sve2 i8mm bf16 crc32\n"


def test_cpu_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.cpu_model()
    assert machine.cpu_features() == [], "a system without the file of the kernel"
    (tmp_path / "cpuinfo").write_text(X86)
    assert machine.cpu_model() == "AMD EPYC 7B13"
    expected = "amx_bf16 amx_tile avx avx2 avx512_vnni avx512f avx_vnni f16c fma sse4_2"
    assert machine.cpu_features() == expected.split()
    (tmp_path / "cpuinfo").write_text(ARM)
    assert machine.cpu_model()
    assert machine.cpu_features() == ["asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2"]
