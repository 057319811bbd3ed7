"""captioner doctor: versions, BLAS, cores and missing extras."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import click

import captioner
from captioner.cli import output
from captioner.cli.shared_options import examples
from captioner.errors import LIBRARIES, install_command
from captioner.parallel import machine

CORE = ("numpy", "click", "h5py", "tqdm", "pyyaml")
"""The packages that every installation needs."""
PURPOSES: Mapping[str, str] = {
    "images": "encodes photographs",
    "heic": "reads HEIC photographs",
    "report": "writes HTML pages (report, sample --write FILE.html)",
    "web": "serves a web page and an HTTP API (captioner serve)",
    "export": "writes safetensors files (captioner export)",
    "mpi": "trains in several processes (captioner train --mpi)",
}
"""What each extra is for. Those for the development of captioner are left out: no command needs them."""


@click.command(epilog=examples("doctor", "doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> int:
    """Print versions, BLAS, cores and missing extras.

    The exit code is 1 if a package is missing that every command needs.
    """
    found = examine()
    with output.ignoring_a_closed_pipe():
        if as_json:
            output.record(found)
        else:
            lines = describe(found)
            width = max(map(len, lines))
            for name, line in lines.items():
                output.result(f"{name:<{width}}  {line}")
    return 1 if None in found["packages"].values() else 0


def examine() -> dict[str, Any]:
    """Return what is installed; the version of a missing package is None, and extras have their missing modules."""
    usable, total = machine.cores()
    return {
        "captioner": captioner.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": {name: _version(name) for name in CORE},
        "blas": _blas(),
        "cores": {"usable": usable, "total": total},
        "missing": {
            extra: [module for module, needed_by in LIBRARIES.items() if needed_by == extra and not find_spec(module)]
            for extra in PURPOSES
        },
    }


def describe(found: Mapping[str, Any]) -> dict[str, str]:
    """Return one line about each part of the installation, with what to try if it is missing."""
    cores = found["cores"]
    return {
        "captioner": found["captioner"],
        "python": f"{found['python']}, {found['executable']}",
        **{name: version or "not installed; install captioner again" for name, version in found["packages"].items()},
        "blas": found["blas"],
        "cores": f"{cores['usable']} of {cores['total']}",
        **{
            f"extra {extra}": (
                f"not installed: {', '.join(modules)} ({PURPOSES[extra]}); try {install_command(extra)}"
                if modules
                else "installed"
            )
            for extra, modules in found["missing"].items()
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    try:
        from captioner.parallel import blas  # needs NumPy
    except ImportError as error:
        return f"unknown: {error}"
    return str(blas.describe())
