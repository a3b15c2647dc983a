"""The cache's memory: reserved at once, taken as it is written."""

import psutil
import torch

from kwen.model.attention import PagedCache, untouched_zeros
from kwen.model.config import ModelConfig


def resident_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def test_what_is_reserved_takes_no_memory_before_it_is_written() -> None:
    pieces = [bytearray(1 << 16) for _ in range(6000)]  # freed below, all but the last: malloc keeps what lies before it
    del pieces[:-1]
    before = resident_mib()
    store = untouched_zeros((256, 1 << 18), torch.float32)
    assert resident_mib() - before < 64
    store[:128] = 1
    assert 100 < resident_mib() - before < 200
    assert store.data_ptr() % 64 == 0 and not store[128:].any()


def test_growing_keeps_what_is_in_the_cache() -> None:
    config = ModelConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, head_dim=8)  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        cache = PagedCache(config, dtype)
        cache.reserve(3)
        for tensor in (*cache.keys, *cache.values):
            tensor.copy_(torch.arange(tensor.numel()).remainder(100).view_as(tensor))
        held = [tensor.clone() for tensor in cache.keys]
        cache.reserve(7)
        assert all(torch.equal(new[:3], old) and not new[3:].any() for new, old in zip(cache.keys, held, strict=True))
        assert cache.keys[0].dtype == dtype and len(cache.keys[0]) == 7
