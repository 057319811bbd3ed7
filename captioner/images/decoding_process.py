"""Decode photographs of strangers in a child process with limits.

A small file can make a decoder work for minutes or ask for gigabytes, and native code in a thread cannot be
interrupted. A child that exceeds its limits ends, and the next photograph has a new one.

Both pipes have pairs of frames, a JSON object and bytes, each behind its length: the name of a photograph and its file;
then the size of the decoded image and its pixels, or an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from threading import Lock
from typing import IO, Any

from PIL import Image

from captioner.errors import CaptionerError, DataError
from captioner.images.photo import decode_photo

MEMORY = 2 << 30
"""Bytes of the address space of the child; a PNG with the maximum number of pixels needs most of it."""
SECONDS = 10.0
_START = "import sys; sys.path[:] = {path!r}; from captioner.images.decoding_process import main; main()"
_LENGTH = struct.Struct(">Q")


class DecodingProcess:
    """A child process that decodes one photograph at a time, of any thread.

    Raises: CaptionerError if it cannot start.
    """

    def __init__(self, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self._memory, self._seconds, self._turn = memory, seconds, Lock()
        self._child = self._start()

    def decode(self, content: bytes, name: str, min_side: int) -> Image.Image:
        """Decode a photograph, as `decode_photo`. Raises: DataError, also for a photograph that exceeds the limits."""
        with self._turn:
            if self._child.poll() is not None:
                self.close()
                self._child = self._start()
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            try:
                _write(self._child.stdin, {"name": name, "min_side": min_side}, content)
                answer, pixels = _read(self._child.stdout)
            except (EOFError, OSError):
                self.close()
                reason = f"the decoder ended (exit code {self._child.returncode}); try again"
                if self._child.returncode == -signal.SIGALRM:
                    reason = f"takes more than {self._seconds:g} s to decode; make it smaller"
                raise DataError(f"{name}: {reason}") from None
        if "error" in answer:
            raise DataError(answer["error"])
        return Image.frombytes("RGB", tuple(answer["size"]), pixels)

    def close(self) -> None:
        """End the child; a photograph that it decodes is an error."""
        with contextlib.suppress(OSError), self._child:  # of what was not sent
            self._child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # with the paths of this process: the package may be in a folder that it was started in
        code = _START.format(path=sys.path)
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(self._memory), str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread would have memory of its own
            start_new_session=True,  # Ctrl-C is for the parent
        )
        assert child.stdout is not None
        try:
            _read(child.stdout)
        except EOFError:
            child.communicate()
            raise CaptionerError(f"the decoder of photographs cannot start (exit code {child.returncode})") from None
        return child


def main() -> None:
    """Decode photographs from stdin until it is closed."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    for output in (1, 2):  # libraries may print; what prevents the start was seen
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent that ignores it hands that down
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    _write(answers, {}, b"")  # it has started
    with contextlib.suppress(EOFError):
        while True:
            request, content = _read(requests)
            _write(answers, *_answer(content, seconds, **request))


def _answer(content: bytes, seconds: float, name: str, min_side: int) -> tuple[dict[str, Any], bytes]:
    signal.setitimer(signal.ITIMER_REAL, seconds)  # its default action ends the process, also in native code
    try:
        photo = decode_photo(content, name, min_side)
        return {"size": photo.size}, photo.tobytes()
    except (DataError, MemoryError) as error:
        return {"error": str(error) or f"{name}: not enough memory to read this photograph"}, b""
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _write(pipe: IO[bytes], head: Mapping[str, Any], content: bytes) -> None:
    for frame in (json.dumps(head).encode(), content):
        pipe.write(_LENGTH.pack(len(frame)))
        pipe.write(frame)
    pipe.flush()


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    head, content = (_read_exactly(pipe, *_LENGTH.unpack(_read_exactly(pipe, _LENGTH.size))) for _ in range(2))
    return json.loads(head), content


def _read_exactly(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content
