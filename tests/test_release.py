"""The files around a release agree with each other: version, date and workflows."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import captioner

ROOT = Path(__file__).parents[1]
RELEASE, DEVELOPMENT, _ = captioner.__version__.partition(".dev0")
CHECKS = (".ci/run", "make smoke newcomer", ".ci/another-user", "make build")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_changelog_starts_with_one_page_about_the_version() -> None:
    _, title, page, *_ = re.split(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    version, date = title.split(" - ")
    assert version == RELEASE
    assert re.fullmatch("unreleased" if DEVELOPMENT else r"\d{4}-\d\d-\d\d", date)
    assert 100 < len(page.split()) <= 600


def test_the_citation_has_the_version_and_no_date() -> None:
    citation = read("CITATION.cff")
    assert (citation["version"], "date-released" in citation) == (RELEASE, False)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_existing_test_files(path: Path) -> None:
    for name in re.findall(r"\btests/[\w/]+\.py\b", path.read_text()):
        assert (ROOT / name).is_file(), name


def test_a_tag_is_published_after_the_steps_of_the_page() -> None:
    """docs/releasing.md."""
    build, publish = read(".github/workflows/release.yml")["jobs"].values()
    page, steps = (ROOT / "docs" / "releasing.md").read_text(), " ".join(str(step) for step in build["steps"])
    assert all(command in steps and f"`{command}`" in page for command in CHECKS)
    assert f"`v{RELEASE}`" in page
    assert publish["needs"] == "build"


def test_only_the_publishing_job_gets_a_token() -> None:
    workflow = read(".github/workflows/release.yml")
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})}
    assert granted == {"publish"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
