"""A worker returns an outcome for every trial of its pack, and memory running out is never one."""

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from bnstudy.design import Arm, Trial
from bnstudy.errors import DeviceLost
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack
from bnstudy.recipe import Recipe
from bnstudy.training import data, machine, optim, work
from bnstudy.training.train import train_pack

SMALL = Recipe(data="sample", train_images=70, validation_images=10, batch_size=32, epochs=1)
RATES = (0.1, 0.3, 1, 3, 10)

Trainer = Callable[..., list[Outcome]]


def pack(count: int, *, shared: bool = True) -> Pack:
    recipes = [SMALL.replace(lr=rate if shared else 1) for rate in RATES[:count]]
    trials = [Trial(Arm((("lr", str(r.lr)),), r), 3 if shared else seed) for seed, r in enumerate(recipes)]
    return Pack(tuple(trials), shares_images=shared)


def run(packed: Pack, report: Callable[[int], None] = lambda _: None) -> tuple[list[Outcome], dict[str, Any]]:
    result = work.run_pack(Job(packed, "cpu", None), report)
    return list(result.outcomes), result.provenance


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], list[int]]:
    """From the slots that fit, and the error that comes of more, to the sizes that will be tried."""

    def limit(fits: int, error: BaseException) -> list[int]:
        tried: list[int] = []

        def train(recipes: Sequence[Recipe], *args: Any, **options: Any) -> list[Outcome]:
            tried.append(len(recipes))
            if len(recipes) > fits:
                raise error
            return train_pack(recipes, *args, **options)

        monkeypatch.setattr(work, "train_pack", train)
        return tried

    return limit


def no_memory_on_the_cpu() -> RuntimeError:
    """What PyTorch really raises; it has no class of its own."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    return caught.value


ERRORS = {
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "Python": MemoryError(),
    "CPU": no_memory_on_the_cpu(),
}


# A pack that fits


@pytest.mark.parametrize("shared", [True, False])
def test_every_trial_has_its_outcome_in_order(shared: bool) -> None:
    packed = pack(4, shared=shared)
    outcomes, _ = run(packed)
    recipes, seeds = [t.arm.recipe for t in packed.trials], [t.seed for t in packed.trials]
    options = {"shares_images": shared, "fused": machine.fuses("cpu")}
    assert outcomes == train_pack(recipes, seeds, data.load("sample"), **options)
    assert len({json.dumps(outcome.weight_norms) for outcome in outcomes}) == 4


def test_the_copy_that_fills_a_pack_is_discarded() -> None:
    (alone,), _ = run(pack(1))
    assert alone == run(pack(3))[0][0], "and a filled pack gives the same bits as a full one"


def test_facts_say_how_it_was_computed() -> None:
    _, facts = run(pack(2))
    assert facts.keys() == {
        *("device", "threads", "deterministic", "tf32", "cpu_capability", "cuda"),
        *("kernels", "slots_at_once", "data_sha256", "wall_seconds", "peak_memory_bytes"),
    }
    assert facts["device"] == "cpu" and facts["threads"] == 1 and facts["deterministic"] is True
    assert facts["tf32"] is False and facts["cuda"] is None
    assert facts["data_sha256"] == data.SPECS["sample"].sha256
    assert facts["wall_seconds"] > 0 and facts["peak_memory_bytes"] > 50_000_000
    assert json.loads(json.dumps(facts)) == facts


def test_without_numba_the_framework_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that Numba has no wheel for trains all the same, and its records say how."""
    fused, facts = run(pack(2))
    monkeypatch.setattr(machine, "fuses", lambda device: False)
    plain, plain_facts = run(pack(2))
    assert (facts["kernels"], plain_facts["kernels"]) == ("fused", "framework")
    assert plain[0].first_losses == pytest.approx(fused[0].first_losses, rel=1e-4)


def test_images_are_read_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def load(name: str, path: object) -> data.ImageSet:
        loads.append(name)
        return original(name)

    original = data.load
    monkeypatch.setattr(data, "load", load)
    work._images.cache_clear()
    run(pack(2))
    run(pack(3))
    assert loads == ["sample"]


def test_progress_is_told_in_sums() -> None:
    told: list[int] = []
    often, never = work._throttled(told.append, seconds=0), work._throttled(told.append, seconds=3600)
    for images in (5, 7, 9):
        often(images)
        never(images)
    assert told == [5, 7, 9]
    monotonic = iter([0.0, 0.1, 0.2, 0.3, 0.3, 0.4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.time, "monotonic", lambda: next(monotonic))
        slow = work._throttled(told.append)
        for images in (1, 2, 3, 4):
            slow(images)
    assert told[3:] == [6], "the fourth waits for the next"


# A pack that does not fit


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_pack_that_does_not_fit_is_halved(
    memory: Callable[[int, BaseException], list[int]], error: BaseException
) -> None:
    whole, _ = run(pack(5))
    tried = memory(2, error)
    halved, _ = run(pack(5))
    assert tried == [5, 2, 3, 2, 2], "five, then two of them, then three, of which one is filled up"
    assert halved == whole, "which changes no bit of a trial"


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_trial_that_does_not_fit_alone_is_not_run(
    memory: Callable[[int, BaseException], list[int]], error: BaseException
) -> None:
    tried = memory(1, error)
    outcomes, facts = run(pack(2))
    assert tried == [2, 2, 2]
    assert outcomes == [Outcome(status="not run", reason="does not fit into the memory of cpu")] * 2
    assert not outcomes[0].finished and facts["wall_seconds"] >= 0


def test_a_trial_that_does_not_fit_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(recipes: Sequence[Recipe], *args: Any, **options: Any) -> list[Outcome]:
        if any(recipe.lr == 3 for recipe in recipes):
            raise torch.OutOfMemoryError
        return train_pack(recipes, *args, **options)

    monkeypatch.setattr(work, "train_pack", train)
    assert [outcome.status for outcome in run(pack(5))[0]] == ["ok", "ok", "ok", "not run", "ok"]


def test_memory_is_free_before_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception keeps the tensors of the frames that it passed through alive while it is handled."""
    held: list[weakref.ref[torch.Tensor]] = []

    def train(recipes: Sequence[Recipe], *args: Any, **options: Any) -> list[Outcome]:
        assert all(reference() is None for reference in held)
        if len(recipes) > 2:
            activations = torch.empty(1000)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError
        return [Outcome(status="ok")] * len(recipes)

    monkeypatch.setattr(work, "train_pack", train)
    assert len(run(pack(4))[0]) == 4 and len(held) == 1


# A device with a memory of its own


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[tuple[int, int]]]]:
    """From the slots that a card's memory holds to the (slots, images) of each training begun there: the CPU
    trains, and the step of a larger pack raises what PyTorch does."""

    def holding(slots: int) -> list[tuple[int, int]]:
        begun: list[tuple[int, int]] = []

        def train(recipes: Sequence[Recipe], *args: Any, **options: Any) -> list[Outcome]:
            begun.append((len(recipes), recipes[0].train_images))
            return train_pack(recipes, *args, **options)

        def step(self: optim.Optimizer, gradients: Sequence[torch.Tensor]) -> None:
            if begun[-1][0] > slots:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            stepping(self, gradients)

        stepping = optim.SGD.step
        monkeypatch.setattr(optim.SGD, "step", step)
        monkeypatch.setattr(work, "train_pack", train)
        monkeypatch.setattr(machine, "has_own_memory", lambda device: True)
        return begun

    known = work._capacity
    known.cache_clear()
    yield holding
    known.cache_clear()


@pytest.mark.parametrize("shared", [True, False])
def test_a_planned_pack_trains_in_parts_that_a_dry_run_found_to_fit(
    card: Callable[[int], list[tuple[int, int]]], shared: bool
) -> None:
    """Two steps of doubled packs, then between; cut into equal parts, which changes no bit of a trial."""
    whole, facts = run(pack(5, shared=shared))
    assert facts["slots_at_once"] == 5
    begun = card(3)
    cut, facts = run(pack(5, shared=shared))
    assert begun == [(2, 64), (4, 64), (3, 64), (2, 70), (3, 70)]
    assert cut == whole and facts["slots_at_once"] == 3


def test_a_capacity_is_found_once_for_recipes_of_one_shape(
    card: Callable[[int], list[tuple[int, int]]],
) -> None:
    begun = card(8)
    run(pack(5))
    assert begun == [(2, 64), (4, 64), (8, 64), (5, 70)], "up to the largest pack of any plan"
    run(pack(3))
    assert begun[4:] == [(3, 70)]


def test_a_card_that_holds_nothing_runs_nothing(card: Callable[[int], list[tuple[int, int]]]) -> None:
    begun = card(1)
    outcomes, facts = run(pack(2))
    assert [outcome.status for outcome in outcomes] == ["not run"] * 2 and facts["slots_at_once"] == 0
    assert [slots for slots, _ in begun] == [2, 2, 2], "tried, and then each trial beside its own copy"


def test_memory_that_others_take_later_halves_what_fitted(
    card: Callable[[int], list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(pack(4))
    begun = card(2)
    monkeypatch.setattr(work, "_capacity", lambda *shape: 8)
    assert run(pack(4))[0] == whole and [slots for slots, _ in begun] == [4, 2, 2]


@pytest.mark.parametrize("most", range(2, 17))
def test_the_largest_that_fits_is_found_by_few_tries(most: int) -> None:
    for limit in range(1, most + 1):
        tried: list[int] = []

        def fits(count: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count <= limit

        assert work.largest(fits, most) == limit
        assert set(tried) <= set(range(2, most + 1)) and len(set(tried)) == len(tried) <= 7


OF_CUDA = "CUDA error: an illegal memory access was encountered"


def test_a_lost_device_is_no_error_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: optim.Optimizer, gradients: Sequence[torch.Tensor]) -> None:
        raise RuntimeError(f"{OF_CUDA}\nCUDA kernel errors might be asynchronously reported")

    monkeypatch.setattr(optim.SGD, "step", step)
    with pytest.raises(DeviceLost, match=f"^{OF_CUDA}$"):
        run(pack(2))


def test_what_cuda_says_is_memory_or_the_device() -> None:
    memory = (
        *ERRORS.values(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    )
    lost = (RuntimeError(OF_CUDA), RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    assert all(machine.is_out_of_memory(error) and not machine.is_lost(error) for error in memory)
    assert all(machine.is_lost(error) and not machine.is_out_of_memory(error) for error in lost)
    assert not machine.is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyboardInterrupt("now")],
)
def test_other_errors_are_the_caller_s(
    memory: Callable[[int, BaseException], list[int]], error: BaseException
) -> None:
    tried = memory(1, error)
    with pytest.raises(type(error), match=str(error)):
        run(pack(4))
    assert tried == [4]
