"""The files of a model package that Python's packaging tools read."""

from __future__ import annotations

import json

from captioner.images.recipe import parse_identity
from captioner.inference.installed_models import GROUP
from captioner.inference.package_info import CARD, INFO, WEIGHTS, PackageInfo, module_name

TEMPLATE = """\
# Written by `captioner package`.
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "captioner-{name}"
version = "{version}"
description = {description}
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["captioner{extra}>={captioner}"]

[project.entry-points."{group}"]
{name} = "{module}"

[tool.setuptools]
packages = ["{module}"]
zip-safe = false

[tool.setuptools.package-data]
{module} = {files}
"""
INIT = '"""The captioner model {name}: data only. `captioner.load("{name}")` loads it."""\n'


def pyproject(info: PackageInfo) -> str:
    """Return the text of pyproject.toml: a static description for setuptools, without code."""
    return TEMPLATE.format(
        name=info.name,
        version=info.version,
        # a one-line JSON text without surrogates is a TOML text
        description=json.dumps(info.description, ensure_ascii=False),
        extra="[images]" if parse_identity(info.encoder) is not None else "",
        captioner=info.captioner,
        group=GROUP,
        module=module_name(info.name),
        files=json.dumps([INFO, WEIGHTS, CARD]),
    )


def init_module(info: PackageInfo) -> str:
    """Return the text of `__init__.py`, which is never imported by captioner."""
    return INIT.format(name=info.name)
