"""The loops of LeNet's convolutions whose sums have to stay in registers, by vector instructions.

Left to itself the compiler keeps the sums of more than one place in memory. The functions made here name
vectors instead; on a processor with shorter ones LLVM cuts these into those that it has.

Numba compiles again what it has kept when the file of a function changes, and no other: who changes this file
or `kernels` has to let go of what is kept of the files that call them, as the tests do at their start.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from bnstudy.training.kernels import OPTIONS

KERNEL = 5
"""Rows, and columns, of the first convolution's kernel."""

FIRST, SECOND = 6, 16
"""Outputs of the two convolutions."""

TAPS = KERNEL * KERNEL + 1
"""What an output of the first is a sum of: what the kernel sees, and the bias."""

LANES = 8
"""Of a vector of the first's outputs, filled up."""

ACROSS = KERNEL * FIRST
"""Kernel columns x inputs of the second."""

ROW = 32
"""The same, filled up to vectors."""

BELOW = 8
"""Places below each other that share what is loaded of a weight: their 8 x 32 sums fill 16 vectors of 16."""

BESIDE = 8
"""Places beside each other that do: 8 vectors of 8, or of 16."""

WIDE = 16
"""Outputs of the first convolution, whichever trials' they are, in one vector where trials share images."""

PLACES = 12
"""Places beside each other that share what is loaded of such a vector's weights: half of LeNet's 24."""

LINE = 16
"""Numbers of float32 that a cache holds together."""

TOGETHER = 384
"""Places whose products are summed up before they join the others': as the framework's matrix product does,
so that the bits are the same."""

_INDEX = ir.IntType(64)


class Vectors:
    """What can be said of vectors of an array's numbers, [lanes] each, while compiling a function."""

    def __init__(self, context: Any, builder: Any, number: Any) -> None:
        self.builder = builder
        self.number = context.get_data_type(number)
        self.size = context.get_abi_sizeof(self.number)

    def of(self, lanes: int) -> Any:
        """Return the type of a vector."""
        return ir.VectorType(self.number, lanes)

    def zeros(self, lanes: int) -> Any:
        """Return a vector of zeros."""
        return self.of(lanes)(None)

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """Return a pointer moved on by the sum of some numbers."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_INDEX(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, step: Any, count: int) -> Any:
        """Return an offset of so many steps."""
        return self.builder.mul(step, _INDEX(count))

    def load(self, pointer: Any, lanes: int) -> Any:
        """Return the vector that begins at a pointer."""
        return self.builder.load(self.builder.bitcast(pointer, self.of(lanes).as_pointer()), align=self.size)

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector from a pointer on."""
        to = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, to, align=self.size)

    def load_some(self, pointer: Any, lanes: int, count: Any) -> Any:
        """Return the vector that begins at a pointer, with zeros after its first `count` numbers."""
        vector = self.of(lanes)
        flags = self._first(lanes, count)
        load = self._masked("load", vector, [vector.as_pointer(), ir.IntType(32), flags.type, vector])
        at = self.builder.bitcast(pointer, vector.as_pointer())
        return self.builder.call(load, [at, ir.IntType(32)(self.size), flags, self.zeros(lanes)])

    def store_some(self, value: Any, pointer: Any, count: Any) -> None:
        """Write a vector's first `count` numbers from a pointer on."""
        flags, to = self._first(value.type.count, count), value.type.as_pointer()
        store = self._masked("store", ir.VoidType(), [value.type, to, ir.IntType(32), flags.type])
        at = self.builder.bitcast(pointer, to)
        self.builder.call(store, [value, at, ir.IntType(32)(self.size), flags])

    def _first(self, lanes: int, count: Any) -> Any:
        """Return which lanes are the first `count`."""
        number = ir.VectorType(_INDEX, lanes)
        counts = self.builder.insert_element(number(ir.Undefined), count, ir.IntType(32)(0))
        counts = self.chosen(counts, counts, [0] * lanes)
        return self.builder.icmp_signed("<", number(list(range(lanes))), counts)

    def _masked(self, name: str, returned: Any, taken: list[Any]) -> Any:
        lanes = taken[0].count if name == "store" else returned.count
        kind = {4: "f32", 8: "f64"}[self.size]
        function = ir.FunctionType(returned, taken)
        name = f"llvm.masked.{name}.v{lanes}{kind}.p0"
        return cgutils.get_or_insert_function(self.builder.module, function, name)  # type: ignore[no-untyped-call]

    def everywhere(self, pointer: Any, lanes: int) -> Any:
        """Return a vector of one number repeated."""
        nothing = self.of(lanes)(ir.Undefined)
        first = self.builder.insert_element(nothing, self.builder.load(pointer), ir.IntType(32)(0))
        return self.chosen(first, nothing, [0] * lanes)

    def chosen(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Return the lanes of two vectors, those of b counted on from a's, that are named."""
        return self.builder.shuffle_vector(a, b, ir.VectorType(ir.IntType(32), len(lanes))(lanes))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, rounded once where the processor can."""
        product = self.builder.fmul(a, b, ("contract",))
        return self.builder.fadd(product, c, ("contract",))


def _data(context: Any, builder: Any, signature: Any, arguments: Any, *arrays: int) -> list[Any]:
    """Return where the numbers of some of the arguments, arrays, begin."""
    return [context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in arrays]


def _toucher(write: int) -> Any:
    """Return a function of compiled code that asks for x[at] to be brought into the cache, to be written or
    only read; where the processor knows nothing of it, or there is no x[at], nothing happens."""

    @intrinsic
    def touch(_: Any, x: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (data,) = _data(context, builder, signature, arguments, 0)
            word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
            fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
            place = builder.bitcast(Vectors(context, builder, x.dtype).at(data, arguments[1]), byte)
            builder.call(fetch, [place, word(write), word(3), word(1)])
            return context.get_dummy_value()

        return types.void(x, at), generate

    return touch


_to_read, _to_write = _toucher(0), _toucher(1)


@njit(**OPTIONS)
def _fetch(x: Any, start: int, size: int, step: int, steps: int, write: bool) -> None:
    """Bring a part of x[start : start + size], the next image, into the cache, the whole in so many steps.

    The processor foresees what lies in a row; trials side by side do not, and the second convolution waited
    for memory in a fifth of its time: 5.6 ms where it took 7.1.
    """
    part = (size + steps * LINE - 1) // (steps * LINE) * LINE
    for at in range(start + step * part, start + min((step + 1) * part, size), LINE):
        if write:
            _to_write(x, at)
        else:
            _to_read(x, at)


def _inputs(places: int) -> Any:
    """Return a function of compiled code that adds `places` products of a vector and a matrix to rows.

    The matrix is weight[matrix :] as [SECOND, ROW]; the vectors begin at g[start], g[start + apart], ..; the
    rows at flat[at], flat[at + below], ... Each sum runs over the outputs in order, whatever `places` is.
    """

    @intrinsic
    def add(
        _: Any, flat: Any, at: Any, below: Any, g: Any, start: Any, apart: Any, weight: Any, matrix: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            flat_data, g_data, weight_data = _data(context, builder, signature, arguments, 0, 3, 6)
            _, at, below, _, start, apart, _, matrix = arguments
            vectors, halves = Vectors(context, builder, flat.dtype), range(0, ROW, SECOND)
            sums = [[vectors.zeros(SECOND) for _ in halves] for _ in range(places)]
            for o in range(SECOND):
                row = vectors.at(weight_data, matrix, o * ROW)
                columns = [vectors.load(vectors.at(row, half), SECOND) for half in halves]
                for n in range(places):
                    g_at = vectors.at(g_data, start, vectors.times(apart, n), o)
                    value = vectors.everywhere(g_at, SECOND)
                    sums[n] = [
                        vectors.multiply_add(value, column, total)
                        for column, total in zip(columns, sums[n], strict=True)
                    ]
            for n in range(places):
                for half, total in zip(halves, sums[n], strict=True):
                    to = vectors.at(flat_data, at, vectors.times(below, n), half)
                    vectors.store(builder.fadd(vectors.load(to, SECOND), total), to)
            return context.get_dummy_value()

        return types.void(flat, at, below, g, start, apart, weight, matrix), generate

    return add


_add_below, _add_one = _inputs(BELOW), _inputs(1)


@intrinsic
def _copy_place(_: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Copy FIRST numbers from x[at :] to y[to :], as two vectors: half a millisecond a step less than one by
    one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_data, y_data = _data(context, builder, signature, arguments, 0, 2)
        vectors = Vectors(context, builder, x.dtype)
        for first, lanes in ((0, 4), (4, FIRST - 4)):
            value = vectors.load(vectors.at(x_data, arguments[1], first), lanes)
            vectors.store(value, vectors.at(y_data, arguments[3], first))
        return context.get_dummy_value()

    return types.void(x, at, y, to), generate


@njit(**OPTIONS)
def input_gradient_of_second(g: Any, weight: Any, dx: Any) -> None:
    """Fill the inputs' gradient dx [batch, height, width, trials * FIRST] from the outputs', g
    [batch, h', w', trials * SECOND]; weight: [trials * KERNEL * SECOND * ROW]. All are contiguous.
    """
    images, height, width, channels = dx.shape
    stride = width * FIRST + ROW
    flat = np.empty(height * stride, g.dtype)
    places, into, below = g.reshape(-1), dx.reshape(-1), g.shape[2] * g.shape[3]
    given, taken, steps = g.shape[1] * below, height * width * channels, channels // FIRST * g.shape[2]
    for n in range(images):
        for k in range(channels // FIRST):
            flat[:] = 0
            for w in range(g.shape[2]):
                _fetch(places, (n + 1) * given, given, k * g.shape[2] + w, steps, False)
                _fetch(into, (n + 1) * taken, taken, k * g.shape[2] + w, steps, True)
                for i in range(KERNEL):
                    at, matrix = i * stride + w * FIRST, (k * KERNEL + i) * SECOND * ROW
                    start, h = n * g.shape[1] * below + w * g.shape[3] + k * SECOND, 0
                    while h + BELOW <= g.shape[1]:
                        _add_below(flat, at, stride, places, start, below, weight, matrix)
                        at, start, h = at + BELOW * stride, start + BELOW * below, h + BELOW
                    while h < g.shape[1]:
                        _add_one(flat, at, stride, places, start, below, weight, matrix)
                        at, start, h = at + stride, start + below, h + 1
            for h in range(height):
                for w in range(width):
                    to = ((n * height + h) * width + w) * channels + k * FIRST
                    _copy_place(flat, h * stride + w * FIRST, into, to)  # type: ignore[call-arg]


def _second_outputs(places: int) -> Any:
    """Return a function of compiled code that fills the outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + below], its next column at x[at + apart];
    the weights are weight[matrix :] as [KERNEL * KERNEL * FIRST + 1, SECOND], the last the bias; outputs
    begin at y[to], those of the next place at y[to + beside]. A loop over the kernel's elements: without one
    the compiler keeps what neighbours see in memory, 64 bytes for each number.
    """

    @intrinsic
    def fill(
        _: Any,
        x: Any,
        at: Any,
        below: Any,
        apart: Any,
        weight: Any,
        matrix: Any,
        y: Any,
        to: Any,
        beside: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = _data(context, builder, signature, arguments, 0, 4, 6)
            _, at, below, apart, _, matrix, _, to, beside = arguments
            vectors, kernel = Vectors(context, builder, x.dtype), _INDEX(KERNEL)
            zeros = vectors.zeros(SECOND)
            sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(places)]  # type: ignore[no-untyped-call]
            with cgutils.for_range(builder, _INDEX(KERNEL * KERNEL)) as element:
                row, column = builder.udiv(element.index, kernel), builder.urem(element.index, kernel)
                seen = vectors.at(x_data, at, builder.mul(row, below), builder.mul(column, apart))
                taps = vectors.at(weight_data, matrix, vectors.times(element.index, FIRST * SECOND))
                for c in range(FIRST):
                    of_tap = vectors.load(vectors.at(taps, c * SECOND), SECOND)
                    for n in range(places):
                        value = vectors.everywhere(vectors.at(seen, vectors.times(apart, n), c), SECOND)
                        total = vectors.multiply_add(value, of_tap, builder.load(sums[n]))
                        builder.store(total, sums[n])
            bias = vectors.load(vectors.at(weight_data, matrix, KERNEL * ACROSS * SECOND), SECOND)
            for n in range(places):
                place = vectors.at(y_data, to, vectors.times(beside, n))
                vectors.store(builder.fadd(builder.load(sums[n]), bias), place)
            return context.get_dummy_value()

        return types.void(x, at, below, apart, weight, matrix, y, to, beside), generate

    return fill


_fill_second, _fill_one_second = _second_outputs(BESIDE), _second_outputs(1)


@njit(**OPTIONS)
def convolve_second(x: Any, weight: Any, y: Any) -> None:
    """Fill y [batch, h', w', trials * SECOND] with the convolution of x [batch, height, width, trials *
    FIRST]; weight: [trials * (KERNEL * ACROSS + 1) * SECOND]. All are contiguous.
    """
    images, height, width, channels = x.shape
    inputs, outputs, below, beside = x.reshape(-1), y.reshape(-1), width * channels, y.shape[3]
    given, made, steps = height * below, y.shape[1] * y.shape[2] * beside, channels // FIRST * y.shape[1]
    for n in range(images):
        for k in range(channels // FIRST):
            matrix = k * (KERNEL * ACROSS + 1) * SECOND
            for h in range(y.shape[1]):
                _fetch(inputs, (n + 1) * given, given, k * y.shape[1] + h, steps, False)
                _fetch(outputs, (n + 1) * made, made, k * y.shape[1] + h, steps, True)
                at, w = (n * height + h) * below + k * FIRST, 0
                to = (n * y.shape[1] + h) * y.shape[2] * beside + k * SECOND
                while w + BESIDE <= y.shape[2]:
                    seen, place = at + w * channels, to + w * beside
                    _fill_second(inputs, seen, below, channels, weight, matrix, outputs, place, beside)
                    w += BESIDE
                while w < y.shape[2]:
                    seen, place = at + w * channels, to + w * beside
                    _fill_one_second(inputs, seen, below, channels, weight, matrix, outputs, place, beside)
                    w += 1


@intrinsic
def _add_row(
    _: Any, g: Any, start: Any, beside: Any, places: Any, x: Any, at: Any, apart: Any, totals: Any, into: Any
) -> Any:
    """Add the gradient of the weights of one kernel row, of a row of places, to totals[into :], [ACROSS,
    SECOND].

    The outputs' gradient begins at g[start], that of the next place at g[start + beside]; what the kernel row
    sees begins at x[at], its next column at x[at + apart].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, totals_data = _data(context, builder, signature, arguments, 0, 4, 7)
        _, start, beside, places, _, at, apart, _, into = arguments
        vectors = Vectors(context, builder, g.dtype)
        sums = [cgutils.alloca_once(builder, vectors.of(SECOND)) for _ in range(ACROSS)]  # type: ignore[no-untyped-call]
        for total in sums:
            builder.store(vectors.zeros(SECOND), total)
        with cgutils.for_range(builder, places) as w:
            slope = vectors.load(vectors.at(g_data, start, builder.mul(w.index, beside)), SECOND)
            corner = vectors.at(x_data, at, builder.mul(w.index, apart))
            for tap, total in enumerate(sums):
                seen = vectors.at(corner, vectors.times(apart, tap // FIRST), tap % FIRST)
                value = vectors.everywhere(seen, SECOND)
                builder.store(vectors.multiply_add(value, slope, builder.load(total)), total)
        for tap, total in enumerate(sums):
            to = vectors.at(totals_data, into, tap * SECOND)
            vectors.store(builder.fadd(vectors.load(to, SECOND), builder.load(total)), to)
        return context.get_dummy_value()

    return types.void(g, start, beside, places, x, at, apart, totals, into), generate


@njit(**OPTIONS)
def weight_gradient_of_second(g: Any, x: Any, totals: Any, biases: Any) -> None:
    """Add the weights' gradient to totals, [trials * KERNEL * ACROSS * SECOND], and that of the biases to
    biases, [trials * SECOND], from the outputs', g [batch, h', w', trials * SECOND].

    x: [batch, height, width, trials * FIRST]. In sums of a row, row after row, as the framework's.
    """
    images, height, width, channels = x.shape
    slopes, inputs, below, beside = g.reshape(-1), x.reshape(-1), width * channels, g.shape[3]
    given, seen, steps = g.shape[1] * g.shape[2] * beside, height * below, channels // FIRST * g.shape[1]
    for n in range(images):
        for k in range(channels // FIRST):
            for h in range(g.shape[1]):
                _fetch(slopes, (n + 1) * given, given, k * g.shape[1] + h, steps, False)
                _fetch(inputs, (n + 1) * seen, seen, k * g.shape[1] + h, steps, False)
                start = (n * g.shape[1] + h) * g.shape[2] * beside + k * SECOND
                for i in range(KERNEL):
                    at, into = (n * height + h + i) * below + k * FIRST, (k * KERNEL + i) * ACROSS * SECOND
                    _add_row(slopes, start, beside, g.shape[2], inputs, at, channels, totals, into)  # type: ignore[call-arg]
        for place in g[n].reshape(-1, beside):
            for c in range(beside):
                biases[c] += place[c]


def _shared_outputs(places: int) -> Any:
    """Return a function of compiled code that fills WIDE outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + width]; the weights are weight[matrix :] as
    [TAPS, WIDE]; the first `lanes` outputs go to y[to :], those of the next place to y[to + apart :].
    """

    @intrinsic
    def fill(
        _: Any, x: Any, at: Any, width: Any, weight: Any, matrix: Any, y: Any, to: Any, apart: Any, lanes: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = _data(context, builder, signature, arguments, 0, 3, 5)
            _, at, width, _, matrix, _, to, apart, lanes = arguments
            vectors = Vectors(context, builder, x.dtype)
            sums = [vectors.zeros(WIDE)] * places
            for tap in range(TAPS - 1):
                of_tap = vectors.load(vectors.at(weight_data, matrix, tap * WIDE), WIDE)
                seen = vectors.at(x_data, at, vectors.times(width, tap // KERNEL), tap % KERNEL)
                for n in range(places):
                    value = vectors.everywhere(vectors.at(seen, n), WIDE)
                    sums[n] = vectors.multiply_add(value, of_tap, sums[n])
            bias = vectors.load(vectors.at(weight_data, matrix, (TAPS - 1) * WIDE), WIDE)
            for n, total in enumerate(sums):
                place = vectors.at(y_data, to, vectors.times(apart, n))
                vectors.store_some(builder.fadd(total, bias), place, lanes)
            return context.get_dummy_value()

        return types.void(x, at, width, weight, matrix, y, to, apart, lanes), generate

    return fill


_fill_shared, _fill_one_shared = _shared_outputs(PLACES), _shared_outputs(1)


@njit(**OPTIONS)
def convolve_shared(x: Any, weight: Any, channels: int, rows: Any) -> None:
    """Fill rows [batch, h', w' * channels] with the convolution of x [batch, h, w].

    weight: [TAPS * WIDE] for each WIDE of the channels, the last filled up.
    """
    pixels, y = x.reshape(-1), rows.reshape(-1)
    width = x.shape[2]
    columns = width - KERNEL + 1
    for n in range(len(x)):
        for h in range(rows.shape[1]):
            at, row = (n * x.shape[1] + h) * width, (n * rows.shape[1] + h) * rows.shape[2]
            for first in range(0, channels, WIDE):
                matrix, lanes, w = first * TAPS, min(WIDE, channels - first), 0
                while w + PLACES <= columns:
                    to = row + w * channels + first
                    _fill_shared(pixels, at + w, width, weight, matrix, y, to, channels, lanes)
                    w += PLACES
                while w < columns:
                    to = row + w * channels + first
                    _fill_one_shared(pixels, at + w, width, weight, matrix, y, to, channels, lanes)
                    w += 1


@intrinsic
def _add_run(
    _: Any,
    g: Any,
    start: Any,
    apart: Any,
    lanes: Any,
    places: Any,
    x: Any,
    at: Any,
    width: Any,
    sums: Any,
) -> Any:
    """Add the gradient of WIDE outputs' weights, of places beside each other, to sums, [TAPS * WIDE].

    The first `lanes` outputs' gradient begins at g[start], that of the next place at g[start + apart]; what
    the kernel sees begins at x[at], its next row at x[at + width].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, sums_data = _data(context, builder, signature, arguments, 0, 5, 8)
        _, start, apart, lanes, places, _, at, width, _ = arguments
        vectors = Vectors(context, builder, g.dtype)
        to = [vectors.at(sums_data, tap * WIDE) for tap in range(TAPS)]
        kept = [cgutils.alloca_once_value(builder, vectors.load(place, WIDE)) for place in to]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, places) as w:
            slope = vectors.load_some(vectors.at(g_data, start, builder.mul(w.index, apart)), WIDE, lanes)
            corner = vectors.at(x_data, at, w.index)
            for tap in range(TAPS - 1):
                seen = vectors.at(corner, vectors.times(width, tap // KERNEL), tap % KERNEL)
                value = vectors.everywhere(seen, WIDE)
                builder.store(vectors.multiply_add(value, slope, builder.load(kept[tap])), kept[tap])
            builder.store(builder.fadd(slope, builder.load(kept[-1])), kept[-1])
        for place, total in zip(to, kept, strict=True):
            vectors.store(builder.load(total), place)
        return context.get_dummy_value()

    return types.void(g, start, apart, lanes, places, x, at, width, sums), generate


@njit(**OPTIONS)
def weight_gradient_of_shared(g: Any, x: Any, channels: int, totals: Any) -> None:
    """Add the weights' gradient to totals, laid out as the weight of `convolve_shared`, from the outputs', g
    [batch, h', w' * channels]; x: [batch, h, w].

    In sums of TOGETHER places, and the last two of one length.
    """
    slopes, pixels = g.reshape(-1), x.reshape(-1)
    width = x.shape[2]
    columns = width - KERNEL + 1
    places = len(x) * g.shape[1] * columns
    sums = np.empty(TAPS * WIDE, g.dtype)
    for first in range(0, channels, WIDE):
        lanes, done = min(WIDE, channels - first), 0
        while done < places:
            sums[:] = 0
            end = done + _together(places - done)
            while done < end:
                row, w = done // columns, done % columns
                run = min(columns - w, end - done)
                at = (row // g.shape[1] * x.shape[1] + row % g.shape[1]) * width + w
                start = done * channels + first
                _add_run(slopes, start, channels, lanes, run, pixels, at, width, sums)  # type: ignore[call-arg]
                done += run
            for i in range(len(sums)):
                totals[first * TAPS + i] += sums[i]


@njit(**OPTIONS)
def _together(places: int) -> int:
    """Return how many of the places that are left are summed up next."""
    if places >= 2 * TOGETHER:
        return TOGETHER
    return places if places <= TOGETHER else (places + 7) // 8 * 4


def _outputs(places: int) -> Any:
    """Return a function of compiled code that fills the outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + width]; the weights are weight[matrix :] as
    [TAPS, LANES]; outputs begin at y[to], those of the next place at y[to + apart].
    """

    @intrinsic
    def fill(
        _: Any, x: Any, at: Any, width: Any, weight: Any, matrix: Any, y: Any, to: Any, apart: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = _data(context, builder, signature, arguments, 0, 3, 5)
            _, at, width, _, matrix, _, to, apart = arguments
            vectors = Vectors(context, builder, x.dtype)
            bias = vectors.load(vectors.at(weight_data, matrix, (TAPS - 1) * LANES), LANES)
            sums = [bias] * places
            for tap in range(TAPS - 1):
                of_tap = vectors.load(vectors.at(weight_data, matrix, tap * LANES), LANES)
                seen = vectors.at(x_data, at, vectors.times(width, tap // KERNEL), tap % KERNEL)
                for n in range(places):
                    value = vectors.everywhere(vectors.at(seen, n), LANES)
                    sums[n] = vectors.multiply_add(value, of_tap, sums[n])
            for n, total in enumerate(sums):
                place = vectors.at(y_data, to, vectors.times(apart, n))
                vectors.store(vectors.chosen(total, total, [0, 1, 2, 3]), place)
                vectors.store(vectors.chosen(total, total, [4, 5]), vectors.at(place, 4))
            return context.get_dummy_value()

        return types.void(x, at, width, weight, matrix, y, to, apart), generate

    return fill


_fill_beside, _fill_one = _outputs(BESIDE), _outputs(1)


@njit(**OPTIONS)
def convolve_own(x: Any, weight: Any, rows: Any) -> None:
    """Fill rows [batch, h', w' * trials * FIRST] with the convolution of x [batch, trials, h, w]."""
    images, trials, height, width = x.shape
    apart = trials * FIRST
    pixels, y = x.reshape(-1), rows.reshape(-1)
    made, steps = rows.shape[1] * rows.shape[2], rows.shape[1] * trials
    for n in range(images):
        for h in range(rows.shape[1]):
            for k in range(trials):
                _fetch(y, (n + 1) * made, made, h * trials + k, steps, True)
                at, matrix = ((n * trials + k) * height + h) * width, k * TAPS * LANES
                to, w = (n * rows.shape[1] + h) * rows.shape[2] + k * FIRST, 0
                while w + BESIDE <= width - KERNEL + 1:
                    _fill_beside(pixels, at + w, width, weight, matrix, y, to + w * apart, apart)
                    w += BESIDE
                while w < width - KERNEL + 1:
                    _fill_one(pixels, at + w, width, weight, matrix, y, to + w * apart, apart)
                    w += 1


@intrinsic
def _add_image(
    _: Any,
    g: Any,
    start: Any,
    below: Any,
    apart: Any,
    x: Any,
    at: Any,
    width: Any,
    totals: Any,
    into: Any,
    rows: Any,
    columns: Any,
) -> Any:
    """Add one image's gradient of a trial's weights to totals[into :] as [TAPS, LANES] of float64.

    The outputs' gradient begins at g[start], that of the place beside it at g[start + apart], of the one
    below at g[start + below]; what the kernel sees begins at x[at], its next row at x[at + width].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, totals_data = _data(context, builder, signature, arguments, 0, 4, 7)
        _, start, below, apart, _, at, width, _, into, rows, columns = arguments
        vectors, doubles = Vectors(context, builder, g.dtype), Vectors(context, builder, types.float64)
        sums = [cgutils.alloca_once_value(builder, vectors.zeros(LANES)) for _ in range(TAPS)]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, rows) as h, cgutils.for_range(builder, columns) as w:
            place = vectors.at(g_data, start, builder.mul(h.index, below), builder.mul(w.index, apart))
            first, last = vectors.load(place, 4), vectors.load(vectors.at(place, 4), 2)
            last = vectors.chosen(last, vectors.zeros(2), [0, 1, 2, 3])
            slope = vectors.chosen(first, last, list(range(LANES)))
            corner = vectors.at(x_data, at, builder.mul(h.index, width), w.index)
            for tap in range(TAPS - 1):
                seen = vectors.at(corner, vectors.times(width, tap // KERNEL), tap % KERNEL)
                value = vectors.everywhere(seen, LANES)
                builder.store(vectors.multiply_add(value, slope, builder.load(sums[tap])), sums[tap])
            builder.store(builder.fadd(slope, builder.load(sums[-1])), sums[-1])
        for tap in range(TAPS):
            to, total = vectors.at(totals_data, into, tap * LANES), builder.load(sums[tap])
            total = total if g.dtype == types.float64 else builder.fpext(total, doubles.of(LANES))
            doubles.store(builder.fadd(doubles.load(to, LANES), total), to)
        return context.get_dummy_value()

    return types.void(g, start, below, apart, x, at, width, totals, into, rows, columns), generate


@njit(**OPTIONS)
def weight_gradient_of_own(g: Any, x: Any, totals: Any) -> None:
    """Add the weights' gradient to totals, float64 [trials * TAPS * LANES], from the outputs', g
    [batch, h', w' * trials * FIRST]; x: [batch, trials, h, w]."""
    images, trials, height, width = x.shape
    slopes, pixels, apart = g.reshape(-1), x.reshape(-1), trials * FIRST
    for n in range(images):
        for k in range(trials):
            start, at = n * g.shape[1] * g.shape[2] + k * FIRST, (n * trials + k) * height * width
            into = k * TAPS * LANES
            _add_image(  # type: ignore[call-arg]
                slopes,
                start,
                g.shape[2],
                apart,
                pixels,
                at,
                width,
                totals,
                into,
                g.shape[1],
                g.shape[2] // apart,
            )
