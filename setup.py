"""What setup.cfg cannot express: a README for package indexes, and builds without stale files."""

import re
import tempfile
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent

config = ConfigParser()
config.read(ROOT / "setup.cfg")
repository = config["metadata"]["url"]
readme = (ROOT / "README.md").read_text(encoding="utf-8")
# setuptools copies everything that an earlier build left in `build` into the wheel
with tempfile.TemporaryDirectory() as folder:
    setup(
        # relative links do not work on a package index
        long_description=re.sub(r"\]\((?![\w.+-]+:|#)", f"]({repository}/blob/main/", readme),
        long_description_content_type="text/markdown",
        options={"build": {"build_base": folder}},
    )
