"""Makes model files for `benchmarks.registry`. Runs in the peer's environment, which has the libraries.

    python model_files.py FOLDER SCALE

`FOLDER/mix` is what a registry holds: a checkpoint as PyTorch writes it, large arrays by joblib and numpy, many small
scikit-learn models. `FOLDER/opcodes` is the worst case: pickles of plain data, with hardly a byte that is no opcode.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
from sklearn import ensemble, linear_model, pipeline, preprocessing

TENSORS = 12
TENSOR_BYTES = 25 << 20
ARRAY_ROWS = 12_000_000
SMALL_MODELS = 300


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def tensor(key: str, count: int) -> bytes:
    """The opcodes with which torch.save describes a tensor of 32-bit numbers."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"J"
    shape = b"J" + struct.pack("<i", count)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + struct.pack("<i", count) + b"tQK\0" + shape
        + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def checkpoint(path: Path, size: int) -> None:
    names = [f"layers.{number}.weight" for number in range(TENSORS)]
    items = b"".join(text(name) + tensor(str(number), size // 4) for number, name in enumerate(names))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u.")
        for number in range(TENSORS):
            archive.writestr(f"archive/data/{number}", np.random.default_rng(number).bytes(size))
        archive.writestr("archive/version", "3\n")


def models(folder: Path, count: int) -> None:
    """Small models of three kinds."""
    numbers = np.random.default_rng(0)
    inputs = numbers.normal(size=(300, 10))
    labels = (inputs[:, 0] > 0).astype(int)
    kinds = [
        ensemble.RandomForestClassifier(20, max_depth=6),
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        ensemble.HistGradientBoostingClassifier(max_iter=20),
    ]
    made = [pickle.dumps(kind.fit(inputs, labels), 5) for kind in kinds]
    for number in range(count):
        (folder / f"model{number}.pkl").write_bytes(made[number % len(made)])


def main() -> None:
    root, scale = Path(sys.argv[1]), float(sys.argv[2])
    mix, opcodes = root / "mix", root / "opcodes"
    mix.mkdir(parents=True)
    opcodes.mkdir()
    checkpoint(mix / "checkpoint.pt", int(TENSOR_BYTES * scale) // 4 * 4)
    rows = int(ARRAY_ROWS * scale)
    numbers = np.random.default_rng(1).normal(size=rows)
    joblib.dump({"weights": numbers, "names": ["a", "b"]}, mix / "arrays.joblib")
    joblib.dump({"weights": numbers[: rows // 8].round(2)}, mix / "packed.joblib", compress=("zlib", 3))
    np.savez_compressed(mix / "packed.npz", weights=numbers[: rows // 8].round(2))
    models(mix, int(SMALL_MODELS * scale))
    draw = random.Random(0)
    words = {f"word{number}": number for number in range(int(500_000 * scale))}
    floats = [draw.random() for _ in range(int(1_000_000 * scale))]
    records = [(number, str(number), number / 3) for number in range(int(200_000 * scale))]
    for name, value in (("words", words), ("floats", floats), ("records", records)):
        buffer = io.BytesIO()
        pickle.dump(value, buffer, 4)
        (opcodes / f"{name}.pkl").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
