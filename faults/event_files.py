"""Read TensorBoard's event files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def records(file: Path) -> Iterator[Event]:
    """Read the records of an event file (length, its checksum, content, its checksum) until a truncated one.

    Raises: ValueError for a wrong checksum.
    """
    content = memoryview(file.read_bytes())
    while len(content) >= 12:
        length, checksum = struct.unpack("<QI", content[:12])
        if checksum != masked_crc32c(bytes(content[:8])):
            raise ValueError(f"{file}: damaged")
        if len(content) < 16 + length:  # its writer was killed
            return
        yield Event.FromString(bytes(content[12 : 12 + length]))
        content = content[16 + length :]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars that TensorBoard shows: a session start discards the records of later steps before it."""
    shown: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((run / "tensorboard").iterdir()):
        for record in records(file):
            if record.session_log.status == SessionLog.START:
                shown = {tag: [row for row in rows if row[0] < record.step] for tag, rows in shown.items()}
            for value in record.summary.value:
                shown.setdefault(value.tag, []).append((record.step, value.simple_value))
    return shown
