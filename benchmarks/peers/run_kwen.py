"""Kwen as a run of benchmarks/generate.py; exits with code 3 for a dtype that this version does not have."""

import sys
from typing import Any

import measure
import torch

import kwen
from kwen.errors import UserError


def load(request: dict[str, Any]) -> measure.Generate:
    """The model in `request["dtype"]`."""
    torch.set_num_threads(request["threads"])
    try:
        lm = kwen.load(request["path"], dtype=request["dtype"])
    except UserError as error:
        print(f"absent: {error}", file=sys.stderr)
        raise SystemExit(3) from error

    def generate(prompts: list[list[int]], new: int) -> list[list[int]]:
        return [one.token_ids for one in lm.generate(prompts, max_new_tokens=new, stop_token_ids=[])]

    return generate


if __name__ == "__main__":
    measure.run(load)
