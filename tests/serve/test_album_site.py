"""The requests to an album: lists, photographs, pictures, corrections, and who may send them."""

import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from PIL import Image
from serving import Answer, Served, served

from captioner.photos.album import ORDERS, SHOWN, Album

NAMES = [f"07{number}.png" for number in range(5)]


def send(site: Served, method: str, path: str, body: Any = None, **values: object) -> Answer:
    token = parse_qs(urlsplit(site.url).query)["token"][0]
    return site.request(method, f"/album/{path}?{urlencode({**values, 'token': token})}", body)


def ids(site: Served, **values: str) -> list[str]:
    found: list[str] = send(site, "GET", "list", **values).json["ids"]
    return found


def shown(site: Served, id: str) -> dict[str, Any]:
    (values,) = send(site, "GET", "photographs", ids=id).json
    assert values["id"] == id
    return dict(values)


def correct(site: Served, id: str, caption: str, keywords: object = (), revision: str = "") -> Answer:
    body, now = json.dumps({"caption": caption, "keywords": keywords}), revision or shown(site, id)["revision"]
    return send(site, "PUT", f"correction/{id}", body, revision=now)


def test_the_album_is_listed_corrected_and_searched(site: Served, album_file: Path) -> None:
    first, *others = ids(site)
    assert [Path(shown(site, id)["name"]).name for id in (first, *others)] == NAMES
    before = shown(site, first)
    changed = correct(site, first, " Anna  in\nBrunate ", "Velo; Karte").json
    assert changed == shown(site, first)
    assert (changed["caption"], changed["generated"]) == ("Anna in Brunate", before["caption"])
    assert [keyword["word"] for keyword in changed["keywords"]] == ["Velo", "Karte"]
    assert changed["by_person"] == "corrected"
    assert correct(site, first, "too late", revision=before["revision"]).problem == (
        409, "changed elsewhere meanwhile, to 'Anna in Brunate'"
    )  # fmt: skip
    with Album(album_file) as album:  # of another process
        assert [entry.caption.text for entry in album.find(first)] == ["Anna in Brunate"]
        album.correct(others[0], ("seen there", []), "elsewhere")
    assert shown(site, others[0])["caption"] == "seen there"
    assert send(site, "GET", "list", query="brunate").json == {"ids": [first], "clear": 1, "unknown": []}
    assert send(site, "GET", "list", query="zebra").json == {"ids": [], "clear": 0, "unknown": ["zebra"]}
    assert {*ids(site, show="corrected")} == {first, others[0]}
    assert {*ids(site, show="corrected", order="descending", query="brunate seen")} == {first, others[0]}
    assert [{*ids(site, order="ascending")} for _ in ORDERS] == [{first, *others}] * 3
    assert {*ids(site, order="ascending")[-2:]} == {*ids(site, order="descending")[:2]} == {first, others[0]}
    assert {*ids(site, show="marked")} | {*ids(site, show="unmarked")} == {first, *others}
    back = send(site, "DELETE", f"correction/{first}", revision=changed["revision"]).json
    assert back == before | {"revision": back["revision"]}
    assert int(back["revision"]) > int(changed["revision"])
    confirmed = correct(
        site, first, before["caption"], [keyword["word"] for keyword in before.get("keywords", [])]
    ).json
    assert (confirmed["by_person"], confirmed["caption"]) == ("confirmed", before["caption"])
    assert first in ids(site, show="corrected")


def test_copies_are_one_photograph(site: Served, cli: Callable[..., Any], photo_run: Path) -> None:
    shutil.copy("new/070.png", "new/075.png")
    cli("caption", "new", "--model", photo_run, "--album", "a.db")
    assert len(ids(site)) == 5
    assert shown(site, ids(site)[0])["copies"] == 1


def test_pictures_are_made_once(site: Served, album_file: Path) -> None:
    id, other, gone, *_ = ids(site)
    answer = send(site, "GET", f"thumbnail/{id}")
    thumbnail = album_file.with_name("a.db-thumbnails") / f"{id}.jpg"
    assert thumbnail.read_bytes() == answer.body
    assert (thumbnail.parent.stat().st_mode & 0o777, [*thumbnail.parent.iterdir()]) == (0o700, [thumbnail])
    with Image.open(BytesIO(answer.body)) as small, Image.open("new/070.png") as photo:
        assert (small.format, small.size) == ("JPEG", photo.size)
    thumbnail.write_bytes(b"kept")
    assert send(site, "GET", f"thumbnail/{id}").body == b"kept"
    assert send(site, "GET", f"photograph/{id}").body == answer.body
    shutil.copy("new/070.png", "new/071.png")
    Path("new/072.png").unlink()
    foreign = site.request("PUT", f"/album/correction/{id}?{site.url.partition('?')[2]}", "{}", {"Origin": "http://x"})
    assert foreign.problem == (403, "requests of other web sites are not accepted")
    for each, message in (other, "has changed since it was captioned; caption it again"), (gone, "072.png: not found"):
        for kind in "thumbnail", "photograph":
            status, problem = send(site, "GET", f"{kind}/{each}").problem
            assert (status, message in problem) == (404, True)
    thumbnail.parent.rename("elsewhere")
    thumbnail.parent.touch()  # no folder can be made there
    assert send(site, "GET", f"thumbnail/{id}").body == answer.body


PATHS = {"list": "GET", "photographs": "GET", "thumbnail/{}": "GET", "photograph/{}": "GET", "correction/{}": "PUT"}


def test_without_the_token_nothing_is_told_or_changed(site: Served) -> None:
    id = ids(site)[0]
    page = site.request("GET", "/")
    assert b"The album is at the address that captioner serve printed." in page.body
    token = parse_qs(urlsplit(site.url).query)["token"][0]
    assert token.encode() not in page.body
    assert token.encode() in site.request("GET", f"/?token={token}").body
    for path, method in (*PATHS.items(), ("correction/{}", "DELETE")):
        for query in ("", "?token=", f"?token={token[:-1]}", "?token=é"):
            answer = site.request(method, f"/album/{path.format(id)}{query}".replace("é", "%C3%A9"), "{}")
            assert answer.problem == (403, "open the address that captioner serve printed")
    assert not shown(site, id).get("corrected")


def test_requests_that_are_no_corrections_are_refused(site: Served) -> None:
    id = ids(site)[0]
    expected = 400, "expected a JSON object with caption and keywords, got something else"
    surrogate = r'{"caption": "\ud83d", "keywords": []}'
    for body in (
        b"",
        b"[]",
        b'{"caption": 1, "keywords": []}',
        b'{"caption": "a", "keywords": 5}',
        b"\xff",
        b"[" * 60_000,
        surrogate,
    ):
        assert send(site, "PUT", f"correction/{id}", body, revision=0).problem == expected
    assert correct(site, id, " ").problem == (400, "expected a caption, got none; Escape restores it")
    assert correct(site, id, "a" * 30_000).problem[0] == 400
    for wrong in ("p00", f"p{'0' * 32}", "..", "%2e%2e%2fa.db", "p" * 300, "%00"):
        assert send(site, "PUT", f"correction/{wrong}", '{"caption": "a", "keywords": []}', revision=0).status == 404
        assert send(site, "GET", f"thumbnail/{wrong}").status == 404
        assert send(site, "GET", "photographs", ids=f"{wrong},{id}").json == [shown(site, id)]
    for name, known in ("show", SHOWN), ("order", ORDERS):
        message = f"{name}: expected {', '.join(known)}, got 'path; DROP'"
        assert send(site, "GET", "list", **{name: "path; DROP"}).problem == (400, message)
    assert send(site, "GET", "list", query="a " * 99).status == 200
    assert not shown(site, id).get("corrected")


def test_an_album_that_another_process_writes(album_file: Path, photo_run: Path) -> None:
    code = "from captioner.photos import album; album.BUSY = 0.1; from captioner.cli import main; main()"
    with served(photo_run, "--album", album_file, code=code) as site, Album(album_file) as other, other.transaction():
        status, problem = correct(site, ids(site)[0], "a dog").problem
        locked = f"{album_file}: cannot be read or written: database is locked; another process writes it; try again"
        assert (status, problem) == (503, locked)


def test_an_album_of_the_user_needs_no_option(album_file: Path, photo_run: Path, cli: Callable[..., Any]) -> None:
    with served(photo_run, env={**os.environ, "CAPTIONER_ALBUM": str(album_file)}) as site:
        assert len(ids(site)) == 5
    with served(photo_run, "--album", "none") as site:
        assert site.url.endswith("/")
        assert site.request("GET", "/album/list").status == 404
    cli("serve", photo_run, "--port", 0, "--album", "missing.db").failed(2, "missing.db: no album; ")


def test_deleting_an_album_deletes_its_thumbnails(site: Served, album_file: Path, cli: Callable[..., Any]) -> None:
    send(site, "GET", f"thumbnail/{ids(site)[0]}")
    assert cli("album", "--album", album_file, "--delete", "--yes").code == 0
    assert [path.name for path in album_file.parent.iterdir() if path.name.startswith("a.db")] == []
