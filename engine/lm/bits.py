"""Numbers that are packed without regard to bytes. No torch."""

import numpy as np
import numpy.typing as npt

MOST_BITS = 57
"""Of a packed number: with up to 7 bits before it, it lies within 8 bytes."""


def unpacked(data: bytes, at: int, count: int, stride: int, bit: int, width: int) -> npt.NDArray[np.uint64]:
    """[i]: the number of `width` bits that starts at bit `i * stride + bit` from byte `at` on, little-endian.

    8 bytes from each number's first are read, of which the data must have all.
    """
    assert 0 <= width <= MOST_BITS, width
    numbers = np.zeros(count, np.uint64)
    mask = np.uint64((1 << width) - 1)
    for lane in range(min(8, count)):  # every eighth number starts at the same bit of a byte
        byte, shift = divmod(lane * stride + bit, 8)
        lanes = np.ndarray(len(range(lane, count, 8)), "<u8", data, at + byte, (stride,))
        numbers[lane::8] = (lanes >> np.uint64(shift)) & mask
    return numbers
