"""The encoder registry: names are opened or rejected with a one-line error."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.data.scenes.encoder import ENCODER, SIDE, encode, encode_regions
from captioner.errors import UsageError
from captioner.extras import install_command
from captioner.images import ENCODERS, MAX_PARTS, open_encoder
from captioner.images.photo import square
from captioner.images.recipe import SHORT_NAMES


def error_of(name: str, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        open_encoder(name, options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_every_encoder_is_a_function() -> None:
    for module, function in ENCODERS.values():
        assert callable(getattr(import_module(module), function))


def test_an_unknown_encoder_is_rejected_with_the_available_ones() -> None:
    expected = "expected scenes, efficientnet-lite0, efficientnet-lite2, onnx:FILE, richer, got "
    assert error_of("vgg16") == f"encoder vgg16: {expected}vgg16"
    assert error_of("vgg16:a.onnx") == f"encoder vgg16:a.onnx: {expected}vgg16"
    assert (
        error_of("scenes+vgg16+") == "encoder scenes+vgg16+: expected an encoder before and after each +, got nothing"
    )
    assert error_of("scenes+vgg16:mirror") == f"encoder vgg16:mirror: {expected}vgg16"


def test_the_number_of_encoders_is_bounded() -> None:
    assert open_encoder("+".join(["scenes"] * MAX_PARTS)).width == 231 * MAX_PARTS
    message = "encoder: expected at most 16 encoders joined by +, got 17"
    assert error_of("+".join(["scenes"] * (MAX_PARTS + 1))) == message


def test_unsupported_arguments_are_rejected() -> None:
    unknown = "unknown; expected mirror"
    assert error_of("scenes:a.onnx") == f"encoder scenes: option a.onnx: {unknown}"
    assert error_of("scenes", size="3") == f"encoder scenes: option size: {unknown}"
    unknown = "unknown; expected size or mirror; use onnx:FILE for other models"
    assert error_of("efficientnet-lite0:a.pth") == f"encoder efficientnet-lite0: option a.pth: {unknown}"
    assert error_of("efficientnet-lite2", size="3", mean="0") == f"encoder efficientnet-lite2: option mean: {unknown}"
    assert error_of("scenes:mirror=no") == "encoder scenes:mirror=no: option mirror: expected no value, got no"
    assert error_of("onnx") == error_of("onnx:") == "encoder onnx: expected onnx:FILE, got no file"


@pytest.mark.parametrize(("name", "missing"), [("onnx:a.onnx", "onnxruntime"), ("efficientnet-lite0", "onnxruntime")])
def test_a_missing_library_is_reported(name: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("captioner.images.onnx", "captioner.images.efficientnet"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    message = error_of(name)
    assert message == f"encoder {name}: needs {missing}, which is not installed; try {install_command()}"


def test_a_missing_pillow_is_reported(
    shell: Callable[..., subprocess.CompletedProcess[Any]],
) -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from captioner.images import open_encoder\n"
        "from captioner.errors import UsageError\n"
        "try: open_encoder('scenes')\n"
        "except UsageError as error: print(error)\n"
    )
    done = shell(code=code)
    pattern = r"encoder scenes: needs PIL(\.\w+)?, which is not installed; try "
    assert re.fullmatch(pattern + re.escape(f"{install_command()}\n"), done.stdout)
    assert done.stderr == ""


BROKEN = "raise ImportError('numpy.core.multiarray failed to import\\n\\x1b[31m')\n"


@pytest.mark.parametrize(("name", "library"), [("scenes", "PIL"), ("onnx:a.onnx", "onnxruntime")])
def test_a_broken_library_is_reported(
    name: str, library: str, shell: Callable[..., subprocess.CompletedProcess[Any]], tmp_path: Path
) -> None:
    """As for onnxruntime 1.17 with NumPy 2: installed, but the import fails."""
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text(BROKEN)
    code = f"from captioner.images import open_encoder\nopen_encoder({name!r})"
    done = shell(code=code, env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path))})
    assert done.stderr.splitlines()[-1] == (
        f"captioner.errors.MissingLibraryError: encoder {name}: needs {library}, which cannot be imported "
        f"(numpy.core.multiarray failed to import\\n\\x1b[31m); try {install_command('images', '--upgrade')}"
    )


def test_an_import_error_inside_captioner_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "odd", ("captioner.images.nothing", "open"))
    with pytest.raises(ModuleNotFoundError, match=r"captioner\.images\.nothing"):
        open_encoder("odd")


def test_the_scenes_encoder() -> None:
    encoder = open_encoder("scenes")
    assert (encoder.identity, encoder.width, encoder.side) == (ENCODER, 231, SIDE)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    batch = np.stack([encoder.prepare(Image.fromarray(one)) for one in pixels])
    np.testing.assert_array_equal(batch, pixels)
    np.testing.assert_array_equal(encoder.encode(batch), encode(pixels))
    features, regions = encoder.encode_with_regions(list(batch))
    np.testing.assert_array_equal(features, encode(pixels))
    np.testing.assert_array_equal(regions, encode_regions(pixels))
    assert encoder.regions == (3, 3, 77)
    photo = Image.fromarray(pixels[0]).resize((100, 70))
    np.testing.assert_array_equal(encoder.prepare(photo), np.asarray(square(photo, SIDE)))


def test_the_help_lists_all_encoders() -> None:
    from captioner.config.options import Prepare

    hint = Prepare.__annotations__["encoder"]
    assert all(re.search(rf"\b{name}\b", str(hint)) for name in (*ENCODERS, *SHORT_NAMES))
