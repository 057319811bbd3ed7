"""captioner serve: its address, its messages and its exit codes."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def started(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "captioner", "serve", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_server(number: int, code: int, photo_run: Path) -> None:
    with started(photo_run, "--port", 0) as process:
        assert process.stdout is not None
        url = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "Ctrl-C stops the server\n")
    assert url.startswith("http://127.0.0.1:")


@POSIX
def test_requests_that_run_are_finished_first(photo_run: Path) -> None:
    """The body arrives after the signal."""
    with started(photo_run, "--port", 0) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2].strip("/\n"))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nG")
            client.settimeout(60)
            with socket.create_connection(("127.0.0.1", port)) as other:  # so that the first request has begun
                other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                other.settimeout(60)
                assert other.recv(1000).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            client.sendall(b"IF")
            assert client.recv(1000).startswith(b"HTTP/1.1 422")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err


def test_a_port_that_is_taken(photo_run: Path, cli: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", photo_run, "--port", port)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"captioner: http://127.0.0.1:{port}/: port in use by another program; choose another with --port, "
        "or any free one with --port 0\n"
    )


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7", "a" * 80])
def test_a_host_that_is_none_of_this_machine(host: str, photo_run: Path, cli: Callable[..., Any]) -> None:
    done = cli("serve", photo_run, "--host", host, "--port", 0)
    assert done.code in (1, 2)
    assert done.err.startswith("captioner: ")
    assert done.err.endswith("try --host 127.0.0.1\n")


def test_an_unknown_run(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("serve", tmp_path / "nothing", "--port", 0)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"captioner: {tmp_path / 'nothing'}")
    assert len(done.err.splitlines()) == 1


def test_a_model_without_a_known_encoder(coco_run: Path, cli: Callable[..., Any]) -> None:
    cli("serve", coco_run, "--port", 0).failed(2, "which is not a known encoder; try --encoder")


def test_an_option_that_is_not_used(photo_run: Path, cli: Callable[..., Any]) -> None:
    cli("serve", photo_run, "-o", "train.epochs=3").failed(2, "has no effect on serve")


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "jinja2", "PIL"])
def test_a_missing_library(module: str, photo_run: Path, shell: Callable[..., Any]) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\nfrom captioner.cli import main\nmain()"
    done = shell("serve", photo_run, "--port", 0, code=code)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"captioner: needs {module}")
    assert " install " in line


def test_a_host_in_the_network_is_warned_of(photo_run: Path) -> None:
    with started(photo_run, "--host", "0.0.0.0", "--port", 0) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://0.0.0.0:")
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert err.splitlines()[0] == (
        "captioner: warning: --host 0.0.0.0: everyone who can reach this machine can use the server, unencrypted"
    )


def test_a_failure_of_the_model_is_reported_to_the_operator_alone(
    photo_run: Path, tmp_path: Path, album: Callable[..., Path]
) -> None:
    import http.client
    import json

    import numpy as np

    from captioner.storage import checkpoint

    run = Path(shutil.copytree(photo_run, tmp_path / "run"))
    saved = checkpoint.load(run / "best.h5")
    saved.params["b_vocab"][...] = np.float32(3e38)
    saved.params["W_vocab"][...] = np.float32(3e38)
    checkpoint.save(run / "best.h5", saved)
    album(tmp_path / "photos", 1)
    with started(run, "--port", 0) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2].strip("/\n"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/caption", (tmp_path / "photos" / "000.png").read_bytes())
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
        connection.close()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert answer.status == 500
    assert error.startswith("internal error while captioning this photograph")
    assert str(tmp_path) not in error
    assert f"captioner: {run / 'best.h5'}: expected finite log-probabilities" in err
    assert "Traceback" not in err
