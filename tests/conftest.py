"""Shared by all tests: one BLAS thread, the slow suite, the command line, golden files, tiny data sets and runs."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

GOLDEN = Path(__file__).parent / "golden"

SLOW = (
    "benchmarks",
    "cli/test_cli_mpi.py",
    "cli/test_cli_report.py",
    "cli/test_signals.py",
    "cli/test_streams.py",
    "cs231n/test_captioning_solver.py",
    "faults",
    "parallel/test_mpi.py",
    "report/test_pages_in_browser.py",
    "serve",
    "teaching",
    "test_docs.py",
    "test_share.py",
    "test_tutorial.py",
    "training/test_end_of_run.py",
    "training/test_few_photographs.py",
    "training/test_flickr8k.py",
    "training/test_initialize.py",
    "training/test_learned_captions.py",
    "training/test_mpi_training.py",
    "training/test_self_critical.py",
    "training/test_start_model.py",
    "training/test_train_attention.py",
    "training/test_train_prefetch.py",
    "training/test_train_transformer.py",
)
"""Folders and files whose tests train for long, or start many processes: `make slow` runs them."""


SETTINGS = re.compile(
    r"_?CAPTIONER_|COLUMNS$|LINES$|(NO|FORCE)_COLOR$|COMP_|PMIX?_|OMPI_|MV2_|SLURM_|(OPENBLAS|OMP|MKL|GOTO)_NUM_THREADS$"
    r"|PYTHON(?!PATH|HOME|PYCACHEPREFIX)"
)
"""The environment variables of a user that would change what the processes of tests do."""
UNTIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: lambda *_: None}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write tests/golden/*.txt anew; then read the diff.")
    latency = "The milliseconds that each request of the browser waits: a test that races fails."
    parser.addoption("--browser-latency", type=int, default=50, metavar="MS", help=latency)
    slowdown = "How many times slower the scripts of pages are."
    parser.addoption("--browser-slowdown", type=int, default=1, metavar="N", help=slowdown)


def pytest_configure(config: pytest.Config) -> None:
    for name in filter(SETTINGS.match, [*os.environ]):
        del os.environ[name]
    # Before the first import of NumPy: runs agree to the bit for one number of threads, and processes inherit it.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    os.environ["CAPTIONER_ALBUM"] = "none"  # no test knows the album of a user
    # `nohup make test &` ignores these signals, also in the processes that tests start; a handler is not inherited.
    for number, handler in HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # The same examples each time, and no test measures time: by default, an example of more than 0.2 s fails.
    settings.register_profile("captioner", max_examples=25, derandomize=True, database=None, **UNTIMED)
    settings.register_profile("explore", max_examples=500, print_blob=True, **UNTIMED)
    settings.load_profile("captioner")  # --hypothesis-profile is read after this


@functools.cache
def slow(path: Path) -> bool:
    return not {path, *path.parents}.isdisjoint(Path(__file__).parent / each for each in SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # `make test` does not even import what it leaves out, in each of its two workers.
    return True if "not slow" in config.option.markexpr and slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if slow(item.path):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def controlled_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start tests in an empty folder, where no runs exist."""
    here = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield
    assert os.listdir(here) == [], "a test wrote into the folder where all tests start"


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def succeeded(self) -> "Done":
        """Assert that the exit code is 0 and that nothing was printed to stderr."""
        assert (self.code, self.err) == (0, "")
        return self

    def failed(self, code: int, message: str) -> None:
        """Assert the exit code, that nothing was printed to stdout, and one line on stderr that contains a text."""
        assert (self.code, self.out) == (code, "")
        assert re.fullmatch(r"captioner: [^\n]+\n", self.err), self.err
        assert message in self.err


@pytest.fixture(scope="session")
def one_browser(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser for all tests of a worker."""
    from browser import AVAILABLE, started

    if not AVAILABLE:
        pytest.skip("Chromium and its driver are not installed")
    speed = pytestconfig.getoption("browser_latency"), pytestconfig.getoption("browser_slowdown")
    with started(tmp_path_factory.mktemp("profile"), *speed) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Any) -> Any:
    """The browser with its default view: 1,200 pixels wide, light, with scripts."""
    one_browser.view()
    one_browser.connect()
    one_browser.console()
    return one_browser


@pytest.fixture
def unreadable_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make folders named `shut` unreadable, also for root, whom permissions do not stop."""
    scandir = os.scandir

    def shut(folder: str) -> Any:
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", shut)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The whole command line in this process, errors and exit code included."""
    from captioner.cli import main

    def run(*args: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def shell() -> Callable[..., subprocess.CompletedProcess[Any]]:
    """The command line in a process of its own, or a `code` instead of it; a hang is a failure."""

    def run(*args: object, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
        start = ("-m", "captioner") if code is None else ("-c", code)
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        options = {"stderr": subprocess.PIPE, "text": True, "timeout": 120, **options}
        return subprocess.run([sys.executable, *start, *map(str, args)], **options)

    return run


@pytest.fixture
def files_of_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """In its context no file grows beyond some bytes, as on a full disk."""

    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compares a text with tests/golden/NAME.txt for the test `test_NAME`, or writes it there with --update-golden."""

    def compare(text: str) -> None:
        name = request.node.name.removeprefix("test_")
        file = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), (
            f"if that is meant, pytest tests/golden --update-golden -k {name}, and read the diff"
        )

    return compare


WORDS = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "café", "猫")


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make any config of generated scenes fit into half a second."""
    from small_options import SMALL

    return SMALL


@pytest.fixture(scope="session")
def small_options(small: tuple[str, ...]) -> tuple[str, ...]:
    """The same, as words of a command."""
    return tuple(f"--set={override}" for override in small)


@pytest.fixture(scope="session")
def small_model(small_options: tuple[str, ...]) -> tuple[str, ...]:
    """Those of them that are for any data set."""
    return tuple(option for option in small_options if "model." in option)


def trained(folder: Path, *overrides: str) -> Path:
    """Train a small run in a folder, and return the folder; one without a scheduled validation gets a best.h5 too."""
    from small_options import fitting

    from captioner.config.options import Config
    from captioner.config.overrides import override
    from captioner.training.train import train

    for _ in train(override(Config(), fitting(*overrides)), folder):
        pass
    if not (folder / "best.h5").exists():
        shutil.copy(folder / "last.h5", folder / "best.h5")
    return folder


def always_a(run: Path) -> Path:
    """Let a run with the vocabulary `WORDS` always generate `a`, as likely on every machine."""
    from captioner.files import checkpoint

    saved = checkpoint.load(run / "best.h5")
    for array in saved.params.values():
        array[...] = 0
    saved.params["b_vocab"][WORDS.index("a")] = 1
    checkpoint.save(run / "best.h5", saved)
    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs, to be read alone."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    return trained(folder, "train.epochs=2", "train.learning_rate=0.01", "train.log_every=1")


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, to be changed."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def familiar_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that always generates `a`, on `data.h5` beside it: 1,280 features of few directions.

    The last three of the eight images of val are unlike the training images.
    """
    import numpy as np

    from captioner.data.corpus import Corpus, Split
    from captioner.data.prepared import write_prepared
    from captioner.data.vocabulary import Vocab
    from captioner.photos.onnx import SHA256

    folder, rng = tmp_path_factory.mktemp("familiar"), np.random.default_rng(0)
    directions = rng.standard_normal((8, 1280))

    def split(name: str, familiar: int, unfamiliar: int) -> Split:
        features = rng.standard_normal((familiar + unfamiliar, 8)) @ directions
        features += rng.standard_normal(features.shape)
        features[familiar:] = 3 * rng.standard_normal((unfamiliar, 1280))
        rows = np.arange(len(features), dtype=np.int32)
        captions = np.array([[1, 4 + row % 2, 2] for row in rows], np.int32)
        names = [f"{name}-{row}" for row in range(len(features))]
        texts = [WORDS[4 + row % 2] for row in rows]
        return Split(captions, rows, features.astype(np.float32), names, texts=texts)

    splits = {"train": split("train", 200, 0), "val": split("val", 5, 3)}
    write_prepared(folder / "data.h5", Corpus(Vocab(WORDS), splits, f"everyday,sha256={SHA256}"), {})
    data = "data.source=prepared", f"data.root={folder / 'data.h5'}", "decode.max_length=1"
    return always_a(trained(folder / "run", *data, "train.max_steps=2"))


@pytest.fixture(scope="session")
def attention_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with attention, to be read alone."""
    folder = tmp_path_factory.mktemp("attention") / "run"
    attention = ("model.attention=adaptive", "model.attention_dim=8")
    return trained(folder, *attention, "model.forget_bias=0", "train.max_steps=2")  # with 1, captions are empty


@pytest.fixture(scope="session")
def write_coco() -> Callable[..., Path]:
    """Writes a tiny data set in the assignment's layout."""
    import h5py
    import numpy as np

    def write(folder: Path, width: int = 8, words: tuple[str, ...] = WORDS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "coco2014_vocab.json").write_text(json.dumps({"idx_to_word": words}))
        rng = np.random.default_rng(0)
        with h5py.File(folder / "coco2014_captions.h5", "w") as file:
            for split, count in (("train", 12), ("val", 6)):
                file[f"{split}_captions"] = np.array([[1, 4, 5, 6, 2], [1, 4, 6, 2, 0], [1, 3, 2, 0, 0]] * (count // 3))
                file[f"{split}_image_idxs"] = np.arange(count) // 3
                for kind in ("vgg16_fc7", "vgg16_fc7_pca"):
                    with h5py.File(folder / f"{split}2014_{kind}.h5", "w") as features:
                        features["features"] = rng.standard_normal((count // 3, width)).astype(np.float32)
        return folder

    return write


@pytest.fixture(scope="session")
def coco_run(write_coco: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the assignment's layout that always generates `a`, as likely on every machine."""

    folder = tmp_path_factory.mktemp("coco")
    data = write_coco(folder / "data")
    return always_a(trained(folder / "run", "data.source=cs231n", f"data.root={data}", "train.max_steps=2"))


@pytest.fixture(scope="session")
def album() -> Callable[..., Path]:
    """Paints photographs of generated scenes into a folder, 000.png and so on, and a table of their captions."""
    from faults.materials import make_album

    return lambda *arguments, **options: make_album(*arguments, **options) / "captions.csv"


@pytest.fixture(scope="session")
def photo_run(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs in `photos` beside it and their data set `data.h5`, which generates random words."""
    import numpy as np

    from captioner.config.options import Prepare
    from captioner.files import checkpoint
    from captioner.photos.prepare import prepare

    folder = tmp_path_factory.mktemp("photographs")
    options = Prepare(encoder="scenes", val=0.25, min_count=1)
    list(prepare([str(album(folder / "photos"))], folder / "data.h5", options))
    run = trained(folder / "run", "data.source=prepared", f"data.root={folder / 'data.h5'}", "train.max_steps=2")
    saved = checkpoint.load(run / "best.h5")
    rng = np.random.default_rng(0)
    for array in saved.params.values():
        array[...] = rng.standard_normal(array.shape)
    saved.params["b_vocab"][2] += 3  # <END>
    checkpoint.save(run / "best.h5", saved)
    return run
