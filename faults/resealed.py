"""Malicious or damaged files with a matching digest: a seal is a checksum, not a signature."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captioner.data.prepared import SEAL as DATA_SET
from captioner.storage.sealed import SEAL as CHECKPOINT
from captioner.storage.sealed import SIZE, Seal
from faults import hostile, inconsistent, materials, watch
from faults.damage import mutated
from faults.hostile import Change
from faults.sealed import READERS
from faults.session import Row, Session, row
from faults.watch import Outcome, classify

SEALS: Mapping[str, Seal] = {"checkpoint": CHECKPOINT, "data set": DATA_SET}
CHANGES: Mapping[str, Mapping[str, tuple[Change, bool]]] = {
    "checkpoint": {
        **{name: (change, False) for name, change in {**hostile.ANY, **inconsistent.CHECKPOINT}.items()},
        **{f"floats: {name}": (change, True) for name, change in hostile.CHECKPOINT_FLOATS.items()},
    },
    "data set": {
        **{name: (change, False) for name, change in {**hostile.ANY, **inconsistent.DATA_SET}.items()},
        **{f"floats: {name}": (change, True) for name, change in hostile.FLOATS.items()},
    },
}
"""Changes by kind of file and name, and whether a change applies to float arrays only."""
VICTIM = b"\x00\x00\x80\x3f" * 65_536
"""Valid floats, so that a reader of the victim gets numbers."""
PLACES: Mapping[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a full device": lambda path: path.symlink_to("/dev/full"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "an empty file": Path.touch,
}
"""Special files to create at the path instead of a regular file."""


def sealed(image: bytes, seal: Seal) -> bytes:
    return seal.of(len(image), hashlib.sha256(image).hexdigest()) + image


@dataclass(frozen=True)
class Resealed:
    """Trial k makes one change to a file, reseals it and reads it; the victim must stay unchanged."""

    kind: str
    whole: Path
    content: str
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number))
        table: dict[str, tuple[Change, bool] | None] = {**CHANGES[self.kind], **dict.fromkeys(PLACES)}
        name = list(table)[number % len(table)]
        path = self.whole.with_name(f"hostile-{os.getpid()}.h5")
        victim = self.whole.with_name(f"victim-{os.getpid()}.bin")
        victim.write_bytes(VICTIM)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        chosen = table[name]
        if chosen is None:
            PLACES[name](path)
        else:
            change, floats = chosen
            whole = self.whole.read_bytes()
            # The seal is the HDF5 user block, so addresses in the image are relative to its end.
            image = hostile.apply(whole[SIZE:], change, rng, str(victim), floats)
            path.write_bytes(sealed(image, SEALS[self.kind]))
        read, content, error_type = READERS[self.kind]
        outcome = classify(lambda: read(path), lambda value: content(value) == self.content, error_type)
        if victim.read_bytes() != VICTIM:
            return Outcome("wrong", f"{name}: the victim was written")
        return outcome._replace(note=f"{name}: {outcome.note}")


@dataclass(frozen=True)
class Noise:
    """Trial k damages an HDF5 image, half of them in the older format, reseals it and reads it.

    Any content is accepted; a crash, hang or traceback is not.
    """

    kind: str
    whole: Path
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number, 1))
        path = self.whole.with_name(f"noise-{os.getpid()}.h5")
        image = self.whole.read_bytes()[SIZE:]
        path.write_bytes(sealed(mutated(hostile.older(image) if number % 4 > 1 else image, rng), SEALS[self.kind]))
        read, content, error_type = READERS[self.kind]
        return classify(lambda: read(path), lambda value: bool(content(value)), error_type)


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("resealed")
    files = {
        "checkpoint": materials.make_run(folder / "run") / "last.h5",
        "data set": materials.make_prepared(folder / "set.h5"),
    }
    for kind, whole in files.items():
        read, content, _ = READERS[kind]
        trial = Resealed(kind, whole, content(read(whole)), session.seed)
        most = max(session.count(2_500), len(CHANGES[kind]) + len(PLACES))
        yield row(f"hostile {kind}s with a matching digest", "refused with a one-line error", watch.run(trial, most))
        noise = Noise(kind, whole, session.seed)
        yield row(
            f"{kind}s damaged, with a matching digest",
            "no crash, hang or traceback",
            watch.run(noise, session.count(2_500)),
        )
