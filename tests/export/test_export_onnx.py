"""The ONNX graphs compute what captioner computes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import IMAGES, WORDS, every_kind, images, random_model, random_run, shared

from captioner.decode import greedy
from captioner.errors import CaptionerError, UsageError
from captioner.export import export_onnx as onnx_export
from captioner.export import onnx_graphs
from captioner.export.export_onnx import export_onnx
from captioner.export.onnx_graphs import CELLS
from captioner.inference.decoder import build_constraints
from captioner.inference.load import open_run
from captioner.inference.restore import Restored
from captioner.layers import CELLS as LAYERS
from captioner.layers.positions import sinusoids
from captioner.model.inference_transformer import KeyValueCache
from captioner.model.interface import State

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(file: Path) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def run(file: Path, **inputs: np.ndarray | None) -> dict[str, np.ndarray]:
    graph = session(file)
    arrays = graph.run(None, {name: array for name, array in inputs.items() if array is not None})
    return dict(zip((output.name for output in graph.get_outputs()), arrays, strict=True))


def decoded(restored: Restored, features: np.ndarray, regions: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Words and log-probabilities of captioner's greedy decoding."""
    vocab, options, model = restored.vocab, restored.config.decode, restored.model
    tokens, scores = greedy(
        model.for_inference().step, model.start(features, shared(regions)), start=vocab.start, end=vocab.end,
        null=vocab.null, max_length=options.max_length, constraints=build_constraints(options, vocab),
    )  # fmt: skip
    return tokens[:, 0], scores[:, 0]


def assert_equal_captions(folder: Path, restored: Restored, attends: bool) -> None:
    features, regions = images(attends)
    expected, scores = decoded(restored, features, regions)
    got = run(folder / "greedy.onnx", features=features, regions=regions)
    width = got["words"].shape[1]
    np.testing.assert_array_equal(got["words"], expected[:, :width])
    assert not (expected[:, width:] != restored.vocab.null).any()
    assert expected[:, width - 1].any(), "the loop ends with the longest caption"
    np.testing.assert_allclose(got["log_prob"], scores, atol=1e-4)


def assert_equal_state(names: list[str], values: dict[str, np.ndarray], state: State) -> None:
    """Compare the tensors of a graph with a state; those of a transformer are the keys and values of each layer."""
    if isinstance(state[0], KeyValueCache):
        words = state[0]
        state = tuple(layer[words.group][words.mask].reshape(len(words), words.steps, layer.shape[2])
                      for layer in words.positions.values[:, :, : words.mask.shape[1]])  # fmt: skip
    for name, expected in zip(names, state, strict=False):
        np.testing.assert_allclose(values[name], expected, atol=1e-5)


@every_kind
def test_graphs_equal_the_model(cell: str, image: str, attention: str, tmp_path: Path) -> None:
    restored, attends = random_model(tmp_path, cell, image, attention), attention != "none"
    export_onnx(restored, tmp_path / "onnx")
    features, regions = images(attends)
    state = restored.model.start(features, shared(regions))
    values = run(tmp_path / "onnx" / "start.onnx", features=features, regions=regions)
    names = [name for name in values if not name.startswith(("image_ax", "keys", "memory"))]
    assert_equal_state(names, values, state)
    step = session(tmp_path / "onnx" / "step.onnx")
    words, rng = np.full(IMAGES, restored.vocab.start), np.random.default_rng(2)
    for _ in range(5):
        expected_log_probs, state = restored.model.step(words, state)
        log_probs, *next_state = step.run(None, {"word": words, **values})
        np.testing.assert_allclose(log_probs, expected_log_probs, atol=1e-5)
        values |= dict(zip(names, next_state, strict=True))
        assert_equal_state(names, values, state)
        words = rng.integers(0, len(WORDS), IMAGES)
    assert_equal_captions(tmp_path / "onnx", restored, attends)


@pytest.mark.parametrize(
    "options",
    [
        ("decode.suppress_unk=false",),
        ("decode.max_length=1",),
        ("decode.max_length=12", "decode.min_length=12"),
        ("decode.min_length=4", "decode.suppress_words=w1, w2, 猫"),
        ("decode.no_repeat_ngram=1",),
        ("decode.no_repeat_ngram=1", "decode.min_length=30"),
        ("decode.no_repeat_ngram=2", "decode.min_length=20"),
        ("decode.no_repeat_ngram=3", "decode.min_length=30"),
        ("decode.no_repeat_ngram=40",),
        ("decode.no_repeat_ngram=29", "decode.min_length=30"),
        ("decode.min_length=3", f"decode.suppress_words={','.join(WORDS[4:])}"),
        ("model.dtype=float64",),
        ("data.standardize=false",),
    ],
)
def test_greedy_graph_follows_the_options(options: tuple[str, ...], tmp_path: Path) -> None:
    restored = random_model(tmp_path, overrides=options)
    export_onnx(restored, tmp_path / "onnx")
    assert_equal_captions(tmp_path / "onnx", restored, False)


@pytest.mark.parametrize("seed", range(8))
def test_repeats_are_found_at_every_position(seed: int, tmp_path: Path) -> None:
    options = ("decode.no_repeat_ngram=2", "decode.max_length=25", "decode.min_length=10")
    restored = random_model(tmp_path, "gru", "every", overrides=options, seed=seed)
    export_onnx(restored, tmp_path / "onnx")
    assert_equal_captions(tmp_path / "onnx", restored, False)


def test_dtype_converts_a_model(tmp_path: Path) -> None:
    restored = random_model(tmp_path, overrides=["model.dtype=float64"])
    export_onnx(restored, tmp_path / "onnx", "float32")
    features, _ = images(False)
    got = run(tmp_path / "onnx" / "start.onnx", features=features)
    assert got["h"].dtype == np.float32
    np.testing.assert_allclose(got["h"], restored.model.start(features)[0], atol=1e-5)
    with pytest.raises(UsageError, match="float16"):
        export_onnx(restored, tmp_path / "half", "float16")


@pytest.mark.parametrize("option", ["model.norm=post", "model.activation=relu", "model.dtype=float64"])
def test_variants_of_the_transformer(option: str, tmp_path: Path) -> None:
    options = (option, "decode.no_repeat_ngram=2", "decode.max_length=25")
    restored = random_model(tmp_path, "transformer", "init", "adaptive", overrides=options)
    export_onnx(restored, tmp_path / "onnx")
    assert_equal_captions(tmp_path / "onnx", restored, True)


def test_late_positions_of_a_transformer(tmp_path: Path) -> None:
    """The vector of position 700 in float32 is the model's, to float32 rounding."""
    restored, count = random_model(tmp_path, "transformer", "init", "none"), 700
    export_onnx(restored, tmp_path / "onnx")
    width, layers = restored.model.sizes.hidden, restored.model.sizes.layers
    file = tmp_path / "onnx" / "step.onnx"
    graph = onnx.load(file)
    graph.graph.output.append(onnx.ValueInfoProto(name="position_vector"))
    onnx.save(graph, tmp_path / "with_positions.onnx")
    cache, memory = np.zeros((1, count, 2 * width), np.float32), np.zeros((1, 2, 2 * width), np.float32)
    arrays = {f"{name}_{i}": a for i in range(layers) for name, a in (("words", cache), ("memory", memory))}
    got = run(tmp_path / "with_positions.onnx", word=np.zeros(1, np.int64), **arrays)["position_vector"]
    np.testing.assert_allclose(got.ravel(), sinusoids(count + 1, width)[count], rtol=0, atol=1e-7)


def test_every_cell_has_equations() -> None:
    assert CELLS.keys() == LAYERS.keys()


def test_a_wrong_equation_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison finds a cell that uses another order of gates."""
    swapped = CELLS["lstm"].replace("a_i, a_f, a_o, a_g", "a_i, a_f, a_g, a_o")
    monkeypatch.setattr(onnx_graphs, "CELLS", {**CELLS, "lstm": swapped})
    with pytest.raises(AssertionError):
        test_graphs_equal_the_model("lstm", "init", "none", tmp_path)


def test_files_contain_vocabulary_encoder_and_no_path(tmp_path: Path) -> None:
    run_folder = random_run(tmp_path / "private", overrides=["data.source=prepared", "data.root=private/photos.h5"])
    files = export_onnx(open_run(run_folder), tmp_path / "onnx")
    assert [file.name for file in files] == ["start.onnx", "step.onnx", "greedy.onnx"]
    for file in files:
        (text,) = session(file).get_modelmeta().custom_metadata_map.values()
        metadata = json.loads(text)
        assert metadata["words"] == list(WORDS)
        assert (metadata["encoder"], metadata["config"]["model"]["decoder"]) == ("drawn", "lstm")
        assert not re.search(rb"private|photos|a machine|" + str(tmp_path).encode(), file.read_bytes())


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    restored = random_model(tmp_path, "gru", "every", "adaptive")
    first, second = (export_onnx(restored, tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_existing_files_are_kept(tmp_path: Path) -> None:
    restored, folder = random_model(tmp_path), tmp_path / "onnx"
    folder.mkdir()
    relu = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) {y = Relu(x)}'
    (folder / "step.onnx").write_bytes(onnx.parser.parse_model(relu).SerializeToString())
    with pytest.raises(UsageError, match=r"step\.onnx: exists already"):
        export_onnx(restored, folder)
    assert [file.name for file in folder.iterdir()] == ["step.onnx"]
    with pytest.raises(UsageError, match=r"step\.onnx: expected a graph from `captioner export` to replace"):
        export_onnx(restored, folder, overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["step.onnx"]
    (folder / "step.onnx").unlink()
    export_onnx(restored, folder)
    export_onnx(restored, folder, overwrite=True)
    assert (folder / "step.onnx").stat().st_size > 1000
    with pytest.raises(UsageError, match="exists already"):
        export_onnx(restored, folder / "step.onnx")
    with pytest.raises(CaptionerError, match="cannot create the folder"):
        export_onnx(restored, folder / "step.onnx" / "onnx")
    assert export_onnx(restored, tmp_path / "new" / "onnx")[0].exists()


def test_too_large_a_model_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(CaptionerError, match="at most 1,000 bytes"):
        export_onnx(random_model(tmp_path), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
