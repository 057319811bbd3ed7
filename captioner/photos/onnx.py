"""ONNX image models as encoders, run by onnxruntime."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL.Image import Image

from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.data.encoder_identity import Recipe
from captioner.errors import DataError, UsageError, printable
from captioner.files.user_files import read_bytes
from captioner.photos.photo import square

BYTES = 1 << 31
EVERYDAY = DEFAULT_MODEL.with_suffix(".onnx")
"""The default encoder: EfficientNet-Lite2, its upper blocks tuned on captions by models/tune_encoder.py."""
SHA256 = "31df4b4e125b038539a475a194f45ff8f1f8d381ec70b67fdbdf38de24bdb581"
SETTINGS = {"mean": "127", "scale": "128", "output": "features"}
REGIONS = "regions"
"""The name of an output (N, R, rows, columns) that is the regions of an image."""
IMAGENET = "onnx:FILE:mean=123.675/116.28/103.53:scale=58.395/57.12/57.375"
"""The preprocessing of torchvision models, as a recipe."""
LARGEST_SIDE = 4096
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
SILENT = 4
"""The log level of onnxruntime that prints only fatal errors."""
LARGEST = float(np.finfo(np.float32).max)


class Settings(NamedTuple):
    """Preprocessing, (pixels - mean) / scale with pixels from 0 to 255, and the name of the output."""

    size: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    layout: str
    output: str

    def __str__(self) -> str:
        # 127.0 -> 127, without loss of digits, as the numbers are part of the identity
        mean, scale = ("/".join(repr(x).removesuffix(".0") for x in numbers) for numbers in (self.mean, self.scale))
        return f"size={self.size},mean={mean},scale={scale},layout={self.layout},output={_quoted(self.output)}"


class OnnxEncoder:
    """An ONNX model with its preprocessing; an output `regions` (N, R, rows, columns) is its regions.

    Raises: DataError if onnxruntime rejects the model; UsageError if an option is missing or wrong.
    """

    regions: tuple[int, int, int] | None = None

    def __init__(
        self,
        model: bytes,
        name: str,
        options: Mapping[str, str],
        identity: str | None = None,
    ) -> None:
        setup = onnxruntime.SessionOptions()
        setup.intra_op_num_threads = setup.inter_op_num_threads = 1  # photographs are distributed over threads instead
        setup.log_severity_level = SILENT
        setup.add_session_config_entry("session.load_model_format", "ONNX")
        # no weights from external files, which `identity` would not cover: no file is in the folder /dev/null, and
        # onnxruntime refuses absolute paths
        setup.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            # the fallback to another provider would print
            self._session = onnxruntime.InferenceSession(
                model, setup, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        except Exception as error:
            raise DataError(
                f"{name}: expected an ONNX model with all weights in this file, got one that onnxruntime rejects: "
                f"{_line(error)}"
            ) from error
        self._name = name
        try:
            self._settings = _settings(self._session, name, options)
            (entry,) = self._session.get_inputs()
            self._input = entry.name
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: expected an ONNX model with UTF-8 names: {_line(error)}") from error
        self._kind = FLOATS[entry.type]
        channels = (-1, 1, 1) if self._settings.layout == "nchw" else (-1,)
        self._mean, self._scale = (
            np.array(x, np.float32).reshape(channels) for x in (self._settings.mean, self._settings.scale)
        )
        self.side = self._settings.size
        self._outputs = [self._settings.output, *(each.name for each in self._session.get_outputs() if _is_grid(each))]
        shape = (3, self.side, self.side) if self._settings.layout == "nchw" else (self.side, self.side, 3)
        # ones, as models that normalize their output would divide zeros by 0
        features, grid = self._run(np.ones(shape, self._kind))
        self.width = len(features)
        if grid is not None:
            self.regions = grid.shape
        self.identity = identity or f"onnx:{_quoted(name)},{self._settings},sha256={hashlib.sha256(model).hexdigest()}"

    def prepare(self, photo: Image) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # encode reports values that are not finite
            pixels = np.asarray(square(photo, self.side))
            if self._settings.layout == "nchw":  # transposing bytes is faster than transposing floats
                pixels = pixels.transpose(2, 0, 1)
            floats = pixels.astype(np.float32, order="C")
            floats -= self._mean
            floats /= self._scale
            return floats.astype(self._kind, copy=False)

    def encode(self, prepared: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Encode one image: it fits in the cache, which is three times as fast as a batch.

        Raises: DataError if the model fails, or does not return one finite vector of the same width for every image.
        """
        features, grid = self._run(prepared)
        if len(features) != self.width or (grid is not None and grid.shape != self.regions):
            raise DataError(f"{self._name}: expected outputs of the same shapes for every image, got others")
        return features, grid

    def _run(self, prepared: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        options = onnxruntime.RunOptions()
        options.log_severity_level = SILENT
        try:
            out, *maps = self._session.run(self._outputs, {self._input: prepared[None]}, options)
        except Exception as error:
            raise DataError(f"{self._name}: the model fails: {_line(error)}") from error
        shape, where = np.shape(out), f"{self._name}: output {_line(self._settings.output)}"
        if len(shape) < 2 or shape[0] != 1 or np.size(out) != max(shape[1:]) or not np.size(out):
            raise DataError(
                f"{where}: expected one vector per image, got {shape}; choose a pooled output with the option output"
            )
        if maps and (len(maps[0]) != 1 or not maps[0].size):
            raise DataError(f"{self._name}: output {REGIONS}: expected one grid per image, got {maps[0].shape}")
        for output, array in zip(self._outputs, (out, *maps), strict=True):
            if not np.isfinite(array).all():
                raise DataError(f"{self._name}: output {_line(output)}: a number is not finite; check mean and scale")
        grid = np.ascontiguousarray(maps[0][0].transpose(1, 2, 0), np.float32) if maps else None
        return np.asarray(out, np.float32).ravel(), grid


def open_everyday(name: str, file: str, options: Mapping[str, str]) -> OnnxEncoder:
    """Open the default encoder. Raises: UsageError for options; DataError for another file than that of captioner."""
    if options:
        raise UsageError(f"encoder {name}: option {min(options)}: unknown; expected no options")
    content = read_bytes(EVERYDAY, BYTES, expected="the image encoder of captioner, which a fresh copy has")
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise DataError(
            f"{EVERYDAY}: expected the image encoder of captioner, SHA-256 {SHA256:.16}..., got {digest:.16}...; "
            "restore it from a fresh copy of captioner"
        )
    return OnnxEncoder(content, name, SETTINGS, f"{name},sha256={digest}")


def open_onnx(name: str, file: str, options: Mapping[str, str]) -> OnnxEncoder:
    """Open the encoder `onnx:FILE`.

    Raises: UsageError without a file or for its options; DataError for the file; as `OnnxEncoder`.
    """
    if not file:
        raise UsageError(f"encoder {name}: expected {name}:FILE, got no file")
    return OnnxEncoder(read_bytes(file, BYTES, expected="an ONNX model"), Path(file).name, options)


def _is_grid(output: Any) -> bool:
    return bool(output.name == REGIONS and len(output.shape) == 4 and output.type in FLOATS)


def _settings(session: Any, name: str, options: Mapping[str, str]) -> Settings:
    """Read the settings from the options, or else from the input shape."""
    if unknown := options.keys() - set(Settings._fields):
        known = ", ".join(Settings._fields)
        raise UsageError(f"{name}: option {_line(min(unknown))}: unknown; expected {known}")
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in FLOATS:
        got = _line("; ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs) or "none")
        raise DataError(f"{name}: expected one input of floats (images, channels, height, width), got {got}")
    shape = inputs[0].shape
    layout = options.get("layout", "nhwc" if shape[3] == 3 else "nchw" if shape[1] == 3 else None)
    if layout not in ("nchw", "nhwc"):
        raise UsageError(
            f"{name}: layout: expected nchw or nhwc, got {_line(layout)}; use --encoder onnx:FILE:layout=nchw"
        )
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    size = options.get("size", height if isinstance(height, int) else None)
    if not re.fullmatch("[0-9]{1,9}", str(size)) or not 1 <= int(str(size)) <= LARGEST_SIDE:
        raise UsageError(
            f"{name}: size: expected the pixels of a side (1 to {LARGEST_SIDE}), got {_line(size)}; "
            "use --encoder onnx:FILE:size=224"
        )
    side = int(str(size))
    if any(isinstance(fixed, int) and fixed != side for fixed in (height, width)):
        raise UsageError(f"{name}: size: expected {height} x {width} as in the model, a square, got {side}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise DataError(f"{name}: expected an input batch size of 1 or any, got {shape[0]}")
    mean, scale = (_numbers(name, key, options.get(key)) for key in ("mean", "scale"))
    if 0 in np.array(scale, np.float32):
        raise UsageError(f"{name}: scale: expected numbers other than 0, got {_line(options['scale'])}")
    outputs = [entry.name for entry in session.get_outputs() if entry.type in FLOATS and not _is_grid(entry)]
    if not outputs:
        types = [entry.type for entry in session.get_outputs()]
        raise DataError(f"{name}: expected an output of floats, a vector, besides {REGIONS}, got {_line(types)}")
    output = options.get("output", outputs[0] if len(outputs) == 1 else None)
    if output is None or output not in outputs:
        raise UsageError(
            f"{name}: output: expected {_line(' or '.join(outputs))}, got {_line(output)}; "
            f"use --encoder {_line(Recipe('onnx', 'FILE', {'output': outputs[0]}))}"
        )
    return Settings(side, mean, scale, layout, output)


def _numbers(name: str, key: str, text: str | None) -> tuple[float, ...]:
    """Parse one number per channel, or one for all channels."""
    try:
        numbers = tuple(float(part) for part in (text or "").split("/"))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(abs(x) <= LARGEST for x in numbers):
        raise UsageError(
            f"{name}: {key}: expected one number, or three separated by /, in units of pixels (0 to 255), "
            f"got {_line(text)}; for torchvision models use --encoder {IMAGENET}"
        )
    return numbers


def _quoted(name: str) -> str:
    return quote(name, safe=" /:", errors="surrogateescape")


def _line(text: object) -> str:
    """Shorten a text from a model or an exception to one printable line."""
    return printable(" ".join(str("nothing" if text is None else text).split()), 160)
