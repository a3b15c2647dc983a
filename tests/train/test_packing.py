"""Rows hold every predicted token once, and no row mixes what it must not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.errors import UserError
from kwen.train.batches import Batches, CopyDrill, Documents
from kwen.train.packing import plan_epoch

LENGTHS = st.lists(st.integers(2, 70), min_size=1, max_size=60)


def _documents(lengths: list[int]) -> Documents:
    """Documents whose token ids are their index in the flat array, so that every token is known by its value."""
    return Documents(np.arange(sum(lengths)), np.cumsum([0, *lengths]))


@given(LENGTHS, st.integers(2, 33), st.integers(0, 5))
def test_best_fit_predicts_every_token_but_the_first_of_each_document_once(
    lengths: list[int], row_length: int, epoch: int
) -> None:
    documents = _documents(lengths)
    plan = plan_epoch(documents.offsets, row_length, "best_fit", 0, epoch)
    predicted = np.concatenate([np.arange(s + 1, s + n + 1) for s, n in zip(plan.start, plan.length, strict=True)])
    expected = np.setdiff1d(documents.tokens, documents.offsets[:-1])
    assert sorted(predicted.tolist()) == expected.tolist()
    for row in range(plan.rows):
        pieces = slice(plan.row_starts[row], plan.row_starts[row + 1])
        ends = plan.column[pieces] + plan.length[pieces]
        assert (plan.column[pieces][1:] == ends[:-1]).all() and ends[-1] <= row_length


@given(LENGTHS, st.integers(2, 33))
def test_every_epoch_has_the_same_number_of_rows(lengths: list[int], row_length: int) -> None:
    offsets = _documents(lengths).offsets
    assert len({plan_epoch(offsets, row_length, "best_fit", 3, epoch).rows for epoch in range(4)}) == 1


def test_concatenated_rows_are_the_shuffled_stream_cut_to_length() -> None:
    lengths = [5, 9, 3, 14, 2, 8]
    documents = _documents(lengths)
    batches = Batches(documents, row_length=7, rows=5, seed=1, packing="concatenate")
    order = np.random.Generator(np.random.PCG64([1, 0])).permutation(len(lengths))
    stream = np.concatenate([documents.tokens[documents.offsets[i] : documents.offsets[i + 1]] for i in order])
    batch = batches(0)
    assert batch.token_ids.flatten().tolist() == stream[:35].tolist()
    assert batch.targets.flatten().tolist() == stream[1:36].tolist()
    assert (batch.weights == 1).all() and (batch.documents == 0).all()


def test_a_batch_is_a_function_of_seed_and_step_and_shares_among_ranks() -> None:
    documents = _documents([30, 12, 45, 9, 27, 33, 21, 8, 40, 17] * 4)
    batches = Batches(
        documents, row_length=16, rows=8, seed=7, drill=CopyDrill(first_share=0.3, share=0.3), drill_ids=50, steps=100
    )
    far = batches(23)
    again = Batches(
        documents, row_length=16, rows=8, seed=7, drill=CopyDrill(first_share=0.3, share=0.3), drill_ids=50, steps=100
    )
    for step in (0, 40):
        again(step)
    halves = [again(23, rank, 2) for rank in range(2)]
    for part in ("token_ids", "targets", "weights", "documents"):
        whole = getattr(far, part)
        assert (whole == np.concatenate([getattr(half, part) for half in halves])).all()


def test_packed_documents_never_predict_across_a_border_and_padding_carries_no_loss() -> None:
    batches = Batches(_documents([6, 4, 9, 3, 12, 5]), row_length=8, rows=2, seed=0)
    for step in range(3):
        batch = batches(step)
        trained = batch.weights > 0
        assert (batch.targets[trained] == batch.token_ids[trained] + 1).all()
        assert (trained == (batch.documents >= 0)).all()


def test_masked_tokens_carry_no_loss() -> None:
    rows, mask = [[10, 11, 12, 13], [20, 21, 22]], [[False, False, True, True], [False, True, False]]
    batch = Batches(Documents.from_rows(rows, mask), row_length=5, rows=1, seed=0)(0)
    assert sorted(batch.targets[batch.weights > 0].tolist()) == [12, 13, 21]


def test_the_drill_repeats_a_block_and_trains_the_repeats_alone() -> None:
    batches = Batches(_documents([40] * 9), row_length=32, rows=4, seed=0, drill=CopyDrill(share=1.0), drill_ids=90, steps=10)
    batch = batches(5)
    for row in range(4):
        trained = batch.weights[row] > 0
        block = int((~trained).sum())
        assert 4 <= block <= 16 and trained[block:].all()
        assert (batch.token_ids[row, block:] == batch.token_ids[row, :-block]).all()


def test_a_corpus_smaller_than_one_batch_is_refused_with_numbers() -> None:
    with pytest.raises(UserError, match="one batch needs 4 rows"):
        Batches(_documents([5, 6]), row_length=16, rows=4, seed=0)
