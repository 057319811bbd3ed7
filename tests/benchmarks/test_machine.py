"""The CPU is read from the kernel's file, or described as unknown."""

from pathlib import Path

import pytest

from benchmarks import machine

X86 = """\
processor\t: 0
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse sse2 fma avx512f amx_tile {}
"""


def test_the_cpu_and_its_products_of_bfloat16_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPUINFO", file)
    assert machine.cpu()
    assert not machine.has_bfloat16(), "a system without the file of the kernel"
    for feature in ("amx_bf16", "avx_vnni"):
        file.write_text(X86.format(feature))
        assert machine.cpu() == "AMD EPYC 7B13 (cpu family 25, model 1)"
        assert machine.has_bfloat16() == (feature == "amx_bf16")
