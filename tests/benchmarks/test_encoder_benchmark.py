"""The benchmark of image encoders, at small sizes."""

import re

from click.testing import CliRunner

from benchmarks import encoders


def test_every_recipe_is_timed() -> None:
    options = ["--repeats", "1", "--patience", "0", "scenes", "scenes+scenes"]
    done = CliRunner().invoke(encoders.main, options, catch_exceptions=False)
    rows = [line.split(" | ") for line in done.output.splitlines() if line.startswith("| `")]
    assert [row[:2] for row in rows] == [["| `scenes`", "231"], ["| `scenes+scenes`", "462"]]
    assert all(re.fullmatch(r"\d+\.\d", row[2]) for row in rows)
