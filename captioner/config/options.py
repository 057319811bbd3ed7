"""Every option of captioner: type, default, bounds and one line of documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True)
class Scenes:
    """Generated drawings of coloured shapes (data.source scenes)."""

    seed: Annotated[int, "which drawings are made; independent of the seed above", ">= 0"] = 0
    train: Annotated[int, "images to learn from", ">= 1", "<= 1000000"] = 4000
    val: Annotated[int, "images to validate on", ">= 1", "<= 1000000"] = 500
    test: Annotated[int, "images kept for the last measurement", ">= 1", "<= 1000000"] = 500
    heldout: Annotated[int, "images with combinations that train never shows", ">= 1", "<= 1000000"] = 500


@dataclass(frozen=True)
class Cs231n:
    """The assignment's COCO files (data.source cs231n)."""

    pca: Annotated[bool, "read the 512-d PCA features instead of the 4096-d fc7"] = True


@dataclass(frozen=True)
class Data:
    """Where images and captions come from."""

    source: Annotated[Literal["scenes", "cs231n", "prepared"], "the kind of data set"] = "scenes"
    root: Annotated[Path | None, "file (prepared) or folder of the data set; relative to this file"] = None
    standardize: Annotated[bool, "scale features to zero mean and unit deviation, as measured on train"] = False
    memory_mib: Annotated[int, "MiB; larger features stay in their file and are read by rows", ">= 1"] = 1024
    max_train: Annotated[int | None, "use only so many captions of train; null: all", ">= 1"] = None
    scenes: Scenes = Scenes()
    cs231n: Cs231n = Cs231n()


@dataclass(frozen=True)
class Model:
    """The captioner: image features start a recurrent net that predicts word after word."""

    cell: Annotated[Literal["rnn", "lstm"], "the recurrent cell"] = "lstm"
    wordvec_dim: Annotated[int, "numbers in a word vector (D)", ">= 1"] = 256
    hidden_dim: Annotated[int, "numbers in the hidden state (H)", ">= 1"] = 512
    image: Annotated[
        Literal["initial", "first", "every"], "the image is h0; and the first input; or joins every word"
    ] = "initial"
    dtype: Annotated[Literal["float32", "float64"], "precision of parameters and sums"] = "float32"
    dropout_features: Annotated[float, "share of image features' numbers dropped while training", ">= 0", "< 1"] = 0.0
    dropout_words: Annotated[float, "share of word vectors' numbers dropped while training", ">= 0", "< 1"] = 0.0
    dropout_hidden: Annotated[float, "share of hidden numbers dropped before the words", ">= 0", "< 1"] = 0.0
    forget_bias: Annotated[float, "start of the forget gate's bias (lstm); 1 keeps memory at first", ">= 0"] = 0.0
    output_bias: Annotated[Literal["zeros", "log_frequency"], "how the words' biases start"] = "zeros"


@dataclass(frozen=True)
class Train:
    """How the parameters are learnt."""

    objective: Annotated[Literal["likelihood", "scst"], "people's captions, or CIDEr-D of own ones (self-critical)"] = (
        "likelihood"
    )
    start: Annotated[Path | None, "run or checkpoint to start from; relative to this file"] = None
    epochs: Annotated[int, "passes over the captions of train", ">= 1"] = 10
    max_steps: Annotated[int | None, "stop after so many steps; null: by epochs alone", ">= 1"] = None
    batch_size: Annotated[int, "captions a step", ">= 1"] = 64
    label_smoothing: Annotated[float, "share of a target that all words have evenly", ">= 0", "< 1"] = 0.0
    average: Annotated[float | None, "memory of the running mean of parameters; null: no mean", "> 0", "< 1"] = None
    update_rule: Annotated[
        Literal["sgd", "sgd_momentum", "rmsprop", "adam", "adamw"], "how a gradient moves a parameter"
    ] = "adam"
    learning_rate: Annotated[float, "size of a step, before schedule and warm-up", "> 0"] = 1e-3
    momentum: Annotated[float, "share of the last move that is kept (sgd_momentum)", ">= 0", "< 1"] = 0.9
    decay_rate: Annotated[float, "memory of squared gradients (rmsprop)", ">= 0", "< 1"] = 0.99
    beta1: Annotated[float, "memory of gradients (adam, adamw)", ">= 0", "< 1"] = 0.9
    beta2: Annotated[float, "memory of squared gradients (adam, adamw)", ">= 0", "< 1"] = 0.999
    epsilon: Annotated[float, "keeps divisions finite (rmsprop, adam, adamw)", ">= 1e-30"] = 1e-8
    weight_decay: Annotated[float, "decoupled shrinking of weights (adamw)", ">= 0"] = 0.0
    clip_norm: Annotated[float | None, "scale gradients down to this joint norm; null: never", "> 0"] = 5.0
    schedule: Annotated[Literal["constant", "exponential", "cosine"], "the learning rate over time"] = "constant"
    lr_decay: Annotated[float, "factor of the learning rate per epoch (exponential)", "> 0", "<= 1"] = 1.0
    warmup_steps: Annotated[int, "steps over which the learning rate rises from 0", ">= 0"] = 0
    log_every: Annotated[int, "steps between lines of history.jsonl", ">= 1"] = 10
    save_every: Annotated[int | None, "steps between checkpoints; null: after each epoch alone", ">= 1"] = None
    patience: Annotated[int | None, "validations that are not better before stopping", ">= 1"] = None


@dataclass(frozen=True)
class Validate:
    """The loss, and the scores of captions, on images that are not learnt from."""

    every: Annotated[int, "epochs between validations", ">= 1"] = 1
    split: Annotated[str, "the split to validate on"] = "val"
    max_captions: Annotated[int | None, "use only so many captions; null: all", ">= 1"] = None
    metrics: Annotated[int | None, "epochs between scorings of its own captions; null: never", ">= 1"] = None
    best: Annotated[
        Literal["loss", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d"], "what makes a checkpoint best"
    ] = "loss"


@dataclass(frozen=True)
class Decode:
    """How captions are written."""

    max_length: Annotated[int, "words; longer captions are cut", ">= 1", "<= 1000"] = 30
    min_length: Annotated[int, "words that a caption has at least", ">= 0"] = 0
    no_repeat: Annotated[int | None, "so many words in a row never come twice; null: they may", ">= 1"] = None
    suppress: Annotated[str | None, "words that are never written, with commas between"] = None
    suppress_unk: Annotated[bool, "never write <UNK>"] = True
    method: Annotated[Literal["beam", "sampling"], "search for likely captions, or draw them at random"] = "beam"
    beam: Annotated[int, "beginnings kept of a caption; 1 is greedy", ">= 1", "<= 1000"] = 1
    length_power: Annotated[float, "captions are ranked by log-probability / length^this", ">= 0", "<= 10"] = 0.0
    consensus: Annotated[float, "weight of the CIDEr-D expected by similar images of train", ">= 0", "<= 1000"] = 0.0
    temperature: Annotated[float, "below 1 draws likelier words (sampling)", ">= 0.01", "<= 100"] = 1.0
    top_k: Annotated[int | None, "draw from so many likeliest words (sampling); null: all", ">= 1"] = None
    top_p: Annotated[float, "draw from the likeliest words with this share (sampling)", "> 0", "<= 1"] = 1.0
    seed: Annotated[int, "which captions are drawn (sampling)", ">= 0"] = 0


@dataclass(frozen=True)
class Config:
    """All that a run depends on."""

    seed: Annotated[int, "start of every random choice of a run", ">= 0"] = 0
    threads: Annotated[int, "threads that share out each batch", ">= 1", "<= 64"] = 2
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    validate: Validate = Validate()
    decode: Decode = Decode()


ENCODER = "efficientnet-lite0"
"""Encodes photographs where nobody says which; given features are of an encoder that nobody knows."""


@dataclass(frozen=True)
class Prepare:
    """What `captioner prepare` and `captioner data check` may be told: every option of theirs that has one value."""

    images: Annotated[Path | None, "folder of the photographs; [default: that of the first SOURCE]"] = None
    encoder: Annotated[str | None, f"scenes, efficientnet-lite0 or onnx:FILE  [default: {ENCODER}]"] = None
    features: Annotated[Path | None, "take the rows of `features` in this HDF5 file; encode nothing"] = None
    dtype: Annotated[Literal["float16", "float32"], "precision of the features"] = "float16"
    image_column: Annotated[str, "column of the image's name, in tables and JSON lines"] = "image"
    caption_column: Annotated[str, "column of the caption"] = "caption"
    split_column: Annotated[str, "column of the split, which need not be there"] = "split"
    val: Annotated[float, "share of images drawn for val, where nothing else says the splits", ">= 0", "< 1"] = 0.1
    test: Annotated[float, "share of images drawn for test", ">= 0", "< 1"] = 0.0
    seed: Annotated[int, "which images are drawn", ">= 0"] = 0
    min_count: Annotated[int, "rarer words of train become <UNK>", ">= 1"] = 5
    max_words: Annotated[int | None, "words in the vocabulary at most", ">= 1"] = None
    max_length: Annotated[int, "words a caption; longer ones are cut", ">= 1"] = 30
    threads: Annotated[int, "threads that encode", ">= 1", "<= 64"] = 2
