"""transformers as a run of benchmarks/generate.py: `generate`, also compiled over a static cache, or its continuous batching."""

from typing import Any

import measure
import torch
from transformers import AutoModelForCausalLM, CompileConfig, ContinuousBatchingConfig, GenerationConfig, logging

BLOCKS = 256
"""Of 256 tokens each, of the continuous batching's cache: three blocks for each of 64 prompts."""


def load(request: dict[str, Any]) -> measure.Generate:
    """The folder at `request["path"]` in `request["dtype"]`; `request["variant"]` is "compiled", "eager" or "batching"."""
    torch.set_num_threads(request["threads"])
    logging.set_verbosity_error()
    attention = "paged|sdpa" if request["variant"] == "batching" else "sdpa"
    model: Any = AutoModelForCausalLM.from_pretrained(
        request["path"], dtype=getattr(torch, request["dtype"]), attn_implementation=attention
    ).eval()

    batching = ContinuousBatchingConfig(num_blocks=BLOCKS, max_batch_tokens=2048, max_requests_per_batch=64)

    def config(new: int) -> GenerationConfig:
        settings = GenerationConfig(do_sample=False, max_new_tokens=new, eos_token_id=-1, pad_token_id=0)
        if request["variant"] == "compiled":
            settings.cache_implementation = "static"
            settings.compile_config = CompileConfig(mode="default")
            settings.compile_config._compile_all_devices = True
        return settings

    @torch.no_grad()
    def generate(prompts: list[list[int]], new: int) -> list[list[int]]:
        if request["variant"] == "batching":
            outputs = model.generate_batch(
                prompts, generation_config=config(new), continuous_batching_config=batching, persistent_manager=True
            )
            return [outputs[name].generated_tokens for name in sorted(outputs, key=lambda name: int(name.rpartition("_")[2]))]
        token_ids = torch.tensor(prompts)
        out = model.generate(token_ids, attention_mask=torch.ones_like(token_ids), generation_config=config(new))
        return out[:, token_ids.shape[1] :].tolist()

    return generate


if __name__ == "__main__":
    measure.run(load)
