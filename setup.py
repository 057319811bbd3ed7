"""What setup.cfg cannot express: data in the package, a README without links to files, builds without stale files."""

import re
import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithData(build_py):
    """Copy `configs` and `models` into the package; a checkout and an editable install use the folders themselves."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for folder in ("configs", "models"):
                target = Path(self.build_lib, "captioner", folder)
                shutil.copytree(ROOT / folder, target, ignore=shutil.ignore_patterns("*.py", "*.md"))


readme = (ROOT / "README.md").read_text(encoding="utf-8")
# setuptools copies everything that an earlier build left in `build` into the wheel
with tempfile.TemporaryDirectory() as folder:
    setup(
        # links to files do not work outside of the folder: only their texts are kept
        long_description=re.sub(r"!?\[([^][]*)\]\((?![\w.+-]+:|#)[^)]*\)", r"\1", readme),
        long_description_content_type="text/markdown",
        cmdclass={"build_py": BuildWithData},
        options={"build": {"build_base": folder}},
    )
