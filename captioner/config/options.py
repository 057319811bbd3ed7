"""Every option of captioner: its type, default, bounds and one line of documentation.

An option is one line of its section: reading, checking and `captioner config init` follow from it (CONTRIBUTING.md has
what else an option needs). A line reads `name: Annotated[type, doc, *bounds] = default`; a default lives here and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

Source = Literal["scenes", "cs231n", "prepared"]
"""The data sources."""


@dataclass(frozen=True)
class Scenes:
    """Generated scenes of coloured shapes (data.source scenes)."""

    seed: Annotated[int, "random seed of the scenes; independent of the seed above", ">= 0"] = 0
    train: Annotated[int, "training images", ">= 1", "<= 100000"] = 4000
    val: Annotated[int, "validation images", ">= 1", "<= 100000"] = 500
    test: Annotated[int, "test images", ">= 1", "<= 100000"] = 500
    heldout: Annotated[int, "images with colour-shape pairs that are not in train", ">= 1", "<= 100000"] = 500


@dataclass(frozen=True)
class Cs231n:
    """COCO files in the layout of CS231n's assignment 3 (data.source cs231n)."""

    pca: Annotated[bool, "read the 512-d PCA features instead of the 4096-d fc7 features"] = True


@dataclass(frozen=True)
class Data:
    """The data set."""

    source: Annotated[Source, "kind of data set"] = "scenes"
    root: Annotated[Path | None, "file or folder of the data set; relative to this file"] = None
    vocabulary: Annotated[Literal["union", "data_set"], "train.init_from: union keeps the base model's words"] = "union"
    standardize: Annotated[bool, "standardize features by the mean and standard deviation of train"] = False
    memory_mib: Annotated[int, "keep at most N MiB of features in memory; read the rest per batch", ">= 1"] = 1024
    max_captions_per_image: Annotated[int | None, "train on at most N captions of each image; null: all", ">= 1"] = None
    max_train: Annotated[int | None, "train on at most N captions; null: all", ">= 1"] = None
    captions: Annotated[Path | None, "file of captions to train on instead of the references"] = None
    captions_per_image: Annotated[int, "train on the first N captions per image of data.captions", ">= 1"] = 3
    references: Annotated[int, "with data.captions, train also on N references per image", ">= 0"] = 0
    scenes: Scenes = Scenes()
    cs231n: Cs231n = Cs231n()


@dataclass(frozen=True)
class Model:
    """The captioning model: a decoder over an image feature."""

    decoder: Annotated[Literal["rnn", "lstm", "gru", "transformer"], "decoder"] = "lstm"
    wordvec_dim: Annotated[int, "dimension of the word embedding (D) (recurrent decoders)", ">= 1"] = 256
    hidden_dim: Annotated[int, "dimension of the hidden state (H), width of a transformer", ">= 1"] = 512
    layers: Annotated[int, "layers (transformer)", ">= 1", "<= 24"] = 3
    heads: Annotated[int, "attention heads; a divisor of hidden_dim (transformer)", ">= 1"] = 8
    feed_forward_dim: Annotated[int, "dimension of the feed-forward layers (transformer)", ">= 1"] = 2048
    activation: Annotated[Literal["relu", "gelu"], "activation of the feed-forward layers (transformer)"] = "gelu"
    image_input: Annotated[
        Literal["init", "first", "every"],
        "image as h0; first: also first input; every: also in each input",
    ] = "init"
    attention: Annotated[Literal["none", "adaptive"], "attention over image regions"] = "none"
    attention_dim: Annotated[int, "dimension of attention keys (A) (adaptive; recurrent decoders)", ">= 1"] = 256
    dtype: Annotated[Literal["float32", "float64"], "floating-point precision of parameters and arithmetic"] = "float32"
    dropout_features: Annotated[float, "dropout rate of the image feature", ">= 0", "< 1"] = 0.0
    dropout_embedding: Annotated[float, "dropout rate of the word embedding", ">= 0", "< 1"] = 0.0
    dropout_hidden: Annotated[float, "dropout rate of the hidden state before the output layer", ">= 0", "< 1"] = 0.0
    dropout_regions: Annotated[float, "dropout rate of the image regions (adaptive)", ">= 0", "< 1"] = 0.0
    dropout_keys: Annotated[float, "dropout rate of attention keys (adaptive; recurrent decoders)", ">= 0", "< 1"] = 0.0
    dropout_layers: Annotated[float, "dropout rate of the outputs of sublayers (transformer)", ">= 0", "< 1"] = 0.0
    forget_bias: Annotated[float, "initial forget-gate bias (lstm); 1 keeps 73 % of c per step", ">= 0", "<= 1000"] = (
        1.0
    )
    output_bias: Annotated[Literal["zeros", "log_frequency"], "initial output bias"] = "zeros"


@dataclass(frozen=True)
class Train:
    """Optimization."""

    objective: Annotated[Literal["cross_entropy", "self_critical"], "cross-entropy or SCST"] = "cross_entropy"
    init_from: Annotated[
        Path | str | None,
        "run or model file with initial parameters and sizes, relative to this file; or everyday, the default model",
    ] = None
    epochs: Annotated[int, "passes over the training captions", ">= 1"] = 10
    min_epoch_steps: Annotated[int, "an epoch has at least N steps, with several passes over few captions", ">= 1"] = 1
    max_steps: Annotated[int | None, "maximum number of steps within `epochs`; null: no maximum", ">= 1"] = None
    batch_size: Annotated[int, "captions per step", ">= 1"] = 64
    captions_per_image: Annotated[int, "keep N captions of an image together in a batch (cross_entropy)", ">= 1"] = 1
    samples: Annotated[int, "captions sampled per image of a batch (self_critical)", ">= 2"] = 5
    similarity_weight: Annotated[
        float, "weight of the expected similarity in the reward (self_critical)", ">= 0", "<= 1000"
    ] = 0.0
    label_smoothing: Annotated[float, "label smoothing: target probability shared by all words", ">= 0", "< 1"] = 0.0
    ema_decay: Annotated[float | None, "decay of the parameters' moving average; null: no EMA", "> 0", "< 1"] = None
    update_rule: Annotated[Literal["sgd", "sgd_momentum", "rmsprop", "adam", "adamw"], "optimizer"] = "adam"
    learning_rate: Annotated[float, "learning rate before schedule and warm-up", "> 0"] = 1e-3
    weight_decay: Annotated[float, "decoupled weight decay (adamw)", ">= 0"] = 0.0
    clip_norm: Annotated[float | None, "clip gradients to this global norm; null: no clipping", "> 0"] = 5.0
    schedule: Annotated[Literal["constant", "exponential", "cosine"], "learning-rate schedule"] = "constant"
    lr_decay: Annotated[float, "learning-rate factor per epoch (exponential)", "> 0", "<= 1"] = 1.0
    warmup_steps: Annotated[float, "steps of linear learning-rate warm-up; below 1: share of all steps", ">= 0"] = 0.0
    log_every: Annotated[int, "steps between lines of history.jsonl", ">= 1"] = 10
    save_every: Annotated[int | None, "steps between checkpoints; null: only after each epoch", ">= 1"] = None
    patience: Annotated[int | None, "stop after N validations without improvement; null: never", ">= 1"] = None


@dataclass(frozen=True)
class Validate:
    """Validation during training."""

    every: Annotated[int, "epochs between validations", ">= 1"] = 1
    split: Annotated[str, "split to validate on"] = "val"
    score_every: Annotated[int | None, "score captions every N epochs; null: as best_metric requires", ">= 1"] = None
    best_metric: Annotated[
        Literal["loss", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d", None],
        "metric of best.h5; null: cider_d with self_critical or data.captions, else loss",
    ] = None


@dataclass(frozen=True)
class Decode:
    """Decoding of captions."""

    max_length: Annotated[int, "maximum caption length in words", ">= 1", "<= 1000"] = 30
    min_length: Annotated[int, "minimum caption length in words", ">= 0"] = 0
    no_repeat_ngram: Annotated[int | None, "no-repeat n-gram size; null: repeats allowed", ">= 1"] = None
    suppress_words: Annotated[str | None, "banned words, separated by commas"] = None
    suppress_unk: Annotated[bool, "ban <UNK>"] = True
    method: Annotated[Literal["beam", "sampling"], "beam search or random sampling"] = "beam"
    beam_width: Annotated[int, "beam width; 1 is greedy decoding", ">= 1", "<= 1000"] = 1
    length_penalty: Annotated[float, "rank by log-probability / length^N", ">= 0", "<= 10"] = 0.0
    unfamiliar_below: Annotated[float, "outside the training domain: familiarity below N", ">= 0", "<= 100"] = 5.0
    uncertain_below: Annotated[float, "mark as uncertain: expected similarity below N; 0: none", ">= 0", "<= 1"] = 0.0
    guidance_weight: Annotated[float, "weight of the expected share of words in beam search", ">= 0", "<= 100"] = 0.0
    similarity_weight: Annotated[float, "weight of the expected similarity in re-ranking", ">= 0", "<= 1000"] = 0.0
    temperature: Annotated[float, "softmax temperature (sampling)", ">= 0.01", "<= 100"] = 1.0
    top_k: Annotated[int | None, "sample from the N most probable words (sampling); null: all", ">= 1"] = None
    top_p: Annotated[float, "nucleus (top-p) sampling: probability mass to keep (sampling)", "> 0", "<= 1"] = 1.0
    seed: Annotated[int, "random seed (sampling)", ">= 0"] = 0


GUIDED = ("guidance_weight", "similarity_weight")
"""The options of `Decode` that rank captions by the regression of words."""
SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""The options of `Decode` that only sampling uses; they are arguments of `decode.greedy_and_sampling.sample`."""


@dataclass(frozen=True)
class Caption:
    """What is written for an image: by default its best caption alone."""

    n_best: Annotated[int, "write N captions per image; a narrower beam is widened", ">= 1", "<= 100"] = 1
    attention: Annotated[bool, "add the attention weights of the words"] = False
    keywords_above: Annotated[float, "keywords: expected share of at least N; above 1: none", ">= 0", "<= 2"] = 0.2


@dataclass(frozen=True)
class Config:
    """All options of a run; `given` are those that a file or an override set, and `ignored` has a message for each that
    was set without effect.
    """

    seed: Annotated[int, "random seed of initial parameters, batches and dropout", ">= 0"] = 0
    threads: Annotated[int, "threads that compute each batch", ">= 1", "<= 64"] = 2
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    validate: Validate = Validate()
    decode: Decode = Decode()
    caption: Caption = Caption()
    given: frozenset[str] = field(default=frozenset(), compare=False, kw_only=True)
    ignored: Mapping[str, str] = field(default_factory=dict, compare=False, kw_only=True)


ENCODER = "everyday"
"""The default image encoder of `captioner prepare`."""
PHOTO_SIDE = 224
"""The `photo_side` of the default model, to which `captioner prepare` shrinks photographs for its encoder."""
FEW_IMAGES, MIN_COUNT = 1000, 5
"""The default minimum count of a word: 1 below `FEW_IMAGES` images, otherwise `MIN_COUNT`."""


@dataclass(frozen=True)
class Prepare:
    """Options of `captioner prepare`."""

    images: Annotated[
        tuple[Path, ...],
        "folder of the photographs; once for all SOURCEs, or once for each.  [default: the folder of each SOURCE]",
    ] = ()
    encoder: Annotated[
        str | None,
        "image encoder: everyday, scenes for generated scenes, or onnx:FILE with the options :mean, :scale, :size, "
        f":layout and :output.  [default: {ENCODER}]",
    ] = None
    features: Annotated[
        tuple[Path, ...],
        "HDF5 file to read features from, by image name: a data set, or arrays `features`, `images` (the name of each "
        "row) and with --regions `regions`, whose encoder is --encoder; once for all SOURCEs, or once for each",
    ] = ()
    regions: Annotated[bool, "also store the features of image regions, for model.attention"] = False
    image_column: Annotated[str, "column of the image name, or its key in JSON lines"] = "image"
    caption_column: Annotated[str, "column of the caption, or its key in JSON lines"] = "caption"
    split_column: Annotated[str, "column of the split, if present, or its key in JSON lines"] = "split"
    val: Annotated[float, "fraction of images in val, if the source defines no splits", ">= 0", "< 1"] = 0.1
    test: Annotated[float, "fraction of images in test, if the source defines no splits", ">= 0", "< 1"] = 0.0
    seed: Annotated[int, "seed for choosing the splits at random", ">= 0"] = 0
    min_count: Annotated[
        int | None, "replace words that occur fewer than N times in train with <UNK>.  [default: 1 below "
        f"{FEW_IMAGES:,} images, else {MIN_COUNT}]", ">= 1"
    ] = None  # fmt: skip
    max_length: Annotated[int, "truncate captions to N words each", ">= 1"] = 30
    threads: Annotated[int, "threads that encode photographs", ">= 1", "<= 64"] = 2
