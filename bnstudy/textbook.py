"""The textbook's own code, timed: `python -m bnstudy.textbook IMAGES EPOCHS` prints images a second."""

import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from bnstudy import data


def raw_folder(images: data.ImageSet, folder: Path) -> None:
    """Write the images as the unpacked files that torchvision, and d2l with it, looks for."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    parts = {"train": slice(0, images.train_size), "t10k": slice(images.train_size, None)}
    for name, part in parts.items():
        pixels, labels = images.images[part].numpy(), images.labels[part].byte().numpy()
        head = b"".join(n.to_bytes(4, "big") for n in (2051, len(pixels), 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = b"".join(n.to_bytes(4, "big") for n in (2049, len(labels)))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def rate(path: Path, epochs: int) -> float:
    """Return the images a second of `d2l.train_ch6` on BN-LeNet at batch 256, with all it does around it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from d2l import torch as d2l

    from bnstudy.bench import textbook_lenet

    with tempfile.TemporaryDirectory() as folder:
        raw_folder(data.load("fashion-mnist", path), Path(folder) / "data")
        here = Path(folder) / "notebook"
        here.mkdir()
        os.chdir(here)  # d2l reads ../data
        loaders = d2l.load_data_fashion_mnist(256)
        start = time.perf_counter()
        d2l.train_ch6(textbook_lenet(), *loaders, epochs, 1.0, torch.device("cpu"))
        return 60_000 * epochs / (time.perf_counter() - start)


if __name__ == "__main__":
    print(rate(Path(sys.argv[1]), int(sys.argv[2])))
