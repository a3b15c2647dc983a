"""How fast this machine's cores together read memory that is in no cache, and how large that cache is."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

ARRAY_BYTES = 1 << 29


def read_bandwidth(threads: int, repeats: int = 7) -> float:
    """Bytes a second, the best of some ways to read: dot products of numpy in threads of Python, sums and products of torch."""
    parts = [np.ones(ARRAY_BYTES // 4, dtype=np.float32) for _ in range(threads)]
    whole = torch.ones(threads * ARRAY_BYTES // 4)
    matrix, vector = whole.view(-1, 4096).bfloat16(), torch.ones(4096, dtype=torch.bfloat16)
    torch.set_num_threads(threads)
    seconds_a_byte = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(lambda part: float(np.dot(part, part)), parts))
            seconds_a_byte.append((time.perf_counter() - start) / (threads * ARRAY_BYTES))
            start = time.perf_counter()
            whole.sum()
            seconds_a_byte.append((time.perf_counter() - start) / (whole.numel() * 4))
            start = time.perf_counter()
            torch.mv(matrix, vector)
            seconds_a_byte.append((time.perf_counter() - start) / (matrix.numel() * 2))
    return 1 / min(seconds_a_byte)


def last_level_cache() -> str:
    """The size of the largest cache as the kernel tells it; empty where it does not."""
    sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return sizes[-1].read_text().strip() if sizes else ""
