"""bnstudy: the batch-normalization exercises of *Dive into Deep Learning*, answered by ablations."""

__version__ = "0.1.0"
