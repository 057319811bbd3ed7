"""captioner doctor: versions, BLAS, cores and missing extras."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec

import click

import captioner
from captioner.cli import output
from captioner.cli.shared_options import examples
from captioner.errors import LIBRARIES, install_command
from captioner.parallel import machine

CORE = ("numpy", "click", "h5py", "tqdm", "pyyaml")
"""The packages that every installation needs."""
PURPOSES: Mapping[str, str] = {
    "images": "encodes photographs, also HEIC",
    "report": "writes HTML pages (report, caption --write FILE.html)",
    "web": "serves a web page and an HTTP API (captioner serve)",
    "mpi": "trains in several processes (captioner train --mpi)",
}
"""What each extra is for. Those for the development of captioner are left out: no command needs them."""


@click.command(epilog=examples("doctor"))
def doctor() -> None:
    """Print versions, BLAS, cores and missing extras."""
    usable, total = machine.cores()
    lines = {
        "captioner": captioner.__version__,
        "python": f"{platform.python_version()}, {sys.executable}",
        **{name: metadata.version(name) for name in CORE},
        "blas": machine.describe_blas(),
        "cores": f"{usable} of {total}",
        **{f"extra {extra}": _state(extra) for extra in PURPOSES},
    }
    width = max(map(len, lines))
    for name, line in lines.items():
        output.result(f"{name:<{width}}  {line}")


def _state(extra: str) -> str:
    """Return whether an extra is installed, with what to try if it is missing."""
    missing = [module for module, needed_by in LIBRARIES.items() if needed_by == extra and not find_spec(module)]
    if not missing:
        return "installed"
    return f"not installed: {', '.join(missing)} ({PURPOSES[extra]}); try {install_command(extra)}"
