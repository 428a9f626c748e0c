"""Training steps alone, beside large matrix products: by pack size and by operator, each worker by its own
clock."""

import time
from collections.abc import Callable
from typing import Any

import torch

from bnstudy.packs import Job, Result
from bnstudy.recipe import Recipe
from bnstudy.training import data, evaluate, machine, nets, optim

SIDE = 2048
"""Of the square matrices whose product is taken for the peak: from 1,024 on the rate is flat."""


def mflop(recipe: Recipe) -> float:
    """Return the arithmetic of one image through LeNet, forward and backward, in its matrix products.

    Three times those of the forward pass, less the gradient of the pixels; an addition counts.
    """
    first = 24 + 2 * recipe.padding
    second = first // 2 - 4
    pixels = first**2 * 6 * 25
    others = second**2 * 16 * 150 + 16 * (second // 2) ** 2 * 120 + 120 * 84 + 84 * 10
    return 2 * (2 * pixels + 3 * others) / 1e6


def speed(job: Job, report: Callable[[int], None]) -> Result:
    """Take training steps of a pack for some seconds, and return images a second."""
    recipe = job.pack.slots[0].arm.recipe
    step = _step(job)
    torch.set_flush_denormal(recipe.flush_denormals)
    rate = _per_second(step) * recipe.batch_size * len(job.pack.slots)
    torch.set_flush_denormal(False)
    return Result((), {"speed": rate})


def products(job: Job, report: Callable[[int], None]) -> Result:
    """Multiply large float32 matrices for some seconds, and return GFLOP a second."""
    machine.prepare(job.device)
    a = torch.ones(SIDE, SIDE)
    return Result((), {"speed": _per_second(lambda: a @ a) * 2 * SIDE**3 / 1e9})


def operators(job: Job, report: Callable[[int], None]) -> Result:
    """Profile ten training steps of a pack; return the milliseconds a step of each operator, most first.

    Time inside an operator that it calls counts for that one alone.
    """
    step, steps = _step(job), 10
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(steps):
            step()
    spent = {
        event.key.removeprefix("aten::"): event.self_cpu_time_total / 1e3 / steps
        for event in profile.key_averages()
    }
    return Result((), {"operators": dict(sorted(spent.items(), key=lambda entry: -entry[1]))})


def _step(job: Job) -> Callable[[], None]:
    """Return a training step of a pack as `train` takes it: draw a batch, differentiate, move the weights."""
    machine.prepare(job.device)
    trials, recipe = job.pack.slots, job.pack.slots[0].arm.recipe
    recipes, fused = [trial.arm.recipe for trial in trials], machine.fuses(job.device)
    images = data.load(recipe.data, job.images)
    net = nets.build(recipes, [trial.seed for trial in trials], fused=fused)
    optimizer = optim.build(net, recipes)
    shape = (recipe.batch_size,) if job.pack.shares_images else (recipe.batch_size, len(trials))

    def step() -> None:
        index = torch.randint(recipe.train_images, shape)
        entropy, _ = evaluate.losses(net, images, index)
        optimizer.step(torch.autograd.grad(entropy.mean(0).sum(), optimizer.parameters))

    return step


def _per_second(act: Callable[[], Any], seconds: float = 5.0) -> float:
    """Return how often a second `act` can be done, after one time that does not count."""
    act()
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        act()
        count += 1
    return count / passed
