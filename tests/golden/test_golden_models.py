"""Training, resuming, decoding and scores: exact texts, of models in float64 or with few decimals."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import captioner

Golden = Callable[[str], None]
Run = Callable[..., Any]

SCENES = {"train": 60, "val": 40, "test": 5, "heldout": 5}
SMALL = {
    **{f"data.scenes.{split}": images for split, images in SCENES.items()},
    "model.dtype": "float64",
    "model.hidden_dim": 24,
    "train.batch_size": 16,
    "train.epochs": 5,
    "train.learning_rate": 0.01,
    "threads": 1,
}
RECURRENT = SMALL | {"model.wordvec_dim": 16}
TRANSFORMER = SMALL | {"model.heads": 2, "model.layers": 1, "model.feed_forward_dim": 48}
MODELS: dict[str, dict[str, Any]] = {
    "rnn": RECURRENT | {"model.decoder": "rnn"},
    "lstm": RECURRENT | {"model.decoder": "lstm"},
    "gru": RECURRENT | {"model.decoder": "gru"},
    "transformer": TRANSFORMER | {"model.decoder": "transformer"},
    "attention": RECURRENT | {"model.attention": "adaptive", "model.attention_dim": 12},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of each decoder."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in MODELS.items():
        captioner.train(None, folder / name, options)
    return folder


@pytest.fixture
def _here(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def steps(run: Path) -> list[dict[str, Any]]:
    """The steps of a run as its history has them."""
    entries = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["kind"] == "step"]


def losses(run: Path, every: int) -> str:
    return "".join(
        f"step {step['step']}: loss {step['loss']:.4g}\n" for step in steps(run) if step["step"] % every == 0
    )


def arrays(file: Path) -> dict[str, Any]:
    """The numeric arrays of a checkpoint: parameters, their average, those of the optimizer and of the words."""
    found: dict[str, Any] = {}
    with h5py.File(file) as content:
        content.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray) and array.dtype.kind in "fiu"}


@pytest.mark.smoke
def test_training(cli: Run, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages and losses of the config scenes-lstm on fewer scenes, in float32, and of its continuation."""
    monkeypatch.chdir(tmp_path)
    few = [word for split, images in SCENES.items() for word in ("-o", f"data.scenes.{split}={images}")]
    options = ("-o", "train.max_steps=10", "-o", "train.log_every=1", "-o", "threads=1")
    done = cli("train", "-c", "scenes-lstm", *few, *options, "--run", "run")
    again = cli("train", "--resume", "run", "-o", "train.max_steps=12")
    assert (done.code, done.out) == (again.code, again.out) == (0, "")
    golden(re.sub(r"\d+ s, [\d,]+ words/s", "TIME", done.err + again.err) + losses(tmp_path / "run", 1))


def test_a_resumed_run_equals_one_that_was_not_stopped(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 steps are 100 and 100 more, to the bit; not stored, because processors differ in the last bits."""
    monkeypatch.chdir(tmp_path)
    options = MODELS["lstm"] | {"model.dtype": "float32", "model.dropout_embedding": 0.3, "train.ema_decay": 0.9}
    options |= {"train.log_every": 1, "train.schedule": "exponential", "train.lr_decay": 0.9, "train.epochs": 11}
    captioner.train(None, "whole", options | {"train.max_steps": 200})
    captioner.train(None, "half", options | {"train.max_steps": 100})
    assert cli("train", "--resume", "half", "-o", "train.max_steps=200").code == 0
    assert [step["step"] for step in steps(Path("whole"))] == [*range(1, 201)]
    assert steps(Path("half")) == steps(Path("whole"))
    whole, half = (arrays(Path(run, "last.h5")) for run in ("whole", "half"))
    assert half.keys() == whole.keys()
    assert len(whole) > 20
    for key, array in whole.items():
        assert (array.dtype, array.tobytes()) == (half[key].dtype, half[key].tobytes()), key


@pytest.mark.smoke
@pytest.mark.usefixtures("_here")
def test_decoders(cli: Run, golden: Golden) -> None:
    """Losses, captions and scores of a small model of each decoder."""
    text = ""
    for name in MODELS:
        text += f"{name}\n{losses(Path(name), 30)}{cli('sample', name, '-n', 4).succeeded().out}\n"
    scored = cli("evaluate", "gru", "--split", "train", "--split", "val")
    compared = cli("evaluate", *reversed(MODELS))  # the first one reads the regions for the attention
    assert (scored.code, compared.code) == (0, 0)
    golden(text + scored.err + scored.out + compared.err + compared.out)


@pytest.mark.usefixtures("_here")
def test_sampled_captions(cli: Run, golden: Golden) -> None:
    sampling = ("-o", "decode.method=sampling", "-o", "decode.seed=3", "-o", "decode.temperature=1.2")
    limits = ("-o", "decode.top_k=12", "-o", "decode.top_p=0.95")
    golden("".join(cli("sample", name, "-n", 4, "--n-best", 3, *sampling, *limits).out for name in MODELS))


@pytest.mark.usefixtures("_here")
def test_beam_search(cli: Run, golden: Golden) -> None:
    """The candidates of beams, of an ensemble too, with their log-probabilities, and the table of --write."""
    beam = ("-n", 3, "--n-best", 3, "-o", "decode.beam_width=4", "-o", "decode.length_penalty=0.7", "--json")
    text = ""
    for names in (*([name] for name in MODELS), ("--ensemble", "rnn", "lstm", "gru")):
        text += " ".join(names) + "\n"
        for record in map(json.loads, cli("sample", *names, *beam).succeeded().out.splitlines()):
            text += f"{record['image']}\n"
            text += "".join(f"  {each['log_prob']:.3f} {each['caption']}\n" for each in record["candidates"])
    done = cli("sample", "lstm", "-n", 3, "-o", "decode.beam_width=4", "--write", "table.csv", "--overwrite")
    assert (done.code, done.err) == (0, "table.csv: 3 captions written\n")
    table = Path("table.csv").read_text(encoding="utf-8")
    golden(text + re.sub(r"\d\.\d{4}", lambda number: f"{float(number[0]):.3f}", table))


CAPTIONS = {
    "a.jpg": "a dog runs",
    "b.jpg": "two men on a boat",
    "c.jpg": "the sea",
    "d.jpg": "a man in a red shirt is riding a brown horse",
    "e.jpg": "a cat on a white sofa",
    "f.jpg": "a plate of food on a table",
}
REFERENCES = {
    "a.jpg": ("A dog runs.", "A brown dog is here!"),
    "b.jpg": ("Two men sit in a boat.",),
    "c.jpg": ("The sea\tat night.",),
    "d.jpg": ("A man in a red shirt rides a horse.", "A man is riding a brown horse in a field."),
    "e.jpg": ("A cat sleeps on a white sofa.", "The cat's asleep on a white sofa", "A white cat"),
    "f.jpg": ("People are dancing in the street.",),
}


@pytest.mark.smoke
def test_scores_of_a_file(cli: Run, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLEU, ROUGE-L and CIDEr-D of written captions, as text and as JSON."""
    monkeypatch.chdir(tmp_path)
    ids = {name: 2 * number + 5 for number, name in enumerate(REFERENCES)}
    results = [{"image_id": ids[name] if name == "b.jpg" else name, "caption": text} for name, text in CAPTIONS.items()]
    Path("results.json").write_text(json.dumps(results))
    annotations = {
        "images": [{"id": number, "file_name": name} for name, number in ids.items()],
        "annotations": [
            {"image_id": ids[name], "caption": text} for name, texts in REFERENCES.items() for text in texts
        ],
    }
    Path("captions.json").write_text(json.dumps(annotations))
    command = ("evaluate", "--captions", "results.json", "--references", "captions.json")
    done = cli(*command)
    assert done.code == 0
    record = json.loads(cli(*command, "--json").out)
    scores = "".join(f"{name} {record[name]:.6f}\n" for name in record if re.match("bleu|rouge|cider", name))
    assert len(scores.splitlines()) == 6
    golden(done.err + done.out + scores)
