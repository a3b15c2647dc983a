"""The decoder's own laws: packing, cache and precision change nothing that they should not."""

import pytest
import torch

from kwen.errors import UserError
from kwen.model.attention import PagedCache, PagedView, document_positions
from kwen.model.config import ModelConfig
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(ModelConfig(97, 48, 64, 3, 6, 3, 8)).eval()
    initialize(model, "scaled", 0)
    return model


def test_positions_restart_with_each_document() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 2], [5, 5, 9, 9, 9, 9]])
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 0, 1, 2, 3]]


@pytest.mark.parametrize("training", [False, True])
def test_packed_documents_equal_documents_alone(model: Transformer, training: bool) -> None:
    ids = torch.randint(0, 97, (1, 40))
    documents = torch.tensor([[0] * 9 + [1] * 17 + [2] * 14])
    model.train(training)
    with torch.no_grad():
        packed = model(ids, documents=documents)
        alone = torch.cat([model(ids[:, a:b]) for a, b in ((0, 9), (9, 26), (26, 40))], dim=1)
    model.eval()
    assert torch.allclose(packed, alone, atol=1e-5)


def test_cached_decoding_with_padding_equals_one_pass(model: Transformer) -> None:
    ids, lengths = torch.randint(0, 97, (3, 60)), [60, 11, 42]
    cache = PagedCache(model.config, torch.float32)
    cache.reserve(8)
    tables = torch.tensor([[[4, 1], [0, 6], [2, 3]]])
    positions = torch.arange(40).expand(3, 40)
    with torch.no_grad():
        whole = model(ids)
        view = PagedView(cache, tables, positions, tables.gather(2, positions[None] // 32))
        prefill = model(ids[:, :40], positions=positions, cache=view)
        assert torch.allclose(prefill, whole[:, :40], atol=1e-5)
        # Row 1 goes on from position 11 while the others go on from 40: what was written beyond is never seen.
        next_positions = torch.tensor([[40], [lengths[1]], [40]])
        view = PagedView(cache, tables, next_positions, tables.gather(2, next_positions[None] // 32))
        step = model(ids.gather(1, next_positions), positions=next_positions, cache=view)
    assert torch.allclose(step[:, 0], whole[torch.arange(3), next_positions[:, 0]], atol=1e-5)


def test_inverse_frequencies_stay_float32_when_the_model_is_cast(model: Transformer) -> None:
    cast = Transformer(model.config).to(torch.bfloat16)
    assert cast.frequencies.dtype == torch.float32
    assert torch.equal(cast.frequencies, model.frequencies)


def test_the_induction_circuit_copies_before_the_first_step() -> None:
    config = ModelConfig(4096, 192, 512, 4, 3, 3, 64)
    block = torch.randint(0, 4096, (8, 48), generator=torch.Generator().manual_seed(1))
    second_copy = torch.cat((block, block), dim=1)
    ranks = {}
    for kind in ("scaled", "induction"):
        model = Transformer(config).eval()
        initialize(model, kind, 0)
        with torch.no_grad():
            logits = model(second_copy)[:, 48:-1]
        target = logits.gather(2, second_copy[:, 49:, None])
        ranks[kind] = (logits > target).float().sum(-1).mean().item()
    assert ranks["induction"] < 1300 < 1700 < ranks["scaled"]  # mean rank of the right token among 4,096


def test_induction_is_refused_where_it_does_not_fit() -> None:
    with pytest.raises(UserError, match="use scaled instead"):
        initialize(Transformer(ModelConfig(97, 48, 64, 3, 6, 3, 8)), "induction", 0)
