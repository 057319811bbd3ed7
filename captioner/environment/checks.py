"""The checks of `captioner doctor`, in the order of its report."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import captioner
from captioner.environment import hardware
from captioner.environment.packages import Requirement, requirements, version
from captioner.extras import LIBRARIES, install_command

CORE = ("numpy", "click", "h5py", "tqdm", "pyyaml")
"""The packages that every installation needs."""
PURPOSES: Mapping[str, str] = {
    "images": "encodes photographs",
    "heic": "reads HEIC photographs",
    "report": "writes HTML pages (captioner report and monitor, train --report, data show --html)",
    "web": "serves a web page and an HTTP API (captioner serve)",
    "export": "writes ONNX and safetensors files (captioner export)",
    "tensorboard": "writes TensorBoard event files (train.tensorboard)",
    "mpi": "trains in several processes (captioner train --mpi)",
    "torch": "compares the model with PyTorch in the tests",
    "eval": "compares the metrics with pycocoevalcap",
    "bench": "runs the benchmarks",
    "test": "runs the tests",
    "dev": "checks style, types and imports",
}
"""What each extra is for."""


class Finding(NamedTuple):
    """The result of a check: `value` for people, `data` for programs, and what to try if it is not ok.

    `missing` is an optional package that is not installed; an `error` makes commands fail; `unknown` is a check that
    needs something that is missing itself.
    """

    value: str
    data: Any
    status: Literal["ok", "missing", "error", "unknown"] = "ok"
    remedy: str = ""


def examine() -> Iterator[tuple[str, Finding]]:
    """Run every check, and yield its name and finding."""
    for name, check in checks().items():
        try:
            yield name, check()
        except Exception as error:  # a broken library may raise anything, and the other checks must still run
            yield name, Finding(f"cannot be examined: {str(error) or type(error).__name__}", None, "unknown")


def checks() -> dict[str, Callable[[], Finding]]:
    """Return the table of checks: a name, and a function without arguments."""
    declared = sorted(requirements(), key=attrgetter("extra"))
    core = {requirement.name: requirement for requirement in declared if not requirement.extra}
    extras = {name: [*group] for name, group in groupby(declared, attrgetter("extra")) if name}
    return {
        "captioner": check_captioner,
        "python": check_python,
        **{name: partial(check_package, core.get(name, Requirement(name, "", ""))) for name in CORE},
        "blas": check_blas,
        "numpy_simd": check_simd,
        "matrix_products": check_matrix_products,
        "cpu": check_cpu,
        "cpu_features": check_cpu_features,
        "cores": check_cores,
        "memory": check_memory,
        **{f"extra_{name}": partial(check_extra, name, extras[name]) for name in PURPOSES if name in extras},
        "weights": partial(check_weights, "efficientnet-lite0"),
        "weights_lite2": partial(check_weights, "efficientnet-lite2"),
        "folder": check_folder,
    }


def check_captioner() -> Finding:
    """Find the version of captioner."""
    note = "" if version("captioner") else ", not installed as a package: its requirements are unknown"
    return Finding(f"{captioner.__version__}{note}", captioner.__version__)


def check_python() -> Finding:
    """Find the version of Python."""
    return Finding(f"{platform.python_version()}, {sys.executable}", platform.python_version())


def check_package(requirement: Requirement) -> Finding:
    """Check that a core package has a supported version and can be imported."""
    found = version(requirement.name)
    if found is not None and not requirement.admits(found):
        problem, option = f"{found}, expected {requirement.bounds}", "--upgrade"
    elif not (problem := import_problem(requirement.module)):
        return Finding(found or "unknown version", found)
    elif found is None:
        problem, option = "not installed", "--upgrade"
    else:
        problem, option = f"{found}, cannot be imported ({problem})", "--force-reinstall"
    pip = [sys.executable, "-m", "pip", "install"]
    return Finding(problem, found, "error", shlex.join([*pip, option, str(requirement)]))


def import_problem(module: str) -> str:
    """Return why a module cannot be imported, or an empty text."""
    try:
        import_module(module)
    except Exception as error:  # a library built for another NumPy raises more than ImportError
        return str(error) or type(error).__name__
    return ""


def check_blas() -> Finding:
    """Find the BLAS library of NumPy and its number of threads."""
    from captioner.parallel import blas

    found = blas.describe()
    note = "" if found.threads is None else f", {found.threads} thread{'s' if found.threads != 1 else ''}"
    return Finding(f"{found}{note and note + ' (captioner sets 1)'}", found._asdict())


def check_simd() -> Finding:
    """Find the CPU features that NumPy uses."""
    import numpy as np

    groups: Any = np.show_config(mode="dicts")["SIMD Extensions"]
    used = [name for group in ("baseline", "found") for name in groups.get(group, ())]
    return Finding(" ".join(used) or "none", used)


def check_matrix_products() -> Finding:
    """Measure the recurrent products of 32 and 64 captions on one thread, and report the fastest block width."""
    import numpy as np

    from captioner.layers.autotune import fastest
    from captioner.layers.block_width import DEFAULT, measure
    from captioner.parallel import blas

    blas.set_threads(1)
    data, texts = {}, []
    for rows in (32, 64):
        times = measure(rows, 512, 512, np.dtype(np.float32))
        gflops = {name: round(2e-9 * rows * 512 * 512 / seconds, 1) for name, seconds in times.items()}
        data[rows] = {"choice": fastest(times, DEFAULT), "gflops": gflops}
        texts.append(f"{rows} rows: {fastest(times, DEFAULT)}, {gflops[fastest(times, DEFAULT)]:.0f} GFLOP/s")
    return Finding("; ".join(texts), data)


def check_cpu() -> Finding:
    """Find the model of the CPU."""
    return Finding(hardware.cpu_model(), hardware.cpu_model())


def check_cpu_features() -> Finding:
    """Find the vector and matrix extensions of the CPU."""
    features = hardware.cpu_features()
    return Finding(" ".join(features) or "unknown", features)


def check_cores() -> Finding:
    """Find the number of logical cores."""
    usable, total = hardware.cores()
    return Finding(f"{usable}" if usable == total else f"{usable} of {total}", {"usable": usable, "total": total})


def check_memory() -> Finding:
    """Find the total and the available memory."""
    total, available = hardware.memory()
    note = "" if available is None else f", {_gibibytes(available)} available"
    return Finding(f"{_gibibytes(total) if total else 'unknown'}{note}", {"total": total, "available": available})


def check_extra(name: str, needed: list[Requirement]) -> Finding:
    """Check that the packages of an extra are installed, and that those that captioner uses can be imported."""
    found = {requirement.name: version(requirement.name) for requirement in needed}
    data = {"for": PURPOSES[name], "packages": found}
    lacking = [str(one) for one in needed if not (has := found[one.name]) or not one.admits(has)]
    if lacking:
        return Finding(f"{PURPOSES[name]}; needs {', '.join(lacking)}", data, "missing", install_command(name))
    for requirement in needed:
        used = LIBRARIES.get(requirement.module) == name
        if used and (problem := import_problem(requirement.module)):
            remedy = install_command(name, "--force-reinstall")
            return Finding(f"{requirement.name} cannot be imported ({problem})", data, "error", remedy)
    return Finding(", ".join(f"{package} {has}" for package, has in found.items()), data)


def check_weights(name: str) -> Finding:
    """Check that the weights of an encoder are the published ones."""
    from captioner.errors import DataError, UsageError
    from captioner.images.efficientnet_weights import NETWORKS, read_weights, weights_file

    identity = NETWORKS[name].identity
    data = {"encoder": identity, "sha256": NETWORKS[name].sha256, "installed": True, "intact": True}
    try:
        read_weights(name, weights_file(name))
    except UsageError:
        data = {**data, "installed": False, "intact": False}
        return Finding(f"{identity}: not installed", data, "missing", install_command("images"))
    except DataError as error:
        remedy = install_command("images", "--force-reinstall", "--no-deps")
        return Finding(str(error), {**data, "intact": False}, "error", remedy)
    return Finding(f"{identity}: SHA-256 verified", data)


def check_folder() -> Finding:
    """Check that a file can be written and synced in the current folder, where training creates run folders."""
    path = "."
    try:
        path = os.getcwd()
        with tempfile.NamedTemporaryFile(dir=path, prefix=".captioner-") as file:
            file.write(b"captioner doctor")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(path).free
    except OSError as error:
        remedy = "another folder, or --run"
        return Finding(f"{path}: cannot write: {error.strerror}", {"path": path, "writable": False}, "error", remedy)
    return Finding(f"{path}: writable, {_gibibytes(free)} free", {"path": path, "writable": True, "free": free})


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
