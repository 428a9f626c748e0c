"""Images: every source ends in the same checked file, and a seed fixes who trains on what and in which order.

Most tests use a fake Fashion-MNIST of 60 + 20 images whose hashes replace the pinned ones; tests that
take the fixture `real` read the set of this machine or fetch it, and are skipped with the reason.
"""

import errno
import gzip
import hashlib
import io
import multiprocessing
import os
import runpy
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnstudy.errors import BnstudyError
from bnstudy.training import data

TRAIN, TEST = 60, 20
PIXELS = data.SIDE**2
Damage = Callable[[bytes], bytes]
posix_only = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for apt-get are shell scripts")


def fake_files() -> dict[str, bytes]:
    """The four unpacked files of a small set, always the same."""
    generator = np.random.default_rng(0)
    files = {}
    for part in data.PARTS:
        count = TRAIN if part.name.startswith("train") else TEST
        if "images" in part.name:
            pixels = generator.integers(0, 256, count * PIXELS, dtype=np.uint8)
            files[part.name] = struct.pack(">4i", 2051, count, data.SIDE, data.SIDE) + pixels.tobytes()
        else:
            files[part.name] = struct.pack(">2i", 2049, count) + bytes(i % 10 for i in range(count))
    return files


def fake_content() -> bytes:
    files = fake_files()
    return b"".join(files[part.name][part.header :] for part in data.PARTS)


def use_fake(patch: pytest.MonkeyPatch) -> None:
    files = fake_files()
    parts = [data.Part(p.name, p.header, hashlib.sha256(files[p.name]).hexdigest()) for p in data.PARTS]
    spec = data.Spec(TRAIN, TRAIN + TEST, hashlib.sha256(fake_content()).hexdigest())
    patch.setattr(data, "PARTS", tuple(parts))
    patch.setitem(data.SPECS, "fashion-mnist", spec)


def write_set(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, content in fake_files().items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def failing(reason: str) -> Callable[[data.Notify], data.Content]:
    def source(_: data.Notify) -> data.Content:
        raise BnstudyError(reason)

    return source


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test, not made yet."""
    monkeypatch.setenv("BNSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the fake set, packed; no other source works."""
    use_fake(monkeypatch)
    monkeypatch.setattr(data, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(data, "_from_mirror", failing("no network"))
    monkeypatch.setattr(data, "_from_debian", failing("no apt-get"))
    return write_set(tmp_path / "given")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[data.ImageSet]:
    """Fashion-MNIST: from this machine's cache where that is good, else fetched for this session."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(source.kind == "cache" and source.available for source in data.where()):
            patch.setenv("BNSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            images = data.load("fashion-mnist", data.fetch())
        except BnstudyError as error:
            pytest.skip(str(error))
    yield images


def some_images(train: int = TRAIN, test: int = TEST) -> data.ImageSet:
    """A set of which pixel 0 and the label tell the position, up to 255."""
    position = torch.arange(train + test)
    images = position.to(torch.uint8)[:, None, None].expand(-1, data.SIDE, data.SIDE).contiguous()
    return data.ImageSet("some", images, position, train, "0")


class TestSample:
    def test_has_200_training_and_50_test_images_of_every_class(self) -> None:
        sample = data.load("sample")
        assert sample.images.shape == (2500, 28, 28) and sample.images.dtype == torch.uint8
        assert sample.labels.dtype == torch.int64
        assert sample.labels[: sample.train_size].bincount().tolist() == [200] * 10
        assert sample.labels[sample.train_size :].bincount().tolist() == [50] * 10

    def test_is_about_a_megabyte(self) -> None:
        assert data.SAMPLE_FILE.stat().st_size < 1.2e6

    def test_is_what_the_script_makes(self, real: data.ImageSet) -> None:
        index = runpy.run_path(str(Path(__file__).with_name("make_sample.py")))["chosen"](real)
        sample = data.load("sample")
        assert torch.equal(sample.images, real.images[index])
        assert torch.equal(sample.labels, real.labels[index])

    @pytest.mark.parametrize("damage", [lambda old: old[:-100], lambda old: b"", lambda old: b"text"])
    def test_damaged_says_so(self, damage: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        copy = tmp_path / "sample.npz"
        copy.write_bytes(damage(data.SAMPLE_FILE.read_bytes()))
        monkeypatch.setattr(data, "SAMPLE_FILE", copy)
        with pytest.raises(BnstudyError, match=r"sample\.npz .*install bnstudy again"):
            data.load("sample")

    def test_of_other_images_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data, "SAMPLE_FILE", tmp_path / "sample.npz")
        np.savez(data.SAMPLE_FILE, images=np.zeros((2500, 28, 28), np.uint8), labels=np.zeros(2500, np.uint8))
        with pytest.raises(BnstudyError, match="does not hold sample"):
            data.load("sample")


class TestReal:
    def test_has_the_published_sizes_and_balanced_classes(self, real: data.ImageSet) -> None:
        assert (len(real.images), real.train_size) == (70_000, 60_000)
        assert real.labels[:60_000].bincount().tolist() == [6000] * 10
        assert real.labels[60_000:].bincount().tolist() == [1000] * 10

    def test_begins_with_an_ankle_boot_and_has_the_published_mean(self, real: data.ImageSet) -> None:
        assert real.labels[:4].tolist() == [9, 0, 0, 3]
        # 0.2860 is the mean that the field subtracts from Fashion-MNIST's training images.
        assert real.images[:60_000].double().mean() / 255 == pytest.approx(0.2860, abs=5e-5)


class TestLoad:
    def test_decodes_images_then_labels(self, fake: Path) -> None:
        images = data.load("fashion-mnist", data.fetch(fake))
        files = fake_files()
        first = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8, PIXELS, offset=16)
        last = np.frombuffer(files["t10k-images-idx3-ubyte"], np.uint8)[-PIXELS:]
        assert images.images[0].flatten().tolist() == first.tolist()
        assert images.images[-1].flatten().tolist() == last.tolist()
        assert images.labels.tolist() == [i % 10 for i in range(TRAIN)] + [i % 10 for i in range(TEST)]
        assert images.train_size == TRAIN
        assert images.sha256 == hashlib.sha256(fake_content()).hexdigest()

    def test_reads_the_cache_by_default(self, fake: Path) -> None:
        data.fetch(fake)
        assert len(data.load("fashion-mnist").images) == TRAIN + TEST

    def test_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(BnstudyError, match="Did you mean 'fashion-mnist'"):
            data.load("fashion_mnist")

    def test_real_set_is_never_replaced_by_the_sample(self) -> None:
        with pytest.raises(BnstudyError, match="not there yet"):
            data.load("fashion-mnist")
        with pytest.raises(BnstudyError, match="does not hold fashion-mnist"):
            data.load("fashion-mnist", data.SAMPLE_FILE)

    @pytest.mark.parametrize("damage", [lambda old: old[:-1], lambda old: b"\xff" + old[1:], lambda old: b""])
    def test_damaged_file_is_refused(self, damage: Damage, fake: Path) -> None:
        path = data.fetch(fake)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(BnstudyError, match=r"fashion-mnist\.bin does not hold.*`bnstudy data` makes it"):
            data.load("fashion-mnist", path)


class TestGivenFolder:
    @pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
    @pytest.mark.parametrize("packed", [True, False])
    def test_may_be_packed_or_not_and_in_torchvisions_place(
        self, below: str, packed: bool, fake: Path, tmp_path: Path
    ) -> None:
        write_set(tmp_path / "other" / below, packed=packed)
        assert data.fetch(tmp_path / "other").read_bytes() == fake_content()

    def test_may_be_packed_by_anyone(self, fake: Path) -> None:
        path = fake / "t10k-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(fake_files()["t10k-labels-idx1-ubyte"], compresslevel=1, mtime=1))
        assert data.fetch(fake).read_bytes() == fake_content()

    @pytest.mark.parametrize("name", [f"{part.name}.gz" for part in data.PARTS])
    @pytest.mark.parametrize("damage", ["flipped byte", "truncated", "other content", "no gzip"])
    def test_damaged_archive_is_named(self, name: str, damage: str, fake: Path, cache: Path) -> None:
        path = fake / name
        old = bytearray(path.read_bytes())
        old[len(old) // 2] ^= 0xFF
        new = {"flipped byte": bytes(old), "truncated": path.read_bytes()[:-9], "no gzip": b"<html>"}
        path.write_bytes(new.get(damage, gzip.compress(b"something else")))
        with pytest.raises(BnstudyError, match=rf"{name} is damaged"):
            data.fetch(fake)
        assert not cache.exists()

    def test_damaged_unpacked_file_is_named(self, fake: Path, tmp_path: Path) -> None:
        folder = write_set(tmp_path / "plain", packed=False)
        (folder / "train-labels-idx1-ubyte").write_bytes(b"")
        with pytest.raises(BnstudyError, match="train-labels-idx1-ubyte is damaged"):
            data.fetch(folder)

    def test_incomplete_names_what_is_missing(self, fake: Path) -> None:
        (fake / "t10k-images-idx3-ubyte.gz").unlink()
        with pytest.raises(BnstudyError, match="t10k-images-idx3-ubyte is missing"):
            data.fetch(fake)

    def test_without_the_files_is_an_error_though_other_sources_work(
        self, fake: Path, tmp_path: Path
    ) -> None:
        data.fetch(fake)
        (tmp_path / "empty").mkdir()
        with pytest.raises(BnstudyError, match=r"holds none of the four files train-images-idx3-ubyte\.gz"):
            data.fetch(tmp_path / "empty")
        with pytest.raises(BnstudyError, match="there is no folder"):
            data.fetch(tmp_path / "absent")


class TestSources:
    def test_are_tried_in_order(self, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def down(name: str) -> Callable[[data.Notify], data.Content]:
            def source(_: data.Notify) -> data.Content:
                tried.append(name)
                raise BnstudyError("down")

            return source

        for name in ("_from_system", "_from_mirror", "_from_debian"):
            monkeypatch.setattr(data, name, down(name))
        with pytest.raises(BnstudyError):
            data.fetch()
        assert tried == ["_from_system", "_from_mirror", "_from_debian"]
        data.fetch(fake)
        data.fetch()
        assert len(tried) == 3, "the cache comes first"

    def test_systems_copy_is_enough(self, fake: Path, tmp_path: Path) -> None:
        write_set(tmp_path / "system")
        assert data.fetch().read_bytes() == fake_content()

    def test_damaged_systems_copy_is_told_and_passed_over(
        self, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (write_set(tmp_path / "system") / "train-images-idx3-ubyte.gz").write_bytes(b"")
        monkeypatch.setattr(data, "_from_mirror", lambda _: data._from_folder(fake))
        told: list[str] = []
        assert data.fetch(notify=told.append).read_bytes() == fake_content()
        assert "the system's copy: " in told[0] and "is damaged" in told[0]

    def test_nothing_works_says_what_was_tried_and_what_to_do(self, fake: Path, cache: Path) -> None:
        with pytest.raises(BnstudyError) as caught:
            data.fetch()
        sentence = str(caught.value)
        assert "the system's copy: there is no folder" in sentence
        assert "torchvision's mirror: no network; Debian's package: no apt-get)" in sentence
        assert "--data-dir" in sentence and "install the Debian package dataset-fashion-mnist" in sentence
        assert not (cache / "fashion-mnist.bin").exists()

    def test_where_lists_them_without_downloading(self, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(subprocess, "run")
        monkeypatch.delattr(socket, "getaddrinfo")
        before = data.where()
        assert [s.kind for s in before] == ["data-dir", "cache", "system", "mirror", "debian package"]
        assert [s.available for s in before[:3]] == [False] * 3
        assert "no folder was given" in before[0].note and "not there yet" in before[1].note
        data.fetch(fake)
        assert [s.available for s in data.where(fake)[:2]] == [True, True]


class TestMirror:
    @staticmethod
    def torchvision(patch: pytest.MonkeyPatch, download: Callable[[Path], None]) -> None:
        """Put a stand-in for torchvision, which takes seconds to import, in its place."""
        module = ModuleType("torchvision.datasets")
        vars(module)["FashionMNIST"] = lambda root, **_: download(Path(root))
        patch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
        patch.setitem(sys.modules, "torchvision.datasets", module)

    def test_download_is_read_and_its_folder_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_fake(monkeypatch)
        roots: list[Path] = []

        def download(root: Path) -> None:
            roots.append(root)
            write_set(root / "FashionMNIST" / "raw")
            print("Downloading")

        self.torchvision(monkeypatch, download)
        out = io.StringIO()
        with redirect_stdout(out):
            assert data._from_mirror(lambda _: None).tobytes() == fake_content()
        assert not roots[0].exists()
        assert out.getvalue() == "", "standard output belongs to results"

    def test_dead_network_is_given_up_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        patience: list[float | None] = []

        def download(_: Path) -> None:
            patience.append(socket.getdefaulttimeout())
            raise RuntimeError("Error downloading a:\nTried b, got:\n<urlopen error timed out>\n")

        self.torchvision(monkeypatch, download)
        with pytest.raises(BnstudyError, match=r"^<urlopen error timed out>$"):
            data._from_mirror(lambda _: None)
        assert patience == [data.NETWORK_SECONDS]
        assert socket.getdefaulttimeout() is None

    def test_missing_torchvision_is_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.delitem(sys.modules, "torchvision.datasets", raising=False)
        with pytest.raises(BnstudyError, match="torchvision"):
            data._from_mirror(lambda _: None)


@posix_only
class TestDebian:
    @pytest.fixture
    def commands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder in front of PATH with a dpkg-deb that unpacks the fake set."""
        use_fake(monkeypatch)
        fake, folder = write_set(tmp_path / "given"), tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        place = "$3/usr/share/datasets"
        self.script(folder / "dpkg-deb", f'mkdir -p "{place}"; cp -r "{fake}" "{place}/fashion-mnist"')
        return folder

    @staticmethod
    def script(path: Path, body: str) -> None:
        path.write_text(f'#!/bin/sh\necho "$@" >> "{path}.log"\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def test_package_is_unpacked(self, commands: Path) -> None:
        self.script(commands / "apt-get", "touch it.deb")
        assert data._from_debian(lambda _: None).tobytes() == fake_content()
        (call,) = (commands / "apt-get.log").read_text().splitlines()
        assert call.endswith("download dataset-fashion-mnist")

    def test_useless_lists_are_replaced_by_private_ones(self, commands: Path) -> None:
        complain = 'echo "E: Unable to locate package" >&2; exit 100'
        self.script(commands / "apt-get", f'case "$*" in *State::Lists*) touch it.deb;; *) {complain};; esac')
        told: list[str] = []
        assert data._from_debian(told.append).tobytes() == fake_content()
        assert "Unable to locate package" in told[-1]
        calls = (commands / "apt-get.log").read_text().splitlines()
        assert [call.split()[-1] for call in calls] == [data.DEBIAN_PACKAGE, "update", data.DEBIAN_PACKAGE]

    def test_reason_is_the_failed_update(self, commands: Path) -> None:
        body = 'case "$*" in *update) echo "E: no route";; *) echo "E: no package";; esac >&2; exit 100'
        self.script(commands / "apt-get", body)
        with pytest.raises(BnstudyError, match="apt-get: E: no route"):
            data._from_debian(lambda _: None)

    def test_without_apt_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BnstudyError, match="no apt-get"):
            data._from_debian(lambda _: None)


class TestPublishing:
    def test_leaves_one_file_and_its_lock(self, fake: Path, cache: Path) -> None:
        assert data.fetch(fake) == cache / "fashion-mnist.bin"
        assert {path.name for path in cache.iterdir()} <= {"fashion-mnist.bin", "fashion-mnist.lock"}

    def test_interrupted_leaves_nothing(
        self, fake: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.fetch(fake)
        assert {path.name for path in cache.iterdir()} <= {"fashion-mnist.lock"}

    def test_what_a_killed_process_left_does_not_matter(self, fake: Path, cache: Path) -> None:
        cache.mkdir()
        (cache / "fashion-mnist.tmp").write_bytes(b"half")
        assert data.fetch(fake).read_bytes() == fake_content()
        assert not (cache / "fashion-mnist.tmp").exists()

    def test_damaged_cache_is_told_and_made_again(self, fake: Path, tmp_path: Path) -> None:
        path = data.fetch(fake)
        path.write_bytes(path.read_bytes()[:-1])
        write_set(tmp_path / "system")
        told: list[str] = []
        assert data.fetch(notify=told.append).read_bytes() == fake_content()
        assert "does not hold fashion-mnist" in told[0] and "kept in" in told[-1]

    def test_damaged_cache_is_not_trusted_where_nothing_else_works(self, fake: Path) -> None:
        data.fetch(fake).write_bytes(b"")
        with pytest.raises(BnstudyError, match="was not found"):
            data.fetch()

    def test_good_cache_needs_no_writing(self, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = data.fetch(fake)
        monkeypatch.delattr(data, "_locked")
        assert data.fetch() == data.fetch(fake) == path

    def test_unwritable_cache_says_what_to_set(
        self, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("BNSTUDY_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.raises(BnstudyError, match=r"cannot be written .*BNSTUDY_CACHE"):
            data.fetch(fake)

    def test_full_disk_says_so(self, fake: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(BnstudyError, match="No space left"):
            data.fetch(fake)
        assert not (cache / "fashion-mnist.bin").exists() and not (cache / "fashion-mnist.tmp").exists()

    def test_two_processes_at_once_make_it_once(self, fake: Path, cache: Path) -> None:
        context = multiprocessing.get_context("spawn")
        barrier, told = context.Barrier(2), context.Queue()
        child = context.Process(target=fetch_slowly, args=(fake, barrier, told))
        child.start()
        fetch_slowly(fake, barrier, told)
        first, second = sorted((told.get(timeout=60) for _ in range(2)), key=lambda text: "waiting" in text)
        child.join(timeout=60)
        assert child.exitcode == 0
        assert "kept in" in first and "waiting" not in first
        assert "waiting for it" in second and "kept in" not in second
        assert (cache / "fashion-mnist.bin").read_bytes() == fake_content()


def fetch_slowly(folder: Path, barrier: Barrier, told: "Queue[str]") -> None:
    """Fetch the fake set from a source that takes longer than the second after which 'waiting' is said."""

    def slow(_: data.Notify) -> data.Content:
        time.sleep(1.5)
        return data._from_folder(folder)

    messages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        use_fake(patch)
        patch.setattr(data, "_from_system", slow)
        barrier.wait(timeout=60)
        assert data.fetch(notify=messages.append).read_bytes() == fake_content()
    told.put(" ".join(messages))


class TestSplit:
    @given(seed=st.integers(0, 99), train=st.integers(1, TRAIN), validation=st.integers(0, TRAIN - 1))
    @settings(max_examples=50, deadline=None)
    def test_parts_are_disjoint_and_inside_their_sets(self, seed: int, train: int, validation: int) -> None:
        train = min(train, TRAIN - validation)
        parts = data.split(some_images(), seed, train_images=train, validation_images=validation)
        held_out = parts.validation.tolist() if validation else []
        together = parts.train.tolist() + held_out
        assert (len(parts.train), len(held_out)) == (train, validation)
        assert len(set(together)) == len(together) and set(together) <= set(range(TRAIN))
        assert parts.test.tolist() == list(range(TRAIN, TRAIN + TEST))
        assert {part.dtype for part in (parts.train, parts.validation, parts.test)} == {torch.int64}

    def test_fewer_training_images_are_a_prefix_of_more(self) -> None:
        few = data.split(some_images(), 3, train_images=10, validation_images=20)
        many = data.split(some_images(), 3, train_images=40, validation_images=20)
        assert torch.equal(few.train, many.train[:10])
        assert torch.equal(few.validation, many.validation)

    def test_is_fixed_by_the_seed(self) -> None:
        first, again, other = (
            data.split(some_images(), seed, train_images=40, validation_images=20).train for seed in (3, 3, 4)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_published_protocol_validates_on_the_test_set(self) -> None:
        parts = data.split(some_images(), 0, train_images=TRAIN, validation_images=0)
        assert torch.equal(parts.validation, parts.test)
        assert sorted(parts.train.tolist()) == list(range(TRAIN))

    @pytest.mark.parametrize(("train", "validation"), [(0, 10), (51, 10), (1, -1), (61, 0)])
    def test_sizes_that_do_not_fit_are_told(self, train: int, validation: int) -> None:
        with pytest.raises(
            BnstudyError, match=f"The 60 training images .* {train} .* {validation} to validate"
        ):
            data.split(some_images(), 0, train_images=train, validation_images=validation)


class TestOrder:
    def test_is_a_permutation(self) -> None:
        order = data.order(1000, 0, 0)
        assert order.dtype == torch.int64
        assert sorted(order.tolist()) == list(range(1000))

    def test_differs_by_epoch_and_seed_and_is_repeatable(self) -> None:
        orders = [data.order(1000, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
        assert len({tuple(order.tolist()) for order in orders}) == 4
        assert torch.equal(orders[1], data.order(1000, 0, 1))

    def test_leaves_the_global_generator_alone(self) -> None:
        before = torch.random.get_rng_state()
        data.order(1000, 0, 0)
        data.split(some_images(), 0, train_images=1, validation_images=1)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_draws_are_the_ones_of_the_records(self) -> None:
        """Literal values: a change here makes every recorded trial impossible to repeat."""
        parts = data.split(some_images(), 3, train_images=40, validation_images=20)
        assert parts.train[:6].tolist() == [6, 49, 17, 59, 51, 52]
        assert data.order(50_000, 3, 1)[:6].tolist() == [10793, 42320, 911, 675, 29433, 33771]


class TestBatch:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_pixels_are_exactly_k_over_255(self, dtype: torch.dtype) -> None:
        pixels, labels = data.batch(some_images(256, 0), torch.arange(256), dtype)
        expected = torch.tensor([k / 255 for k in range(256)], dtype=torch.float64).to(dtype)
        assert pixels.shape == (256, 1, 28, 28) and pixels.dtype == dtype
        assert torch.equal(pixels[:, 0, 5, 7], expected)
        assert torch.equal(labels, torch.arange(256))

    def test_follows_the_index_with_repeats(self) -> None:
        pixels, labels = data.batch(some_images(), torch.tensor([7, 3, 3]))
        assert labels.tolist() == [7, 3, 3]
        assert (pixels[:, 0, 0, 0] * 255).round().tolist() == [7, 3, 3]

    def test_leaves_the_set_unchanged(self) -> None:
        images = some_images()
        before = images.images.clone()
        data.batch(images, torch.arange(10))
        assert torch.equal(images.images, before)

    def test_is_on_the_device_of_the_set(self) -> None:
        images = some_images().to("meta")
        assert (images.name, images.train_size) == ("some", TRAIN)
        pixels, labels = data.batch(images, torch.arange(4))
        assert pixels.device.type == labels.device.type == "meta"

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_is_the_same_on_a_cuda_device(self) -> None:
        images, index = some_images(256, 0), torch.arange(256)
        assert torch.equal(data.batch(images.to("cuda"), index)[0].cpu(), data.batch(images, index)[0])
