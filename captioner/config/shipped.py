"""The configs that are shipped with captioner, by name.

They are in the folder `configs` of the repository. A wheel contains a copy in the package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from captioner.config.values import closest
from captioner.errors import ConfigError

PACKAGE, REPOSITORY = Path(__file__).parents[1:3]
FOLDER = (PACKAGE if (PACKAGE / "configs").is_dir() else REPOSITORY) / "configs"


def shipped() -> Mapping[str, Path]:
    """Return the file of each shipped config by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)}


def description(path: Path) -> str:
    """Return the first comment of a config."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def read_shipped(name: str) -> str:
    """Return the text of a shipped config.

    Raises: ConfigError for an unknown name.
    """
    configs = shipped()
    if name not in configs:
        hint = closest(name, configs) or " (captioner config list prints the names)"
        raise ConfigError([f"config '{name}': not shipped with captioner{hint}"])
    return configs[name].read_text(encoding="utf-8")


def locate(path: Path) -> tuple[Path, Path | None]:
    """Return the file of a config and the folder at which its relative paths start (None: the current folder).

    A file at `path` is used before a shipped config of the same name.
    """
    configs = shipped()
    file = path if os.path.isfile(path) else configs.get(str(path), path)
    is_shipped = os.path.isfile(file) and any(os.path.samefile(file, other) for other in configs.values())
    return file, None if is_shipped else file.parent


def not_found(path: Path) -> str:
    """Describe a config that is neither a file nor shipped, with a suggestion."""
    is_name = not path.suffix and len(path.parts) == 1
    other = "config list prints the shipped configs" if is_name else "config init FILE writes a new one"
    return f"{path}: not found{closest(path.stem, shipped()) or f' (captioner {other})'}"
