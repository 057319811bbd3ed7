"""captioner doctor: check packages, hardware, weights and folders.

NumPy and the other libraries are imported inside the checks, so that a missing library is one row of the report.
"""

from __future__ import annotations

import operator
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module, metadata
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import click

import captioner
from captioner.cli import output
from captioner.cli.shared_options import examples
from captioner.errors import LIBRARIES, install_command
from captioner.parallel import hardware

CORE = ("numpy", "click", "h5py", "tqdm", "pyyaml")
"""The packages that every installation needs."""
PURPOSES: Mapping[str, str] = {
    "images": "encodes photographs",
    "heic": "reads HEIC photographs",
    "report": "writes HTML pages (report, train --report, data show --html, sample --attention)",
    "web": "serves a web page and an HTTP API (captioner serve)",
    "export": "writes ONNX and safetensors files (captioner export)",
    "mpi": "trains in several processes (captioner train --mpi)",
}
"""What each extra is for. Those for the development of captioner are left out: no command needs them."""
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt
}  # fmt: skip
REQUIREMENT = re.compile(r"([\w.-]+)\s*\(?([^;()]*)\)?\s*(?:;(.*))?", re.ASCII)
"""A requirement: a name, bounds of the version and a marker, which says when it applies."""
BOUND = re.compile(r"(>=|<=|==|!=|>|<)\s*([\d.]+)")
MARKER = re.compile(r"(\w+)\s*(>=|<=|==|!=|>|<)\s*['\"]([^'\"]+)['\"]")
MODULES = {"pillow": "PIL", "pyyaml": "yaml"}
"""Modules that are not named like their packages."""


@click.command(epilog=examples("doctor", "doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> int:
    """Check the installation and describe the machine.

    Each line contains a status, the name of the check and what was found. The status `optional` marks packages that
    only some commands need and that are not installed; `error` marks what makes commands fail, and the exit code is
    then 1.
    """
    findings = dict(examine())
    failed = [name for name, finding in findings.items() if finding.status == "error"]
    with output.ignoring_a_closed_pipe():
        if as_json:
            output.record({"ok": not failed, "checks": {name: finding._asdict() for name, finding in findings.items()}})
        else:
            width = max(map(len, findings))
            for name, finding in findings.items():
                remedy = f"; try {finding.remedy}" if finding.remedy else ""
                output.result(f"{finding.status:<8} {name.replace('_', ' '):<{width}}  {finding.value}{remedy}")
    return 1 if failed else 0


class Finding(NamedTuple):
    """The result of a check: `value` for people, `data` for programs, and what to try if it is not ok.

    `optional` is a package that only some commands need and that is not installed; an `error` makes commands fail;
    `unknown` is a check that needs something that is missing itself.
    """

    value: str
    data: Any
    status: Literal["ok", "optional", "error", "unknown"] = "ok"
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
    note = "" if version("captioner") else ", not installed as a package: its requirements are unknown"
    return {
        "captioner": lambda: Finding(f"{captioner.__version__}{note}", captioner.__version__),
        "python": lambda: Finding(f"{platform.python_version()}, {sys.executable}", platform.python_version()),
        **{name: partial(check_package, core.get(name, Requirement(name, "", ""))) for name in CORE},
        "blas": check_blas,
        "numpy_simd": check_simd,
        "cpu": lambda: Finding(hardware.cpu_model(), hardware.cpu_model()),
        "cpu_features": lambda: Finding(" ".join(hardware.cpu_features()) or "unknown", hardware.cpu_features()),
        "cores": check_cores,
        "memory": check_memory,
        **{f"extra_{name}": partial(check_extra, name, extras[name]) for name in PURPOSES if name in extras},
        "weights": partial(check_weights, "efficientnet-lite0"),
        "weights_lite2": partial(check_weights, "efficientnet-lite2"),
        "folder": check_folder,
    }


def check_package(requirement: Requirement) -> Finding:
    """Check that a core package has a supported version and can be imported."""
    installed = version(requirement.name)
    if installed is not None and not requirement.admits(installed):
        problem, option = f"{installed}, expected {requirement.bounds}", "--upgrade"
    elif not (problem := import_problem(requirement.module)):
        return Finding(installed or "unknown version", installed)
    elif installed is None:
        problem, option = "not installed", "--upgrade"
    else:
        problem, option = f"{installed}, cannot be imported ({problem})", "--force-reinstall"
    pip = [sys.executable, "-m", "pip", "install"]
    return Finding(problem, installed, "error", shlex.join([*pip, option, str(requirement)]))


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

    library = blas.describe()
    note = "" if library.threads is None else f", {library.threads} thread{'s' if library.threads != 1 else ''}"
    return Finding(f"{library}{note and note + ' (captioner sets 1)'}", library._asdict())


def check_simd() -> Finding:
    """Find the CPU features that NumPy uses."""
    import numpy as np

    groups: Any = np.show_config(mode="dicts")["SIMD Extensions"]
    used = [name for group in ("baseline", "found") for name in groups.get(group, ())]
    return Finding(" ".join(used) or "none", used)


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
    installed = {requirement.name: version(requirement.name) for requirement in needed}
    data = {"for": PURPOSES[name], "packages": installed}
    lacking = [str(need) for need in needed if not (has := installed[need.name]) or not need.admits(has)]
    if lacking:
        found = f"not installed: {PURPOSES[name]}; needs {', '.join(lacking)}"
        return Finding(found, data, "optional", install_command(name))
    for requirement in needed:
        used = LIBRARIES.get(requirement.module) == name
        if used and (problem := import_problem(requirement.module)):
            remedy = install_command(name, "--force-reinstall")
            return Finding(f"{requirement.name} cannot be imported ({problem})", data, "error", remedy)
    return Finding(", ".join(f"{package} {has}" for package, has in installed.items()), data)


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
        return Finding(f"{identity}: not installed", data, "optional", install_command("images"))
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


class Requirement(NamedTuple):
    """A package that captioner needs, the bounds of its version, and the extra it belongs to (empty: core)."""

    name: str
    bounds: str
    extra: str

    @property
    def module(self) -> str:
        return MODULES.get(self.name.lower(), self.name.replace("-", "_"))

    def admits(self, version: str) -> bool:
        """Return whether a version is within the bounds."""
        return all(COMPARE[sign](numbers(version), numbers(bound)) for sign, bound in BOUND.findall(self.bounds))

    def __str__(self) -> str:
        return f"{self.name}{self.bounds}"


def requirements() -> list[Requirement]:
    """List the requirements of captioner for this Python; an empty list if captioner was not installed as a package."""
    try:
        return parse(metadata.requires("captioner") or [], platform.python_version())
    except metadata.PackageNotFoundError:
        return []


def parse(lines: Sequence[str], python: str) -> list[Requirement]:
    """Parse the requirements that apply to a version of Python; the bounds of one package are joined.

    Markers may compare `extra` and `python_version`; requirements with others are omitted.
    """
    bounds: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        match = REQUIREMENT.fullmatch(line.strip())
        markers = MARKER.findall((match and match[3]) or "")
        applies = all(
            variable == "extra" or (variable == "python_version" and COMPARE[sign](numbers(python)[:2], numbers(value)))
            for variable, sign, value in markers
        )
        if match is not None and applies:
            extra = next((value for variable, _, value in markers if variable == "extra"), "")
            bounds.setdefault((match[1], extra), []).append(match[2].replace(" ", ""))
    return [Requirement(name, ",".join(filter(None, signs)), extra) for (name, extra), signs in bounds.items()]


def version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros, so that 1.26 equals 1.26.0."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, re.sub(r"(\.0+)*$", "", match[0]).split("."))) if match else ()
