"""Installed packages, compared with the requirements in the metadata of captioner."""

from __future__ import annotations

import operator
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
REQUIREMENT = re.compile(r"([\w.-]+)\s*\(?([^;()]*)\)?\s*(?:;(.*))?", re.ASCII)
"""A requirement: a name, bounds of the version and a marker, which says when it applies."""
BOUND = re.compile(r"(>=|<=|==|!=|>|<)\s*([\d.]+)")
MARKER = re.compile(r"(\w+)\s*(>=|<=|==|!=|>|<)\s*['\"]([^'\"]+)['\"]")
MODULES = {"pillow": "PIL", "pyyaml": "yaml"}
"""Modules that are not named like their packages."""


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
        if match is None or not all(_applies(python, *marker) for marker in markers):
            continue
        extra = next((value for variable, _, value in markers if variable == "extra"), "")
        bounds.setdefault((match[1], extra), []).append(match[2].replace(" ", ""))
    return [Requirement(name, ",".join(filter(None, found)), extra) for (name, extra), found in bounds.items()]


def _applies(python: str, variable: str, sign: str, value: str) -> bool:
    if variable == "python_version":
        return COMPARE[sign](numbers(python)[:2], numbers(value))
    return variable == "extra"


def version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros, so that 1.26 equals 1.26.0."""
    match = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
