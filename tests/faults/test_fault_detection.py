"""The fault suite detects crashes, hangs, disabled safeguards and wrong files."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import ConfigError, DataError
from captioner.storage import hdf5 as h5
from faults import constructed, disks, materials, photographs, sealed, texts, uploads, users, watch
from faults.models import run_endless
from faults.photographs import TOO_MANY_PIXELS, Photograph, write_flat
from faults.session import ROOT, Session
from faults.watch import ESCAPED, Outcome, classify


@dataclass(frozen=True)
class Bad:
    """A trial whose outcome depends on its number."""

    def __call__(self, number: int) -> Outcome:
        match number:
            case 1:
                os._exit(3)
            case 3:
                time.sleep(600)
            case 4:
                raise RuntimeError("a bug in the suite")
            case 5:
                return Outcome("refused", str(bytearray(600 << 20)[:1]))
        return Outcome("refused")


def test_crashes_hangs_and_high_memory_are_counted_and_other_trials_run() -> None:
    tally = watch.run(Bad(), 8, workers=2, patience=6.0)
    assert tally.counts == {"crashed": 1, "hung": 1, "traceback": 1, "greedy": 1, "refused": 4}
    assert tally.escaped == 4
    assert len(tally.notes) == 4


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def with_invalid_message(error: Exception) -> Exception:
    """Give the error a two-line message, which captioner never produces."""
    error.args = ("a: two\nlines",)
    return error


def test_a_decoder_that_raises_other_errors_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "decoded", lambda *_: raising(ValueError("of a decoder"))())
    assert photographs.decode_damaged(("PNG",), 0, 1).kind == "traceback"


ATTEMPTS = {
    "refused": raising(DataError("a: one line")),
    "messy": raising(with_invalid_message(DataError())),
    "traceback": raising(ValueError("of a library")),
    "silent": lambda: "changed",
    "harmless": lambda: "same",
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_outcome_is_classified(kind: str) -> None:
    assert classify(ATTEMPTS[kind], lambda value: value == "same", DataError).kind == kind


def test_unexpected_error_type_is_a_traceback() -> None:
    assert classify(ATTEMPTS["refused"], lambda value: True, ConfigError).kind == "traceback"


def test_disabled_seal_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = session.folder("files")
    whole, other = (materials.make_prepared(folder / f"{seed}.h5", seed) for seed in (0, 1))
    read, content, _ = sealed.READERS["data set"]
    trial = partial(sealed.read_damaged, "data set", whole, (other,), content(read(whole)), 0)
    monkeypatch.setattr("captioner.storage.sealed.Seal.raise_damaged", lambda seal, path: None)
    assert "silent" in {trial(number).kind for number in range(60)}


def test_disabled_external_storage_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5, "_check_storage", lambda plan, where: h5.h5d.CHUNKED + 1)
    monkeypatch.setattr(h5, "_check_whole", lambda *_: None)
    assert users.read_hostile(session.scratch, 0, list(users.CHANGES).index("external storage")).kind == "silent"


def test_misread_yaml_integer_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.config.values.INTEGER", texts.re.compile(r"[-+]?[0-9]+"))
    assert texts.attempt(b"seed: 017", tmp_path / "a.yaml").kind == "silent"


NO_LOCK_CHECK = """
from captioner.training.run_folder import FolderLock
FolderLock.check_not_moved = lambda *_: None
from captioner.cli import main
main()
"""


def test_disabled_folder_lock_check_is_detected(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", disks.SECOND_STEPS, (*disks.OPTIONS, disks.SECOND))
    every = disks.SAVE_EVERY[-1]
    outcome = disks.replaced("moved", tmp_path / "run", expected, every, np.random.default_rng(0), NO_LOCK_CHECK)
    assert outcome.kind in ESCAPED, outcome


def test_every_hostile_change_modifies_the_file(session: Session) -> None:
    folder = session.folder("files")
    files = {
        "checkpoint": materials.make_run(folder / "run") / "last.h5",
        "data set": materials.make_prepared(folder / "d.h5"),
    }
    for kind, whole in files.items():
        image = whole.read_bytes()[sealed.SIZE :]
        for name, (change, floats) in sealed.CHANGES[kind].items():
            made = sealed.hostile.apply(image, change, np.random.default_rng(0), str(folder / "victim"), floats)
            assert made != image, name
        again = folder / "again.h5"
        same = sealed.hostile.apply(image, lambda target: None, np.random.default_rng(0), "")
        again.write_bytes(sealed.seal_payload(same, sealed.SEALS[kind]))
        read, content, _ = sealed.READERS[kind]
        assert content(read(again)) == content(read(whole)), "resealing without a change must preserve the content"


SCANS = len(TOO_MANY_PIXELS)
"""The number of the trial with too many scans."""


def test_a_jpeg_with_too_many_scans_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flat(tmp_path / "scans", 64, progressive=True)
    trial = Photograph(tmp_path, 0)
    assert trial(SCANS).kind == "refused"
    monkeypatch.setattr("captioner.images.structure.MAX_SCANS", 10**9)
    assert trial(SCANS).kind == "silent"


def test_a_photograph_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flat(tmp_path / "JPEG", 9500)
    assert Photograph(tmp_path, 0)(0).kind == "refused"
    write_flat(tmp_path / "JPEG", 64)
    assert Photograph(tmp_path, 0)(0).kind == "silent"


CONSTRUCTED: dict[str, tuple[Callable[[], bytes], str, Any, str]] = {
    "tile": (lambda: constructed.tiles(8, 12_000, 8), "structure.PART_PIXELS", 1 << 60, "greedy"),
    "avif that declares 64": (
        lambda: constructed.with_size(constructed.encoded(1000, "AVIF", speed=10), 64, 64),
        "structure.Structure.check_size",
        lambda *_: None,
        "silent",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_a_constructed_photograph_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, guard, disabled, kind = CONSTRUCTED[name]
    (tmp_path / "0").write_bytes(make())
    (tmp_path / "0.name").write_text(name)
    assert constructed.Constructed(tmp_path)(0).kind == "refused"
    monkeypatch.setattr(f"captioner.images.{guard}", disabled)
    monkeypatch.setattr(constructed, "REFUSED_SECONDS", 60.0)
    assert constructed.Constructed(tmp_path)(0).kind == kind


def test_a_slow_or_large_photograph_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").write_bytes(constructed.jpeg())
    (tmp_path / "0.name").write_text("jpeg")
    assert constructed.Constructed(tmp_path)(0).kind == "harmless"
    monkeypatch.setattr(constructed, "SECONDS", -1.0)
    assert constructed.Constructed(tmp_path)(0).kind == "hung"


@pytest.mark.parametrize("number", [1, 2])
def test_an_endless_model_is_stopped(number: int) -> None:
    assert run_endless(number).kind == "refused"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"caption": "a"}', "captioned"),
        (200, b'{"error": "a"}', "wrong"),
        (422, b'{"error": "a"}', "refused"),
        (500, b'{"error": "a"}', "wrong"),
        (422, b'{"error": "Traceback"}', "messy"),
        (422, f'{{"error": "{ROOT}/captioner"}}'.encode(), "messy"),
        (422, b'{"error": "object at 0x7f0011223344"}', "messy"),
    ],
)
def test_answers_are_judged(status: int, body: bytes, kind: str) -> None:
    assert uploads.judge(status, body).kind == kind


def test_a_server_that_refuses_good_photographs_is_noticed() -> None:
    assert [uploads.judge(status, b'{"error": "a"}', uploads.BUSY).kind for status in (503, 422)] == [
        "refused",
        "wrong",
    ]
    assert uploads.check_captioned(watch.Tally(Counter(refused=3))).escaped == 1
    assert uploads.check_captioned(watch.Tally(Counter(refused=3, captioned=1))).escaped == 0


def test_slow_clients_that_are_not_disconnected_are_noticed(photo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SECONDS", 4.0)
    with uploads.served(photo_run, receive_seconds=600, idle_seconds=600, connections=3) as (_, attack):
        others, slow = uploads.hold(attack, 4, 2)
    assert (others.counts, slow.counts) == ({"refused": 2}, {"hung": 4})


def test_requests_without_an_answer_are_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        attack = uploads.Attack(server.getsockname()[1], {}, 0)
        closing = pool.submit(lambda: [server.accept()[0].close() for _ in range(3)])
        assert uploads.outcome_of(lambda: attack.send(b"x")).kind == "wrong"
        assert uploads.outcome_of(lambda: attack.send_raw(b"GET / HTTP/1.1\r\n\r\n")).kind == "wrong"
        assert attack(list(uploads.ATTACKS).index("random bytes")).kind == "wrong"
        closing.result()
