"""Vector instructions by name, for compiled loops whose sums have to stay in registers.

Left to itself the compiler keeps sums of more than one place in memory. A function that makes such code is an
`intrinsic` of Numba; on a processor with shorter vectors LLVM cuts these into the ones that it has.
"""

from typing import Any

from llvmlite import ir

PLACE = ir.IntType(64)


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
            pointer = self.builder.gep(pointer, [PLACE(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, step: Any, count: int) -> Any:
        """Return an offset of so many steps."""
        return self.builder.mul(step, PLACE(count))

    def load(self, pointer: Any, lanes: int) -> Any:
        """Return the vector that begins at a pointer."""
        return self.builder.load(self.builder.bitcast(pointer, self.of(lanes).as_pointer()), align=self.size)

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector from a pointer on."""
        to = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, to, align=self.size)

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
