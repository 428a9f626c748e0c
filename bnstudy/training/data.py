"""Fashion-MNIST as one tensor: where it comes from, how it is checked, split, ordered and batched.

The four original files are decoded once into one file of bnstudy's cache: the 70,000 images and then
their 70,000 labels, one byte each, without a header. Its SHA-256 is part of every record, and it is
checked at every load (0.1 s), so that no training ever sees other images.
"""

import gzip
import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from torch import Tensor

from bnstudy import seeds
from bnstudy.errors import BnstudyError, unknown

SETS = ("fashion-mnist", "sample")
SIDE = 28  # pixels of an image's side
SAMPLE_FILE = Path(__file__).parents[1] / "sample.npz"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
NETWORK_SECONDS = 20  # of silence, after which a server counts as dead

Content = npt.NDArray[np.uint8]  # [n * SIDE * SIDE + n]: all images, then all labels
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Spec:
    """What a set must be: how many images it has, training and all, and the SHA-256 of its content."""

    train_size: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """One of the four original files: its unpacked name, the bytes of its header, its unpacked SHA-256."""

    name: str
    header: int
    sha256: str


REAL_SHA256 = "2cbc59191665e1ba3f2494648f17edac5974f748ab89fb2ae05597d658161f54"
SAMPLE_SHA256 = "1e91d9f18a7cf7e90d9d5daa895072087d54aecf5de1a0e7ebf802b7ec274d3c"
SPECS = {"fashion-mnist": Spec(60_000, 70_000, REAL_SHA256), "sample": Spec(2_000, 2_500, SAMPLE_SHA256)}

# Unpacked bytes are compared, not the md5 that torchvision knows for the archives: Debian's archives hold
# the same compressed data without the name and date in the gzip header, so that their md5 differs.
PARTS = (
    Part("train-images-idx3-ubyte", 16, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    Part("t10k-images-idx3-ubyte", 16, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    Part("train-labels-idx1-ubyte", 8, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    Part("t10k-labels-idx1-ubyte", 8, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and labels in memory, the training images first.

    images: uint8 [n, 28, 28]; labels: int64 [n]; train_size: how many of the n are training images;
    sha256: of the bytes of the images and then of the labels (one byte each), whatever the device.
    """

    name: str
    images: Tensor
    labels: Tensor
    train_size: int
    sha256: str

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Split:
    """Indices into the images of a set, int64 [count] each."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load(name: str, path: Path | None = None) -> ImageSet:
    """Return a set by name, its content checked; the real set is never replaced by the sample.

    path: the file that `fetch` returned, by default the one of the cache (the sample needs none).
    Raises BnstudyError for an unknown name and for a missing or damaged file.
    """
    if name not in SETS:
        raise unknown("image set", name, SETS)
    spec = SPECS[name]
    content = _read_sample() if name == "sample" else _read_published(path or cache_file())
    pixels = spec.size * SIDE * SIDE
    return ImageSet(
        name=name,
        images=torch.from_numpy(content[:pixels]).view(-1, SIDE, SIDE),
        labels=torch.from_numpy(content[pixels:]).long(),
        train_size=spec.train_size,
        sha256=spec.sha256,
    )


def split(images: ImageSet, seed: int, *, train_images: int, validation_images: int) -> Split:
    """Return the seed's division of the training images, and all test images.

    The seed fixes one permutation of the training images: validation is its beginning, training is
    what follows, so that fewer training images are a prefix of more. With `validation_images=0`, the
    published protocol, validation is the test set. Raises BnstudyError for sizes that do not fit.
    """
    count = images.train_size
    if train_images < 1 or validation_images < 0 or train_images + validation_images > count:
        raise BnstudyError(
            f"The {count:,} training images of {images.name} cannot give {train_images:,} to train on and"
            f" {validation_images:,} to validate; ask for at least 1 and 0, and for no more than there are."
        )
    shuffled = _permutation(count, seeds.stream(seed, "split"))
    test = torch.arange(count, len(images.images))
    return Split(
        train=shuffled[validation_images : validation_images + train_images],
        validation=shuffled[:validation_images] if validation_images else test,
        test=test,
    )


def order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the positions 0..count-1 of the training images in the order of one epoch, int64 [count]."""
    return _permutation(count, seeds.stream(seed, "order", epoch))


def batch(images: ImageSet, index: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return pixels in [0, 1] and labels, on the device of the set.

    index: int64 [n] into the set gives float [n, 1, 28, 28] and int64 [n]; int64 [n, K], K images to be
    trained side by side, gives float [n, K, 28, 28] and int64 [n, K].
    """
    index = index.to(images.images.device)
    pixels = images.images.index_select(0, index.flatten()).view(len(index), -1, SIDE, SIDE).to(dtype)
    # By a tensor: CUDA turns the division by a Python number into a product, which is off by one bit.
    pixels /= torch.full((), 255, dtype=dtype, device=pixels.device)
    return pixels, images.labels.index_select(0, index.flatten()).view(index.shape)


def cache_file() -> Path:
    """Return where the checked copy is kept: in BNSTUDY_CACHE, else in the user's cache folder."""
    folder = os.environ.get("BNSTUDY_CACHE") or user_cache_path("bnstudy", appauthor=False)
    return Path(folder).absolute() / "fashion-mnist.bin"


def _permutation(count: int, stream: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(stream))


def _read_sample() -> Content:
    try:
        with np.load(SAMPLE_FILE, allow_pickle=False) as arrays:
            content: Content = np.concatenate([arrays["images"].ravel(), arrays["labels"]])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BnstudyError(f"{SAMPLE_FILE} cannot be read ({error}); install bnstudy again.") from error
    return _checked(content, "sample", SAMPLE_FILE, "install bnstudy again")


def _read_published(path: Path) -> Content:
    try:
        content: Content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise BnstudyError(f"{path} is not there yet; `bnstudy data` makes it.") from None
    except OSError as error:
        raise BnstudyError(f"{path} cannot be read ({error}); `bnstudy data` makes it again.") from error
    return _checked(content, "fashion-mnist", path, "`bnstudy data` makes it again")


def _checked(content: Content, name: str, place: Path, advice: str) -> Content:
    found, expected = hashlib.sha256(content.data).hexdigest(), SPECS[name].sha256
    if found != expected:
        raise BnstudyError(
            f"{place} does not hold {name}: its {content.size:,} bytes have the SHA-256 {found[:12]}...,"
            f" not {expected[:12]}...; {advice}."
        )
    return content


@dataclass(frozen=True)
class Source:
    """A place that Fashion-MNIST may come from; `note` says why not, or what is not known yet."""

    kind: str
    place: str
    available: bool
    note: str


def fetch(data_dir: Path | None = None, notify: Notify = lambda _: None) -> Path:
    """Return the checked file of Fashion-MNIST in bnstudy's cache, made first where it has to be.

    data_dir: a folder with the four original files, packed or unpacked; it must be good if it is given.
    Otherwise the cache, the system's copy, torchvision's mirror and Debian's package are tried in this
    order. Several processes may call at once: one works, the others wait.
    Raises BnstudyError with every source that failed and its reason.
    """
    content = None if data_dir is None else _from_folder(data_dir)
    return _kept(lambda: _from_elsewhere(notify) if content is None else content, notify)


def receive(content: Content) -> Path:
    """Return the checked file in this machine's cache, of what another machine sent where there is none."""
    sender = Path("the coordinator")
    return _kept(lambda: _checked(content, "fashion-mnist", sender, "run the command again"), lambda _: None)


def _kept(find: Callable[[], Content], notify: Notify) -> Path:
    """Return the cache's file, made of what is found where it is missing or damaged."""
    target = cache_file()
    if _is_sound(target, notify):
        return target
    with _locked(target, notify):
        if not _is_sound(target, notify=lambda _: None):
            _publish(find(), target)
            notify(f"Fashion-MNIST is checked and kept in {target}.")
    return target


def where(data_dir: Path | None = None) -> tuple[Source, ...]:
    """Return the five sources in the order of `fetch`, without any download; only the cache is checked."""
    cache, network = cache_file(), "not tried, needs the network"
    return (
        _source("data-dir", data_dir or "", lambda: _locate_given(data_dir), "not checked yet"),
        _source("cache", cache, lambda: _read_published(cache), "checked"),
        _source("system", SYSTEM_FOLDER, lambda: _locate(SYSTEM_FOLDER), "not checked yet"),
        _source("mirror", "torchvision", _require_torchvision, network),
        _source("debian package", DEBIAN_PACKAGE, _require_apt, f"{network}, not root"),
    )


def _source(kind: str, place: Path | str, check: Callable[[], object], note: str) -> Source:
    try:
        check()
    except BnstudyError as error:
        return Source(kind, str(place), available=False, note=str(error))
    return Source(kind, str(place), available=True, note=note)


def _locate_given(data_dir: Path | None) -> list[Path]:
    if data_dir is None:
        raise BnstudyError("no folder was given")
    return _locate(data_dir)


def _is_sound(target: Path, notify: Notify) -> bool:
    if not os.path.exists(target):
        return False
    try:
        _read_published(target)
    except BnstudyError as error:
        notify(f"{error} Doing so now.")
        return False
    return True


@contextmanager
def _locked(target: Path, notify: Notify) -> Iterator[None]:
    """Hold the lock beside `target`, whose folder is made."""
    lock = FileLock(target.with_suffix(".lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            notify("Another process is fetching Fashion-MNIST; waiting for it.")
            lock.acquire()
    except OSError as error:
        raise _unwritable(target.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _publish(content: Content, target: Path) -> None:
    """Write under a temporary name, flush to disk and rename; the caller holds the lock.

    The temporary name is fixed, so that what a killed process left is overwritten by the next one.
    """
    temporary = target.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(target.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> BnstudyError:
    return BnstudyError(
        f"bnstudy's cache {folder} cannot be written ({error.strerror or error});"
        " set the environment variable BNSTUDY_CACHE to a folder that can."
    )


def _from_elsewhere(notify: Notify) -> Content:
    """Return the content from the first source that has it, the given folder and the cache left aside."""
    failures = []
    for kind, source in {
        "the system's copy": _from_system,
        "torchvision's mirror": _from_mirror,
        "Debian's package": _from_debian,
    }.items():
        try:
            return source(notify)
        except (BnstudyError, OSError) as error:
            failures.append(f"{kind}: {str(error).rstrip('.')}")
            notify(f"Not from {failures[-1]}.")
    raise BnstudyError(
        f"Fashion-MNIST was not found ({'; '.join(failures)}); give a folder with its four .gz files as"
        f" --data-dir, or install the Debian package {DEBIAN_PACKAGE}."
    )


def _from_folder(folder: Path) -> Content:
    paths = zip(_locate(folder), PARTS, strict=True)
    content: Content = np.concatenate([_read_part(path, part) for path, part in paths])
    return _checked(content, "fashion-mnist", folder, "copy its files again")


def _locate(folder: Path) -> list[Path]:
    """Return the paths of the four files, packed or not, in `folder` or in torchvision's place below it."""
    if not os.path.isdir(folder):
        raise BnstudyError(f"there is no folder {folder}.")
    for place in (folder, folder / "FashionMNIST" / "raw"):
        found = [_packed_or_not(place / part.name) for part in PARTS]
        if any(map(os.path.isfile, found)):
            missing = [path for path in found if not path.is_file()]
            if missing:
                raise BnstudyError(f"{missing[0]} is missing, packed (.gz) or unpacked; copy it there.")
            return found
    names = ", ".join(f"{part.name}.gz" for part in PARTS)
    raise BnstudyError(f"{folder} holds none of the four files {names}.")


def _packed_or_not(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    return packed if os.path.isfile(packed) else path


def _read_part(path: Path, part: Part) -> Content:
    """Return the data of one original file without its header."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BnstudyError(f"{path} is damaged or cannot be read ({error}); copy it again.") from error
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise BnstudyError(f"{path} is damaged or another file: its SHA-256 is wrong; copy it again.")
    return np.frombuffer(data, dtype=np.uint8, offset=part.header)


def _from_system(_: Notify) -> Content:
    return _from_folder(SYSTEM_FOLDER)


def _require_torchvision() -> None:
    if importlib.util.find_spec("torchvision") is None:
        raise BnstudyError("torchvision is not installed.")


def _from_mirror(notify: Notify) -> Content:
    notify("Downloading Fashion-MNIST (31 MB) from torchvision's mirror.")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_SECONDS)  # torchvision itself would wait forever
    try:
        # Standard output belongs to results; some versions of torchvision print there.
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            importlib.import_module("torchvision.datasets").FashionMNIST(folder, download=True)
            return _from_folder(Path(folder))
    except (ImportError, RuntimeError, HTTPException) as error:
        raise BnstudyError(_last_line(str(error)) or repr(error)) from error
    finally:
        socket.setdefaulttimeout(patience)


def _require_apt() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise BnstudyError("there is no apt-get and dpkg-deb on this system.")


def _from_debian(notify: Notify) -> Content:
    """Download and unpack Debian's package in a temporary folder; needs no root and installs nothing."""
    _require_apt()
    notify(f"Downloading Fashion-MNIST (31 MB) as the Debian package {DEBIAN_PACKAGE}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            _apt_get(folder, "download", DEBIAN_PACKAGE)
        except BnstudyError as error:
            notify(f"Fetching fresh package lists, since those of the system cannot be used ({error}).")
            _download_with_fresh_lists(folder)
        _command(folder, "dpkg-deb", "-x", *map(str, folder.glob("*.deb")), "root")
        return _from_folder(folder / "root" / SYSTEM_FOLDER.relative_to("/"))


def _download_with_fresh_lists(folder: Path) -> None:
    """Download the package by lists of our own: those of a new container are empty, old ones may be stale."""
    (folder / "lists" / "partial").mkdir(parents=True)
    lists = f"Dir::State::Lists={folder / 'lists'}"
    stale: BnstudyError | None = None
    try:
        _apt_get(folder, "-o", lists, "-o", "APT::Update::Error-Mode=any", "update")
    except BnstudyError as error:
        stale = error  # one archive of a third party that is down is enough for this: try all the same
    try:
        _apt_get(folder, "-o", lists, "download", DEBIAN_PACKAGE)
    except BnstudyError as error:
        raise stale or error from error


def _apt_get(folder: Path, *arguments: str) -> None:
    """Run apt-get so that it writes to `folder` only and gives up on dead servers."""
    options = (
        f"Dir::Cache={folder / 'cache'}",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=root",  # its own user could not write to our folder
        "Acquire::Languages=none",
        "Acquire::Retries=0",
        f"Acquire::http::Timeout={NETWORK_SECONDS}",
        f"Acquire::https::Timeout={NETWORK_SECONDS}",
    )
    (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    _command(folder, "apt-get", "-q", *(word for option in options for word in ("-o", option)), *arguments)


def _command(folder: Path, *words: str) -> None:
    """Run a command in `folder`; raises BnstudyError with its first complaint."""
    plain = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        words, cwd=folder, env=plain, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise BnstudyError(f"{words[0]}: {(complaints or [_last_line(done.stderr)])[0]}")


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
