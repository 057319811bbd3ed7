"""The smoke tests pass with exactly the lowest declared versions of the libraries."""

import configparser
import json
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from archives import ROOT, Archives, run, user_environment
from packaging.requirements import Requirement
from packaging.version import Version

VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""
PYTHONS = sorted({"3.11", "3.13", ".".join(platform.python_version_tuple()[:2])})


def declared() -> list[Requirement]:
    """Parse the libraries of the core and of the extras for photographs and pages in setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = "\n".join(parser["options.extras_require"][name] for name in ("images", "report", "web"))
    lines = f"{parser['options']['install_requires']}\n{extras}".splitlines()
    return [Requirement(line) for line in dict.fromkeys(lines) if line]


def lowest_versions(requirements: Iterable[Requirement], python: str) -> dict[str, str]:
    """Return the lowest versions that requirements allow for a version of Python, such as 3.13."""
    lowest: dict[str, str] = {}
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            for specifier in requirement.specifier:
                if specifier.operator == ">=":
                    lowest[requirement.name] = max(lowest.get(requirement.name, "0"), specifier.version, key=Version)
    return lowest


@pytest.mark.environments
@pytest.mark.parametrize("python", PYTHONS)
def test_smoke_tests_pass_with_the_lowest_versions(
    python: str, archives: Archives, uv: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        interpreter = uv("python", "find", "--no-project", python).strip()
    except AssertionError:
        pytest.skip(f"Python {python} is not installed")
    environment = tmp_path / "environment"
    uv("venv", "--python", interpreter, environment)
    install = ("pip", "install", "--python", environment / "bin" / "python", "--only-binary", ":all:")
    requirements = declared()
    uv(*install, "--resolution", "lowest-direct", archives.wheel, *requirements)
    uv(*install, "pytest", "hypothesis", "onnx")
    lowest = lowest_versions(requirements, python)
    executable = environment / "bin" / "python"
    installed = json.loads(run(executable, "-c", VERSIONS, *lowest))
    with capsys.disabled():
        print(f"\nPython {python}:", ", ".join(f"{name} {version}" for name, version in installed.items()))
    assert lowest.keys() >= {"numpy", "click", "pillow", "jinja2", "starlette"}
    assert {name: Version(got) for name, got in installed.items()} == {n: Version(v) for n, v in lowest.items()}
    report = run(
        executable, "-m", "pytest", "-m", "smoke", "-p", "no:cacheprovider",
        cwd=ROOT, env={**user_environment(), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    with capsys.disabled():
        print(report.strip().splitlines()[-1])
