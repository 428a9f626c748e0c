"""The textbook's own code, timed.

`python -m bnstudy.commands.textbook IMAGES EPOCHS CASE` prints images a second.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from bnstudy.training import data


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


def rate(path: Path, epochs: int, case: str) -> float:
    """Return the images a second of `d2l.train_ch6` on a case of `peers`, with all it does around it.

    Its loop makes an SGD: for Adam it is handed the other class under that name.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from d2l import torch as d2l

    from bnstudy.commands.peers import CASES, textbook_lenet

    recipe = CASES[case].recipe(epochs)
    if recipe.optimizer == "adam":
        setattr(torch.optim, "SGD", torch.optim.Adam)  # noqa: B010

    with tempfile.TemporaryDirectory() as folder:
        raw_folder(data.load("fashion-mnist", path), Path(folder) / "data")
        here = Path(folder) / "notebook"
        here.mkdir()
        os.chdir(here)  # d2l reads ../data
        loaders = d2l.load_data_fashion_mnist(recipe.batch_size)
        start = time.perf_counter()
        d2l.train_ch6(textbook_lenet(recipe), *loaders, epochs, 1.0, torch.device("cpu"))
        return 60_000 * epochs / (time.perf_counter() - start)


if __name__ == "__main__":
    print(rate(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
