"""What quantising costs, against a loop over single tokens."""

import math

import torch
from tiny_checkpoints import tiny_config, tiny_model

from kwen.model.fidelity import read_rows
from kwen.model.quantize import quantize_model


def test_perplexity_and_first_choices_are_those_of_a_loop_over_tokens() -> None:
    model = tiny_model(tiny_config())
    rows = torch.randint(0, 67, (3, 12), generator=torch.Generator().manual_seed(0))
    nats, choices = [], []
    with torch.inference_mode():
        for row in rows:
            for position in range(11):
                logits = model(row[None, : position + 1])[0, -1]
                nats.append(-float(logits.log_softmax(dim=0)[row[position + 1]]))
                choices.append(int(logits.argmax()))
    reading = read_rows(model, rows)
    assert math.isclose(reading.perplexity, math.exp(sum(nats) / 33), rel_tol=1e-5)
    assert reading.choices.tolist() == choices and reading.agreement(reading) == 1


def test_a_quantised_model_agrees_with_the_original_only_in_part() -> None:
    rows = torch.randint(0, 67, (4, 100), generator=torch.Generator().manual_seed(0))
    original = read_rows(tiny_model(tiny_config()), rows)
    eight, four = (read_rows(quantize_model(tiny_model(tiny_config()), bits, 32), rows) for bits in (8, 4))
    assert 0.5 < four.agreement(original) < eight.agreement(original) <= 1
