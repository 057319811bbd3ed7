"""A wrong type in the Python API is a TypeError that names the argument, what was expected and what was given."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.errors import CaptionerError, CheckpointError, ConfigError, DataError, UsageError
from captioner.inference.arguments import path_list


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> captioner.Captioner:
    return captioner.load(tiny_run)


class BytesPath:
    """A path as `os.DirEntry` objects of a folder whose name is bytes."""

    def __fspath__(self) -> bytes:
        return b"run"


api: Any = captioner
CALLS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "load: number": (lambda model: api.load(3), TypeError,
     r"load: runs: expected a path or a list of paths, got 3 \(int\)"),
    "load: none": (lambda model: api.load(None), TypeError, r"load: runs: .* got None \(NoneType\)"),
    "load: bytes": (lambda model: api.load(b"run"), TypeError, r"load: runs: .* got b'run' \(bytes\)"),
    "load: numbers": (lambda model: api.load([3]), TypeError, r"load: runs\[0\]: expected a path, got 3 \(int\)"),
    "load: an open file": (lambda model: api.load(io.StringIO("run")), TypeError,
     r"load: runs: expected a path or a list of paths, got '?<_io.StringIO .* \(StringIO\)"),
    "load: a path of bytes": (lambda model: api.load(BytesPath()), TypeError,
     r"load: runs\[0\]: expected a path, got .*BytesPath"),
    "load: a set": (lambda model: api.load({"run"}), TypeError, r"load: runs: .* got {'run'} \(set\)"),
    "load: a mapping": (lambda model: api.load({"run": 1}), TypeError, r"load: runs: .* got {'run': 1} \(dict\)"),
    "load: overrides": (lambda model: api.load("run", {"decode.beam_width": 5}), TypeError,
     r"load: overrides: expected a list of texts .*, got {'decode.beam_width': 5} \(dict\)"),
    "evaluate: baseline": (lambda model: api.evaluate("run", baseline=["nn"]), TypeError,
     r"evaluate: baseline: expected a name, got \['nn'\] \(list\)"),
    "load: nothing": (lambda model: api.load([]), UsageError, r"load: runs: expected at least one run"),
    "load: a text of overrides": (lambda model: api.load("run", "decode.beam_width=5"), TypeError,
     r'load: overrides: expected a list of texts such as \["decode.beam_width=5"\], got .decode.* \(str\)'),
    "load: an override without effect": (lambda model: api.load("run", ["train.epochs=2"]), ConfigError,
     r"-o train.epochs=2: train.epochs has no effect on captioner.load; it uses threads, data\.\*, decode\.\*"),
    "evaluate: an override without effect": (
        lambda model: api.evaluate("run", overrides=["train.epochs=2"]), ConfigError,
        r"-o train.epochs=2: train.epochs has no effect on captioner.evaluate; ",
    ),
    "evaluate: number": (lambda model: api.evaluate(3), TypeError,
     r"evaluate: models: expected a path or a list of paths, got 3"),
    "train: config": (lambda model: api.train(3, "x"), TypeError, r"train: config: expected a path, got 3"),
    "train: folder": (lambda model: api.train(None, None), TypeError, r"train: folder: expected a path, got None"),
    "train: overrides": (lambda model: api.train(None, "x", [3]), TypeError,
     r"train: overrides: expected a list of texts .*, got \[3\] \(list\)"),
    "train: overwrite": (lambda model: api.train(None, "x", overwrite="no"), TypeError,
     r"train: overwrite: expected true or false, got 'no' \(str\)"),
    "distill: overwrite": (lambda model: api.distill("x", "y", overwrite=0), TypeError,
     r"distill: overwrite: expected true or false, got 0 \(int\)"),
    "evaluate: ensemble": (lambda model: api.evaluate("x", ensemble="yes"), TypeError,
     r"evaluate: ensemble: expected true or false, got 'yes' \(str\)"),
    "prepare: overwrite": (lambda model: api.prepare("a.csv", "x.h5", overwrite="no"), TypeError,
     r"prepare: overwrite: expected true or false, got 'no' \(str\)"),
    "resume: folder": (lambda model: api.resume(3), TypeError, r"resume: folder: expected a path, got 3"),
    "prepare: sources": (lambda model: api.prepare(3, "x.h5"), TypeError,
     r"prepare: sources: expected a path or a list of paths, got 3"),
    "prepare: nothing": (lambda model: api.prepare([], "x.h5"), UsageError,
     r"prepare: sources: expected at least one caption file, got an empty list"),
    "prepare: output": (lambda model: api.prepare("a.csv", None), TypeError,
     r"prepare: output: expected a path, got None"),
    "prepare: type": (lambda model: api.prepare("a.csv", "x.h5", min_count="5"), TypeError,
     r"prepare: min_count: expected an integer >= 1, got '5' \(str\)"),
    "prepare: boolean": (lambda model: api.prepare("a.csv", "x.h5", min_count=True), TypeError,
     r"prepare: min_count: expected an integer >= 1, got True \(bool\)"),
    "prepare: bounds": (lambda model: api.prepare("a.csv", "x.h5", val=1), UsageError,
     r"prepare: val: expected a number >= 0 and < 1, got 1 \(int\)"),
    "prepare: choice": (lambda model: api.prepare("a.csv", "x.h5", dtype="float64"), UsageError,
     r"prepare: dtype: expected float16 or float32, got 'float64' \(str\)"),
    "caption: none": (lambda model: model.caption(None), UsageError, r"caption: expected photographs or features="),
    "caption: number in a list": (lambda model: model.caption(["a.jpg", 5]), TypeError,
     r"caption: images\[1\]: expected a path, got 5 \(int\)"),
    "caption: pixels": (lambda model: model.caption(np.zeros((4, 4, 3))), TypeError,
     r"caption: images: expected a path or a list of paths, got an array float64 \(4, 4, 3\)"),
    "caption: n_best": (lambda model: model.caption("a.jpg", n_best="x"), TypeError,
     r"caption: n_best: expected an integer, got 'x' \(str\)"),
    "caption: fraction": (lambda model: model.caption("a.jpg", n_best=2.0), TypeError,
     r"caption: n_best: expected an integer, got 2.0 \(float\)"),
    "caption: attention": (lambda model: model.caption("a.jpg", attention="maps"), TypeError,
     r"caption: attention: expected true or false, got 'maps' \(str\)"),
    "features: three axes": (lambda model: model.caption(features=np.zeros((2, 3, 4))), DataError,
     r"caption: features: expected floats \(images, feature\), got float64 \(2, 3, 4\)"),
    "features: integers": (lambda model: model.caption(features=np.zeros((2, 3), int)), DataError,
     r"caption: features: expected floats \(images, feature\), got int64 \(2, 3\)"),
    "features: texts": (lambda model: model.caption(features=[["a"]]), DataError,
     r"caption: features: expected floats \(images, feature\), got <U1 \(1, 1\)"),
    "features: ragged": (lambda model: model.caption(features=[[1.0], [2.0, 3.0]]), TypeError,
     r"caption: features: expected an array \(images, feature\), got \[\[1.0\], \[2.0, 3.0\]\] \(list\)"),
    "features: masked": (lambda model: model.caption(features=np.ma.masked_less(np.zeros((2, 3)), 1)), TypeError,
     r"caption: features: expected an array without a mask, got a masked array; try features\.filled\(0\)"),
    "features: masked rows": (lambda model: model.caption(features=[np.ma.masked_less(np.zeros(3), 1)]), TypeError,
     r"caption: features: expected an array without a mask"),
    "regions: masked": (
        lambda model: model.caption(features=np.zeros(3), regions=np.ma.masked_less(np.zeros((2, 2, 3)), 1)), TypeError,
        r"caption: regions: expected an array without a mask",
    ),
    "regions: no attention": (
        lambda model: model.caption(features=np.zeros(3), regions=np.zeros((2, 2, 3))), UsageError,
        r"caption: regions= has no effect on a model without attention; leave it out",
    ),
    "features: width": (lambda model: model.caption(features=np.zeros((2, 3))), CheckpointError,
     r"caption: features: expected \d+ numbers per image, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_named(call: str, model: captioner.Captioner) -> None:
    act, kind, message = CALLS[call]
    with pytest.raises((TypeError, CaptionerError), match=f"^{message}") as caught:
        act(model)
    assert type(caught.value) is kind


PATHS: dict[str, Callable[[Any, str], Any]] = {
    "caption: images[0]": lambda model, path: model.caption(path),
    "caption: images[1]": lambda model, path: model.caption(["a.jpg", path]),
    "distill: captions": lambda model, path: api.distill("x", "y", captions=path),
    "distill: folder": lambda model, path: api.distill("x", path),
    "distill: teachers[0]": lambda model, path: api.distill(path, "y"),
    "evaluate: against": lambda model, path: api.evaluate("x", against=path),
    "evaluate: data": lambda model, path: api.evaluate("x", data=path),
    "evaluate: models[0]": lambda model, path: api.evaluate(path),
    "load: runs[0]": lambda model, path: api.load(path),
    "prepare: images": lambda model, path: api.prepare("a.csv", "x.h5", images=path),
    "prepare: output": lambda model, path: api.prepare("a.csv", path),
    "prepare: sources[0]": lambda model, path: api.prepare(path, "x.h5"),
    "resume: folder": lambda model, path: api.resume(path),
    "train: config": lambda model, path: api.train(path, "x"),
    "train: folder": lambda model, path: api.train(None, path),
}
IMPOSSIBLE = {
    "": r"an empty text; the current folder is '\.'",
    "a\0b": r"'a\\x00b': .*null (byte|character).*",
    "n" * 5000: r"'n+\.\.\.n+': File name too long",
    "n/" * 3000 + "n": r"'[n/]+\.\.\.[n/]+': File name too long",
}


@pytest.mark.parametrize("path", IMPOSSIBLE, ids=["empty", "NUL", "long", "deep"])
@pytest.mark.parametrize("where", PATHS)
def test_an_impossible_path_is_named(where: str, path: str, model: captioner.Captioner) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(where)}: expected a path, got {IMPOSSIBLE[path]}$"):
        PATHS[where](model, path)


def test_numbers_and_paths_of_other_types_are_accepted(model: captioner.Captioner, album: Callable[..., Path]) -> None:
    width = model.loaded.meta.feature_dim
    captions = model.caption(features=np.zeros((2, width)), n_best=np.int64(2))  # type: ignore[call-overload]
    assert [len(caption.candidates) for caption in captions] == [2, 2]


def test_options_of_prepare_may_be_numpy_numbers_and_texts(album: Callable[..., Path], tmp_path: Path) -> None:
    table = album(tmp_path / "photos")
    options = {"min_count": np.int64(1), "val": np.float32(0.25), "images": str(table.parent), "max_words": None}
    summary = captioner.prepare([table], tmp_path / "x.h5", encoder="scenes", **options)
    assert set(summary["splits"]) == {"train", "val"}


def test_a_model_of_scenes_warns_about_photographs(
    model: captioner.Captioner, album: Callable[..., Path], tmp_path: Path
) -> None:
    photo = album(tmp_path / "new", 1).parent / "000.png"
    with pytest.warns(UserWarning, match="was trained on generated scenes"):
        model.caption(photo)


def test_the_keys_of_a_mapping_are_a_list_and_a_set_is_not() -> None:
    assert path_list({"b": 1, "a": 2}.keys(), "x") == [Path("b"), Path("a")]
    for kind in (set, frozenset):
        with pytest.raises(TypeError, match=r"^x: expected a path or a list of paths"):
            path_list(kind(["a"]), "x")
