"""What the convolutions' loops are made of: vectors that have names, and memory that is asked for ahead.

Left to itself the compiler keeps the sums of more than one place in memory; named they stay in registers. On
a processor with shorter vectors LLVM cuts these into those that it has.

Numba compiles again what it has kept when the file of a function changes, and no other: who changes this file
or `kernels` has to let go of what is kept of the files that call them, as the tests do at their start.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from bnstudy.training.kernels import OPTIONS

KERNEL = 5
"""Rows, and columns, of the convolutions' kernels."""

FIRST, SECOND = 6, 16
"""Outputs of the two convolutions."""

TAPS = KERNEL * KERNEL + 1
"""What an output of the first is a sum of: what the kernel sees, and the bias."""

LINE = 16
"""Numbers of float32 that a cache holds together."""

INDEX = ir.IntType(64)


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
            pointer = self.builder.gep(pointer, [INDEX(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, step: Any, count: int) -> Any:
        """Return an offset of so many steps."""
        return self.builder.mul(step, INDEX(count))

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
        number = ir.VectorType(INDEX, lanes)
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


def data_of(context: Any, builder: Any, signature: Any, arguments: Any, *arrays: int) -> list[Any]:
    """Return where the numbers of some of the arguments, arrays, begin."""
    return [context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in arrays]


def _toucher(write: int) -> Any:
    """Return a function of compiled code that asks for x[at] to be brought into the cache, to be written or
    only read; where the processor knows nothing of it, or there is no x[at], nothing happens."""

    @intrinsic
    def touch(_: Any, x: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (data,) = data_of(context, builder, signature, arguments, 0)
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
def fetch(x: Any, start: int, size: int, step: int, steps: int, write: bool) -> None:
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
