"""A Captioner in other processes: forks, pools of every start method, and web servers that load the model first."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import h5py
import numpy as np
import pytest

import captioner
from captioner.storage import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
COUNT = 6
"""Photographs."""
SECONDS = 600
FORKS = 30


@pytest.fixture(scope="module")
def run(album: Callable[..., Path], small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two threads and random parameters on photographs in `photos` beside it, encoded by onnxruntime."""
    folder = tmp_path_factory.mktemp("processes")
    data = folder / "data.h5"
    captioner.prepare(
        album(folder / "photos", COUNT), data, encoder="efficientnet-lite0:size=64", val=0.25, min_count=1
    )
    overrides = (*small, "data.source=prepared", f"data.root={data}", "train.max_steps=1", "threads=2")
    captioner.train(None, folder / "run", overrides)
    best, rng = folder / "run" / "best.h5", np.random.default_rng(0)
    saved = checkpoint.load(best)
    for array in saved.params.values():
        array[...] = rng.standard_normal(array.shape)
    saved.params["b_vocab"][2] += 3  # <END>
    checkpoint.save(best, saved)
    return folder / "run"


@pytest.fixture(scope="module")
def photos(run: Path) -> list[str]:
    return sorted(map(str, (run.parent / "photos").glob("*.png")))


@pytest.fixture(scope="module")
def expected(run: Path, photos: list[str]) -> list[str]:
    """The captions in this process."""
    texts = [caption.text for caption in captioner.load(run).caption(photos)]
    assert len(set(texts)) > 1
    return texts


START = """
import contextlib, itertools, json, multiprocessing, os, signal, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor
import captioner

run, *photos = sys.argv[1:]

def text(photo):
    return model.caption(photo).text

def load():
    global model
    model = captioner.load(run)

def caption_in_child():
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        texts = []
        with contextlib.suppress(BaseException):
            texts = [caption.text for caption in model.caption(photos)]
        os._exit(0 if texts == expected else 1)
    return os.waitpid(child, 0)[1] == 0

def in_pool(method, work, initializer=None):
    with multiprocessing.get_context(method).Pool(2, initializer) as pool:
        return pool.map_async(work, photos, 3).get(300)

def in_executor(method, work, initializer=None):
    with ProcessPoolExecutor(2, multiprocessing.get_context(method), initializer) as pool:
        return list(pool.map(work, photos, timeout=300, chunksize=3))

def results(*values):
    print(json.dumps(values))

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a fork of a process with threads
"""


@pytest.fixture
def script(run: Path, photos: list[str], tmp_path: Path) -> Callable[[str], Any]:
    """Runs code after `START`, and returns its results; a hang is a failure."""

    def execute(code: str) -> Any:
        file = tmp_path / "script.py"
        file.write_text(START + "".join(f"    {line}\n" for line in code.splitlines()))
        done = subprocess.run([sys.executable, file, run, *photos], capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return execute


METHODS = ("fork", "forkserver", "spawn")


@pytest.mark.parametrize("method", METHODS)
def test_each_worker_loads_the_model(method: str, script: Callable[[str], Any], expected: list[str]) -> None:
    assert script(f"results(in_pool({method!r}, text, load), in_executor({method!r}, text, load))") == [expected] * 2


@pytest.mark.parametrize("method", METHODS)
def test_workers_receive_the_captioner(method: str, script: Callable[[str], Any], expected: list[str]) -> None:
    code = f"""
load()
text(photos[0])
captions = in_pool({method!r}, model.caption), in_executor({method!r}, model.caption)
results(*([caption.text for caption in part] for part in captions))"""
    assert script(code) == [expected] * 2


def test_forked_workers_inherit_a_captioner_that_was_used(script: Callable[[str], Any], expected: list[str]) -> None:
    code = "load()\ntext(photos[0])\nresults(in_pool('fork', text), in_executor('fork', text))"
    assert script(code) == [expected] * 2


def test_forks_while_other_threads_caption(script: Callable[[str], Any]) -> None:
    code = f"""
load()
expected = [caption.text for caption in model.caption(photos)]
running = True
def caption():
    while running:
        model.caption(photos)
threads = [threading.Thread(target=caption) for _ in range(2)]
for thread in threads:
    thread.start()
done = [caption_in_child() for _ in range({FORKS})]
running = False
for thread in threads:
    thread.join()
results(*done)"""
    assert script(code) == [True] * FORKS


def test_training_and_evaluation_in_a_child(script: Callable[[str], Any], run: Path) -> None:
    """After both in the parent."""
    folder = run.parent
    code = f"""
data = ["data.source=prepared", "data.root={folder / "data.h5"}", "model.hidden_dim=16"]
options = [*data, "train.max_steps=3", "threads=2"]
def works(name):
    model = captioner.train(None, "{folder}/" + name, options)
    return captioner.evaluate(model)["cider_d"]
before = works("parent")
pool = multiprocessing.get_context("fork").Pool(2)
scores = pool.map_async(works, ["a", "b"]).get(300)
same = open("{folder}/parent/last.h5", "rb").read() == open("{folder}/a/last.h5", "rb").read()
results(scores == [before] * 2, same, works("again") == before)"""
    assert script(code) == [True] * 3


@pytest.mark.parametrize("chunks", [None, (3, 8)])
def test_children_read_features_from_a_file_that_their_parent_opened(
    chunks: tuple[int, int] | None, script: Callable[[str], Any], tmp_path: Path
) -> None:
    rows = np.arange(64_000.0).reshape(-1, 8)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file.create_dataset("features", data=rows, chunks=chunks)
    code = f"""
from captioner.data.features import open_features
features = open_features("{tmp_path / "features.h5"}", memory_mib=0)
def works(start):
    pairs = [[row, row + 90] for row in range(start, start + 2000)]
    return all((features[pair][:, 0] == [8 * row for row in pair]).all() for pair in pairs)
assert works(0)
pool = multiprocessing.get_context("fork").Pool(2)
results(*pool.map_async(works, [0, 2000, 4000]).get(300))"""
    assert script(code) == [True] * 3


def test_children_of_a_training_do_not_hold_its_lock(script: Callable[[str], Any], run: Path) -> None:
    code = f"""
from captioner.training.train import train
from captioner.config.yaml_io import parse
folder = "{run.parent / "held"}"
events = train(parse("", "", ["data.scenes.train=40", "data.scenes.val=10", "train.max_steps=3"]), folder)
next(events)
child = os.fork()
if child == 0:
    signal.pause()
list(events)
captioner.resume(folder, ["train.max_steps=4"])
os.kill(child, signal.SIGKILL)
results(os.waitpid(child, 0)[1])"""
    assert script(code) == [9]


APPLICATION = """
import json, sys
import captioner

model = captioner.load({run!r})
photos = {photos!r}
model.caption(photos)  # with threads, before the workers are forked

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(model.caption(photos[int(environ["QUERY_STRING"])]).text).encode()]
"""
FORKING = """
from socketserver import ForkingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from application import application

class Server(ForkingMixIn, WSGIServer):
    pass

class Handler(WSGIRequestHandler):
    timeout = 60

server = Server(("127.0.0.1", 0), Handler)
server.set_app(application)
print(f"Listening at: http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
"""
SERVERS = {
    "gunicorn": ["-m", "gunicorn", "--preload", "--workers=2", "--threads=2", "--bind=127.0.0.1:0", "application"],
    "a server of the standard library": ["-W", "ignore::DeprecationWarning", "-c", f"import sys\n{FORKING}"],
}


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[str]:
    """The address of a server."""
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        addresses = (re.search(r"Listening at: (http://[0-9.:]+)", line) for line in server.stderr)
        try:
            yield next(filter(None, addresses))[1]
        finally:
            server.terminate()


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_loads_the_application_before_it_forks(
    server: str, run: Path, photos: list[str], expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION.format(run=str(run), photos=photos))

    def text(number: int) -> str:
        with urlopen(f"{address}/?{number % COUNT}", timeout=60) as answer:
            return str(json.load(answer))

    with started(SERVERS[server], tmp_path) as address, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(text, range(4 * COUNT))) == expected * 4
