"""Make bnstudy/sample.npz out of Fashion-MNIST: `python tests/make_sample.py`, then pin the SHA-256."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from bnstudy.training import data

TRAIN_PER_CLASS, TEST_PER_CLASS = 200, 50


def chosen(images: data.ImageSet) -> Tensor:
    """Return the indices of the sample: the first images of every class, in the order of the set."""
    train, test = images.labels[: images.train_size], images.labels[images.train_size :]
    return torch.cat([_first(train, TRAIN_PER_CLASS), images.train_size + _first(test, TEST_PER_CLASS)])


def _first(labels: Tensor, per_class: int) -> Tensor:
    members = [(labels == label).nonzero().flatten()[:per_class] for label in range(10)]
    return torch.cat(members).sort().values


def main() -> None:
    """Write the sample and print the SHA-256 that `bnstudy.training.data` must know."""
    real = data.load("fashion-mnist", data.fetch(notify=print))
    index = chosen(real)
    images, labels = real.images[index].numpy(), real.labels[index].numpy().astype(np.uint8)
    np.savez_compressed(data.SAMPLE_FILE, images=images, labels=labels)
    print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
