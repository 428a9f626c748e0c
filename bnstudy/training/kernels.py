"""Loops over channels-last activations that the framework would spread over many passes through memory.

One training step of 4 x 256 LeNets spends half of its time on normalization, sigmoid and pooling of the
first convolution's 14 MB. As framework operations these read or write that tensor 16 times (35 ms forward
and backward); the loops below do it in five (13 ms), and `first_layer` calls them for one image at a
time, which stays in the cache.

x is [batch, height, width * channels], channels fastest; what belongs to a channel is repeated for each
column, [width * channels]. So every inner loop is long, and a number never depends on how many channels
stand beside it. Sums over a batch run in the type of x within an image and in float64 between images.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, overload

# One rounding for a * b + c, wherever the compiler puts it: no other license to change results.
OPTIONS: dict[str, Any] = {"cache": True, "fastmath": {"contract"}, "error_model": "numpy", "nogil": True}

# Above 8 comparisons of which array may overlap which, the compiler would give up on vectors.
llvmlite.binding.set_option("bnstudy", "--runtime-memory-check-threshold=100")

# LLVM halves vectors of 16 floats unless told otherwise, as was best for processors of 2017. Whole, they give
# the same bits, and sigmoids of what is in the cache take a third less time.
if config.CPU_FEATURES is None and "+avx512f" in (_FEATURES := get_host_cpu_features()):  # type: ignore[no-untyped-call,attr-defined]
    config.CPU_FEATURES = f"{_FEATURES},-prefer-256-bit"  # type: ignore[attr-defined]

QUARTER, ONE = np.float32(0.25), np.float32(1)
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# exp(r) = 1 + r + r**2 * (P0 + P1 * r + ...) within 1.05e-7 of itself for |r| <= ln(2) / 2: the best
# polynomial of degree 5 with its first two terms kept, by linear programming.
P0, P1, P2, P3 = (np.float32(v) for v in (0.49999231495, 0.16667114650, 0.04189015681, 0.00831252016))
LEAST, MOST = np.float32(-89), np.float32(87)
"""exp of more than 88.4 counts as infinite, so that the sigmoid of what is far below zero is zero."""
WHOLE = np.float32(1.5 * 2**23)
"""A number below 2**22 in size, added to this, leaves its nearest whole number in the last bits."""


@intrinsic
def _power_of_two(_context: Any, n: Any) -> Any:
    """Return 2**n as float32, for n in [-126, 128] held in the last bits of a float32; 2**128 is infinite."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        exponent = builder.shl(builder.bitcast(arguments[0], word), ir.Constant(word, 23))
        return builder.bitcast(builder.add(exponent, ir.Constant(word, 127 << 23)), ir.FloatType())

    return types.float32(types.float32), generate


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)): within 3 units in the last place of float32; NaN stays NaN."""
    raise NotImplementedError  # compiled code only, by type


@overload(sigmoid)
def _sigmoid(x: Any) -> Any:
    def double(x: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-x))

    def single(x: Any) -> Any:
        # Comparisons that let NaN through; of x they take fewer instructions than of -x.
        x = LEAST if x < LEAST else x
        z = -(MOST if x > MOST else x)
        shifted = z * LOG2_E + WHOLE
        n = shifted - WHOLE
        r = z - n * LN2_HIGH - n * LN2_LOW
        p = ((P3 * r + P2) * r + P1) * r + P0
        e = ((p * r + ONE) * r + ONE) * _power_of_two(shifted)  # type: ignore[call-arg]
        return ONE / (ONE + e)

    return double if x == types.float64 else single


@njit(**OPTIONS)
def add_moments(x: Any, near: Any, total: Any, squares: Any) -> None:
    """Add the deviations of x from near, [width * channels], to total, and their squares to squares.

    The sums are float64 of the same length. Deviations from means of the first image, so that a large common
    offset costs no digits.
    """
    images, height, length = x.shape
    part, part_squares = np.empty(length, x.dtype), np.empty(length, x.dtype)
    for n in range(images):
        part[:], part_squares[:] = 0, 0
        for h in range(height):
            row = x[n, h]
            for i in range(length):
                d = row[i] - near[i]
                part[i] += d
                part_squares[i] += d * d
        for i in range(length):
            total[i] += part[i]
            squares[i] += part_squares[i]


@njit(**OPTIONS)
def moments(total: Any, squares: Any, near: Any, count: int, channels: int, mean: Any, var: Any) -> None:
    """Fill mean and biased variance, [channels] of float64, from the sums over `count` values a channel."""
    for c in range(channels):
        first, second = _over_columns(total, channels, c), _over_columns(squares, channels, c)
        mean[c] = near[c] + first / count
        var[c] = max(second / count - (first / count) ** 2, 0.0)


@njit(**OPTIONS)
def channel_means(image: Any, channels: int, means: Any) -> None:
    """Fill [width * channels] with each channel's mean over one image [height, width * channels]."""
    height, length = image.shape
    sums = np.zeros(length)
    for h in range(height):
        for i in range(length):
            sums[i] += image[h, i]
    for i in range(length):
        means[i] = _over_columns(sums, channels, i % channels) / (height * (length // channels))


@njit(**OPTIONS)
def _over_columns(values: Any, channels: int, channel: int) -> Any:
    """Return the sum of one channel's entries of [width * channels]."""
    total = 0.0
    for i in range(channel, len(values), channels):
        total += values[i]
    return total


@njit(**OPTIONS)
def _activate(row: Any, center: Any, scale: Any, shift: Any, s: Any) -> None:
    for i in range(len(row)):
        s[i] = sigmoid((row[i] - center[i]) * scale[i] + shift[i])


@njit(**OPTIONS)
def activate(x: Any, center: Any, scale: Any, shift: Any, y: Any) -> None:
    """Fill y, shaped as x, with sigmoid((x - center) * scale + shift)."""
    for n in range(x.shape[0]):
        for h in range(x.shape[1]):
            _activate(x[n, h], center, scale, shift, y[n, h])


@njit(**OPTIONS)
def activate_and_average(x: Any, center: Any, scale: Any, shift: Any, channels: int, y: Any) -> None:
    """Fill y [batch, height // 2, width // 2 * channels] with the means of 2 x 2 activations."""
    sums = np.empty(x.shape[2], x.dtype)
    for n in range(x.shape[0]):
        for h in range(y.shape[1]):
            upper, lower, to = x[n, 2 * h], x[n, 2 * h + 1], y[n, h]
            for i in range(len(sums)):
                a = sigmoid((upper[i] - center[i]) * scale[i] + shift[i])
                sums[i] = a + sigmoid((lower[i] - center[i]) * scale[i] + shift[i])
            for j in range(len(to) // channels):
                left, right, part = (
                    sums[2 * j * channels :],
                    sums[(2 * j + 1) * channels :],
                    to[j * channels :],
                )
                for c in range(channels):
                    part[c] = QUARTER * (left[c] + right[c])


@njit(**OPTIONS)
def activate_and_choose(x: Any, center: Any, scale: Any, shift: Any, channels: int, y: Any) -> None:
    """Fill y [batch, height // 2, width // 2 * channels] with the largest of 2 x 2 activations."""
    upper, lower = np.empty(x.shape[2], x.dtype), np.empty(x.shape[2], x.dtype)
    for n in range(x.shape[0]):
        for h in range(y.shape[1]):
            _activate(x[n, 2 * h], center, scale, shift, upper)
            _activate(x[n, 2 * h + 1], center, scale, shift, lower)
            for i in range(len(upper)):
                lower[i] = _larger(upper[i], lower[i])
            to = y[n, h]
            for j in range(len(to) // channels):
                left, right, part = (
                    lower[2 * j * channels :],
                    lower[(2 * j + 1) * channels :],
                    to[j * channels :],
                )
                for c in range(channels):
                    part[c] = _larger(left[c], right[c])


@njit(**OPTIONS)
def activate_and_pool(x: Any, center: Any, scale: Any, shift: Any, channels: int, pool: int, y: Any) -> None:
    """Fill y as `activate` (pool 0), `activate_and_average` (1) or `activate_and_choose` (2) does."""
    if pool == 0:
        activate(x, center, scale, shift, y)
    elif pool == 1:
        activate_and_average(x, center, scale, shift, channels, y)
    else:
        activate_and_choose(x, center, scale, shift, channels, y)


@njit(**OPTIONS)
def _larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, and NaN if one is."""
    return a if a >= b or a != a else b


@njit(**OPTIONS)
def _spread(g: Any, channels: int, above: Any) -> None:
    """Hand the gradient of a row of means, g, to each of the two rows of activations that made them."""
    for j in range(len(g) // channels):
        left, right, of = above[2 * j * channels :], above[(2 * j + 1) * channels :], g[j * channels :]
        for c in range(channels):
            left[c] = QUARTER * of[c]
            right[c] = QUARTER * of[c]


@njit(**OPTIONS)
def _choose(upper: Any, lower: Any, g: Any, channels: int, above: Any, below: Any) -> None:
    """Hand the gradient of a row of maxima, g, to the activations that they were; the first of equals."""
    above[:], below[:] = 0, 0
    for j in range(len(g) // channels):
        for c in range(channels):
            left, right = 2 * j * channels + c, (2 * j + 1) * channels + c
            top = _larger(_larger(upper[left], upper[right]), _larger(lower[left], lower[right]))
            if upper[left] == top:
                above[left] = g[j * channels + c]
            elif upper[right] == top:
                above[right] = g[j * channels + c]
            elif lower[left] == top:
                below[left] = g[j * channels + c]
            else:
                below[right] = g[j * channels + c]


@njit(**OPTIONS)
def _slopes(
    row: Any, g: Any, center: Any, scale: Any, shift: Any, dx: Any, by_scale: Any, by_shift: Any
) -> None:
    """Fill a row of gradients before the activation, and add it to the sums for scale and shift."""
    for i in range(len(row)):
        s = sigmoid((row[i] - center[i]) * scale[i] + shift[i])
        slope = g[i] * (s * (ONE - s))
        dx[i] = slope
        by_scale[i] += slope * (row[i] - center[i])
        by_shift[i] += slope


@njit(**OPTIONS)
def _slopes_of_two(
    x: Any, h: int, g: Any, center: Any, scale: Any, shift: Any, dx: Any, by_scale: Any, by_shift: Any
) -> None:
    """Do the same for the two rows that have one gradient: half the loads and stores of the sums."""
    upper, lower, above, below = x[h], x[h + 1], dx[h], dx[h + 1]
    for i in range(len(g)):
        a, b = upper[i] - center[i], lower[i] - center[i]
        s, t = sigmoid(a * scale[i] + shift[i]), sigmoid(b * scale[i] + shift[i])
        s, t = g[i] * (s * (ONE - s)), g[i] * (t * (ONE - t))
        above[i] = s
        below[i] = t
        by_scale[i] += s * a + t * b
        by_shift[i] += s + t


@njit(**OPTIONS)
def slopes(
    x: Any,
    center: Any,
    scale: Any,
    shift: Any,
    channels: int,
    pool: int,
    g: Any,
    dx: Any,
    all_scale: Any,
    all_shift: Any,
) -> None:
    """Fill dx with the gradient before the activation, and add that of scale and shift to the sums, float64
    [width * channels].

    g is the gradient of what `activate_and_pool` filled.
    """
    length = x.shape[2]
    by_scale, by_shift = np.empty(length, x.dtype), np.empty(length, x.dtype)
    rows = np.zeros((4, length), x.dtype)
    for n in range(x.shape[0]):
        by_scale[:], by_shift[:] = 0, 0
        _slopes_of_image(x[n], g[n], center, scale, shift, channels, pool, rows, dx[n], by_scale, by_shift)
        for i in range(length):
            all_scale[i] += by_scale[i]
            all_shift[i] += by_shift[i]


@njit(**OPTIONS)
def over_columns(values: Any, channels: int, sums: Any) -> None:
    """Fill sums [channels] with those of each channel's entries of values [width * channels]."""
    for c in range(channels):
        sums[c] = _over_columns(values, channels, c)


@njit(**OPTIONS)
def _slopes_of_image(
    x: Any,
    g: Any,
    center: Any,
    scale: Any,
    shift: Any,
    channels: int,
    pool: int,
    rows: Any,
    dx: Any,
    by_scale: Any,
    by_shift: Any,
) -> None:
    above, below, upper, lower = rows[0], rows[1], rows[2], rows[3]
    for h in range(g.shape[0]):
        if pool == 0:
            _slopes(x[h], g[h], center, scale, shift, dx[h], by_scale, by_shift)
        elif pool == 1:
            _spread(g[h], channels, above)
            _slopes_of_two(x, 2 * h, above, center, scale, shift, dx, by_scale, by_shift)
        else:
            _activate(x[2 * h], center, scale, shift, upper)
            _activate(x[2 * h + 1], center, scale, shift, lower)
            _choose(upper, lower, g[h], channels, above, below)
            _slopes(x[2 * h], above, center, scale, shift, dx[2 * h], by_scale, by_shift)
            _slopes(x[2 * h + 1], below, center, scale, shift, dx[2 * h + 1], by_scale, by_shift)
    if pool and len(x) % 2:
        dx[len(x) - 1, :] = 0


@njit(**OPTIONS)
def through_moments(x: Any, center: Any, scale: Any, by_square: Any, by_mean: Any, dx: Any) -> None:
    """Turn dx, the gradient before the activation, into that of x, which also moves its own moments."""
    for n in range(x.shape[0]):
        for h in range(x.shape[1]):
            row, to = x[n, h], dx[n, h]
            for i in range(x.shape[2]):
                to[i] = scale[i] * to[i] + (by_square[i] * (row[i] - center[i]) + by_mean[i])


@njit(**OPTIONS)
def patches(x: Any, kernel: int, columns: Any) -> None:
    """Fill columns [channels * kernel**2 + 1, batch, h', w'] with what each kernel element sees of
    x [batch, channels, height, width], and a last row of ones."""
    for c in range(x.shape[1]):
        for i in range(kernel):
            for j in range(kernel):
                row = columns[(c * kernel + i) * kernel + j]
                for n in range(row.shape[0]):
                    for h in range(row.shape[1]):
                        for w in range(row.shape[2]):
                            row[n, h, w] = x[n, c, h + i, w + j]
    columns[-1] = 1


@njit(**OPTIONS)
def patch_products(x: Any, kernel: int, gram: Any) -> None:
    """Fill gram, float64 [kernel**2 + 1, kernel**2 + 1], with columns @ columns.T of what `patches` fills
    from x [batch, height, width].

    What two kernel elements see differs by a shift, and the sum over the batch of x times itself shifted
    serves all pairs that differ by it: 1 ms for 256 images, where the matrix product takes 8.
    """
    images, height, width = x.shape
    flat = x.reshape(images, height * width)
    product = np.empty(height * width, x.dtype)
    size = kernel * kernel
    for i in range(kernel):
        for j in range(-kernel + 1, kernel):
            shift = i * width + j
            if shift >= 0:
                product[:] = 0
                for n in range(images):
                    row, shifted = flat[n], flat[n, shift:]
                    for t in range(len(shifted)):
                        product[t] += row[t] * shifted[t]
                seen = product.reshape(height, width)
                for p in range(size):
                    top, left = p // kernel, p % kernel
                    if top + i < kernel and 0 <= left + j < kernel:
                        q = p + i * kernel + j
                        gram[p, q] = gram[q, p] = _window(seen, top, left, kernel)
    product[:] = 0
    for n in range(images):
        product += flat[n]
    for p in range(size):
        gram[p, size] = _window(product.reshape(height, width), p // kernel, p % kernel, kernel)
        gram[size, p] = gram[p, size]
    gram[size, size] = images * (height - kernel + 1) * (width - kernel + 1)


@njit(**OPTIONS)
def _window(x: Any, top: int, left: int, kernel: int) -> float:
    """Return the float64 sum of what the kernel element at (top, left) sees of x [height, width]."""
    total = 0.0
    for h in range(x.shape[0] - kernel + 1):
        for w in range(x.shape[1] - kernel + 1):
            total += x[top + h, left + w]
    return total


@njit(**OPTIONS)
def moments_of_products(matrix: Any, gram: Any, mean: Any, var: Any) -> None:
    """Fill mean and biased variance, float64 [channels], of matrix @ columns over all places.

    matrix: [channels, rows]; gram: float64 columns @ columns.T, whose last row belongs to ones.
    """
    last = len(gram) - 1
    count = gram[last, last]
    for c in range(len(matrix)):
        first, second = 0.0, 0.0
        for p in range(matrix.shape[1]):
            first += matrix[c, p] * (gram[last, p] / count)
            along = 0.0
            for q in range(matrix.shape[1]):
                along += matrix[c, q] * (gram[p, q] / count - gram[last, p] / count * (gram[last, q] / count))
            second += matrix[c, p] * along
        mean[c], var[c] = first, max(second, 0.0)


@njit(**OPTIONS)
def through_products(
    matrix: Any, gram: Any, center: Any, scale: Any, by_square: Any, by_mean: Any, d: Any, dm: Any
) -> None:
    """Fill dm [channels, rows], the gradient of matrix, whose product with columns also moves its moments.

    d: [rows, channels], columns times the gradient before the activation. What `through_moments` would do to
    that gradient is, in its product with the columns, the one with x = matrix @ columns and with ones.
    """
    last = len(gram) - 1
    for c in range(len(matrix)):
        for p in range(matrix.shape[1]):
            seen = 0.0
            for q in range(matrix.shape[1]):
                seen += matrix[c, q] * gram[q, p]
            seen -= center[c] * gram[last, p]
            dm[c, p] = scale[c] * d[p, c] + (by_square[c] * seen + by_mean[c] * gram[last, p])
