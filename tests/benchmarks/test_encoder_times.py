"""The times of image encoders are printed as a table."""

import re

from click.testing import CliRunner

from benchmarks.encoders import main


def test_every_recipe_is_timed() -> None:
    options = ["--repeats", "1", "--patience", "0"]
    done = CliRunner().invoke(main, [*options, "scenes", "scenes:mirror+scenes"], catch_exceptions=False)
    assert done.exit_code == 0
    rows = [line.split(" | ") for line in done.output.splitlines() if line.startswith("| `")]
    assert [row[:2] for row in rows] == [["| `scenes`", "231"], ["| `scenes:mirror+scenes`", "462"]]
    assert all(re.fullmatch(r"\d+\.\d", row[2]) for row in rows)
