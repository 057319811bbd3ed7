"""captioner gradcheck: checks of the gradients of every layer, and grades of the functions of students."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.gradcheck import check_layers
from captioner.cli.shared_options import PATH, config_options, examples
from captioner.config.overrides import Values
from captioner.errors import UsageError

if TYPE_CHECKING:
    from captioner.teaching.grading import Grade, Limits

LEAST_MEMORY = 160
"""The least MB of address space: with less, products of OpenBLAS, which has one thread, end the process."""


@click.command(
    epilog=examples(
        "gradcheck",
        "gradcheck -c scenes-rnn -o model.dropout_hidden=0.5 --full",
        "gradcheck --file student.py",
        "gradcheck --require rnn_step,lstm_step_backward=3 --json grades.jsonl submissions/*/cell.py",
    )
)
@config_options
@click.option("--full", is_flag=True, help="Compare every element instead of one random direction.")
@click.option(
    "--file", "functions", type=PATH, metavar="FILE", help="Check the functions in a Python file or notebook."
)
@click.argument("submissions", nargs=-1, type=PATH, metavar="[FILE]...")
@click.option(
    "--require",
    multiple=True,
    metavar="NAME[=POINTS],...",
    help="Functions that each FILE must contain, and the points for each (default: 1). The name of a pair, such as "
    "rnn_step, means both functions.",
)
@click.option("--json", "json_file", type=PATH, metavar="OUT", help="Write one JSON object per FILE to OUT.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    metavar="SECONDS",
    help="Time limit for loading a FILE and for checking each function (default: 5).",
)
@click.option(
    "--memory",
    type=click.IntRange(LEAST_MEMORY, 1 << 20),
    metavar="MB",
    help="Address space for the process of a FILE (default: 4096).",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Number of FILEs that are graded at a time (default: 1)."
)
@click.option(
    "--cases", "cases_file", type=PATH, metavar="PY", help="Python file with SIGNATURES and reference functions to add."
)
def gradcheck(
    config_file: Path | None,
    overrides: Values,
    full: bool,
    functions: Path | None,
    submissions: tuple[Path, ...],
    require: tuple[str, ...],
    json_file: Path | None,
    timeout: float | None,
    memory: int | None,
    jobs: int | None,
    cases_file: Path | None,
) -> int:
    """Check the gradients of every layer and of the configured model.

    Each analytic gradient is compared with central differences along a random direction, in float64. If they differ,
    or with --full, every element is compared. Inner layers are checked before layers built from them; the check stops
    at the first wrong gradient. Errors of a stacked parameter are printed by gate (or for queries Q, keys K and
    values V), relative to the largest element of the whole gradient. The layers and the model are scaled down. The exit
    code is 1 if a gradient is wrong.

    A gradient check does not find an error of both passes, such as two gates that are swapped in both.

    --file FILE, or several FILEs, check functions with the names and signatures of CS231n (`captioner.cs231n`), such as
    rnn_step_forward and rnn_step_backward: the values of forward functions against captioner's, and gradients against
    central differences. The exit code is 0 if all required functions pass; without --require, if both functions of
    every pair in each FILE do. OUT has the form that Gradescope reads. Of a notebook, only what these functions need is
    executed: the statements that define the names which they read.

    The code of a FILE runs in a child process. A submission cannot change its verdict by what it prints, raises,
    replaces or answers; it is not a sandbox: the code has your rights, and could change or delete files. Read it first
    if it is not yours. A PY file is executed by captioner itself.
    """
    paths = [*([functions] if functions else []), *submissions]
    if paths:
        if config_file or overrides or full:
            raise UsageError("gradcheck: -c, -o and --full have no effect with FILE; leave them out")
        if timeout is not None and not math.isfinite(timeout):
            raise UsageError(f"gradcheck: --timeout: expected a number of seconds, got {timeout}")
        from captioner.teaching.grading import MEMORY, TIMEOUT, Limits

        limits = Limits(timeout or TIMEOUT, memory or MEMORY)
        return _grade(paths, require, json_file, limits, jobs or 1, cases_file)
    if require or json_file or cases_file or timeout or memory or jobs:
        options = "--require, --json, --timeout, --memory, --jobs and --cases"
        raise UsageError(f"gradcheck: {options} need a FILE with functions to check")
    return check_layers(config_file, overrides, full)


def _grade(
    paths: list[Path], require: tuple[str, ...], json_file: Path | None, limits: Limits, jobs: int, cases: Path | None
) -> int:
    """Check the functions in Python files, print a line for each function or each file, and write the JSON file."""
    from captioner import cs231n
    from captioner.files.atomic import write_file
    from captioner.files.user_files import check_output, to_json
    from captioner.teaching.function_checks import Exercises
    from captioner.teaching.grading import grade_files, load_cases, read_points

    exercises = load_cases(cases, Exercises(vars(cs231n)))
    points = read_points(",".join(require), exercises) if require else {}
    if json_file:
        ends = [".jsonl"] if len(paths) > 1 else [".json", ".jsonl"]
        if json_file.suffix not in ends:  # such as a submission, if the name is forgotten
            raise UsageError(f"gradcheck: --json: expected a name that ends in {' or '.join(ends)}, got {json_file}")
        check_output(json_file, overwrite=True)
    lines, passed, width = list[str](), 0, max(len(str(path)) for path in paths)
    with output.progress(len(paths), "file") as bar:
        for grade in grade_files(paths, exercises, points, limits, jobs):
            lines.append(to_json(grade.record()) + "\n")
            if json_file:  # after each file: an interrupt loses no grade
                write_file(json_file, "".join(lines).encode())
            passed += not grade.problem and not grade.failed()
            with output.above_progress(), output.ignoring_a_closed_pipe():
                if len(paths) == 1:
                    _print_functions(grade)
                else:
                    _print_row(grade, width)
                output.flush()
            bar.update()
    if len(paths) > 1:
        output.result(f"{'PASS' if passed == len(paths) else 'FAIL'}: {passed} of {len(paths)} files pass")
    return int(passed < len(paths))


def _print_functions(grade: Grade) -> None:
    """Print a line per function to stdout, and to stderr what the file printed and why it cannot be checked."""
    output.note(*grade.printed.splitlines())
    if grade.problem:
        output.problem(grade.problem)
    failed = grade.failed()
    for name in grade.points:
        output.result(grade.results[name].line())
    if failed:
        output.result(f"FAIL: {len(failed)} of {len(grade.points)} functions: {', '.join(failed)}")
    elif not grade.problem:
        output.result(f"PASS: {len(grade.points)} functions")
    if {*grade.points.values()} - {1}:
        output.result(f"{sum(grade.scores().values()):g} of {sum(grade.points.values()):g} points")


def _print_row(grade: Grade, width: int) -> None:
    """Print the points of a file, and the functions that fail or what prevents all of them."""
    points = f"{sum(grade.scores().values()):g}/{sum(grade.points.values()):g}"
    problem = grade.problem.removeprefix(f"{grade.path}: ") or ", ".join(grade.failed())
    output.result(f"{grade.path!s:<{width}} {points:<9} {f'FAIL  {problem}' if problem else 'PASS'}")
