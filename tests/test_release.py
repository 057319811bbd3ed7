"""The files around a release agree with each other: version, date, repository, formats, forms and workflows."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import captioner

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DATE = r"\d{4}-\d\d-\d\d"
GROUPS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def repository() -> str:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser["metadata"]["url"]


def test_the_changelog_starts_with_the_version_in_the_groups_of_keep_a_changelog() -> None:
    release, development, _ = captioner.__version__.partition(".dev0")
    first, *_ = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(release)} - {'unreleased' if development else DATE}", first)
    for section in re.split(r"^## .*$", CHANGELOG, flags=re.MULTILINE)[1:]:
        groups = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert groups == [group for group in GROUPS if group in groups]


def test_the_citation_is_that_of_the_last_release_and_every_link_has_the_same_address() -> None:
    citation = read("CITATION.cff")
    released, *_ = re.findall(rf"^## (\S+) - ({DATE})$", CHANGELOG, re.MULTILINE)
    assert (citation["version"], str(citation["date-released"])) == released
    assert citation["repository-code"] == repository()
    for path in ("CITATION.cff", ".github/ISSUE_TEMPLATE/config.yml"):
        assert set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", (ROOT / path).read_text())) == {repository()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_existing_targets_and_test_files(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in re.findall(r"\bmake ((?:[a-z]+ ?)+)$", path.read_text(), re.MULTILINE):
        assert set(words.split()) <= targets
    for name in re.findall(r"\btests/[\w/]+\.py\b", path.read_text()):
        assert (ROOT / name).is_file(), name


def test_only_the_publishing_job_gets_a_token() -> None:
    workflow = read(".github/workflows/release.yml")
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})}
    assert granted == {"publish"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
