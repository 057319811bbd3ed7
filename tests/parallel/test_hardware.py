"""CPU, cores and memory are read from the kernel's files, or described as unknown; too few cores are a warning."""

import os
from pathlib import Path

import pytest

from captioner.parallel import hardware

X86 = """\
processor\t: 0
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse sse2 sse4_2 avx f16c avx2 fma avx512f avx512_vnni amx_tile amx_bf16 avx_vnni rdtscp smep smap

processor\t: 1
model name\t: AMD EPYC 7B13
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimdhp sve sve2 i8mm bf16 crc32\n"
MEMORY = "MemTotal:       24576000 kB\nMemFree:         1000000 kB\nMemAvailable:   20480000 kB\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "MEMINFO", tmp_path / "meminfo")
    return tmp_path


def test_an_x86_cpu(kernel: Path) -> None:
    (kernel / "cpuinfo").write_text(X86)
    assert hardware.cpu_model() == "AMD EPYC 7B13"
    expected = "amx_bf16 amx_tile avx avx2 avx512_vnni avx512f avx_vnni f16c fma sse4_2"
    assert hardware.cpu_features() == expected.split()


def test_an_arm_cpu_without_a_model_name(kernel: Path) -> None:
    (kernel / "cpuinfo").write_text(ARM)
    assert hardware.cpu_model()
    assert hardware.cpu_features() == ["asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2"]


def test_memory(kernel: Path) -> None:
    (kernel / "meminfo").write_text(MEMORY)
    assert hardware.memory() == (24576000 * 1024, 20480000 * 1024)


def test_a_system_without_the_files_of_the_kernel(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.cpu_model()
    assert hardware.cpu_features() == []
    total, available = hardware.memory()
    assert available is None
    assert total is None or total > 0

    def sysconf(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert hardware.memory() == (None, None)


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
