from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from gi_data.buffers import BufferPool


def address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_buffer_is_given_again_only_when_nothing_refers_to_it() -> None:
    pool = BufferPool(max_free=3)
    first = pool.take((4, 8))
    where = address(first)
    view = first[0:, ::2]
    del first
    assert address(pool.take((4, 8))) != where
    tensor = torch.from_numpy(view)[1]
    del view
    assert address(pool.take((32,))) != where
    del tensor
    assert where in {address(buffer) for buffer in [pool.take((4, 8)), pool.take((4, 8)), pool.take((4, 8))]}


def test_what_is_held_is_never_written_to() -> None:
    pool = BufferPool(max_free=2)

    def hold(number: int) -> list[torch.Tensor]:
        held = []
        for index in range(50):
            buffer = pool.take((1000 + 7 * index,))
            buffer[:] = number
            if index % 3:
                held.append(torch.from_numpy(buffer))
        return held

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(hold, range(12)))
    assert all(bool((tensor == number).all()) for number, held in enumerate(results) for tensor in held)


def test_free_buffers_are_kept_up_to_a_number() -> None:
    pool = BufferPool(max_free=2)
    held = [pool.take((100,)) for _ in range(6)]
    assert len({address(buffer) for buffer in held}) == 6
    held.clear()
    pool.take((100,))
    pool.take((5000,))
    assert len(pool._buffers) <= 4
