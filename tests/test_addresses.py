"""Addresses in the files of the project: each host is known, and none claims that captioner is published."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = {
    "127.0.0.1": "this machine",
    "example.com": "reserved for examples",
    "a.b": "recorded with the reference tokenizer",
    "creativecommons.org": "licenses of photographs; a namespace of SVG",
    "matplotlib.org": "the program that draws docs/results.svg",
    "ns.adobe.com": "a namespace of XMP",
    "purl.org": "namespaces of XMP and SVG",
    "www.digikam.org": "a namespace of XMP",
    "www.w3.org": "namespaces of XMP and SVG",
    "arxiv.org": "a paper whose scores are cited",
    "github.com/sulabhkatiyar": "models whose scores are cited",
    "flic.kr": "a source of a photograph",
    "vision.middlebury.edu": "a source of a photograph",
    "www.flickr.com": "sources of photographs",
    "docs.darktable.org": "what a photo manager reads",
    "docs.digikam.org": "what a photo manager reads",
    "docs.immich.app": "what a photo manager reads",
    "docs.photoprism.app": "what a photo manager reads",
    "github.com/photoprism": "what a photo manager reads",
    "help.adobe.com": "what a photo manager reads",
    "exiftool.org": "a program that docs/caption-photos.md uses",
    "www.gnu.org": "a program that docs/cluster.md uses",
}
"""Hosts, on shared ones with the owner, and why they are named. captioner has no repository or page on an index yet."""
UNTRACKED = {"build", "dist", "runs", "captioner.egg-info", "PKG-INFO", "__pycache__"}


def texts() -> Iterator[tuple[Path, str]]:
    """Yield the text files that git tracks or, in the source archive, all of its files."""
    if (ROOT / ".git").exists():
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = map(Path, tracked.split("\0"))
    else:
        paths = walk()
    for path in paths:
        try:
            if (ROOT / path).is_file():
                yield path, (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue


def walk() -> Iterator[Path]:
    for file in ROOT.rglob("*"):
        path = file.relative_to(ROOT)
        hidden = path.parts[0].startswith(".") and path.parts[0] not in (".github", ".ci")
        if not hidden and UNTRACKED.isdisjoint(path.parts):
            yield path


def test_every_address_has_a_known_host() -> None:
    found, unknown = set(), []
    for path, text in texts():
        for address in re.findall(r"https?://((?:[\w-]+\.)+[\w-]+(?:/[\w-]+)?)", text):
            names = {address, address.partition("/")[0]} & KNOWN.keys()
            found |= names
            unknown += [] if names else [(str(path), address)]
    assert unknown == []
    assert found == KNOWN.keys()


def test_no_file_installs_captioner_from_an_index() -> None:
    command = re.compile(r"(?:pipx?3?|uv tool) install (?!.*--no-index)[^\n]*(?<![\w./-])captioner\b(?![/.])")
    assert [str(path) for path, text in texts() if command.search(text)] == []
