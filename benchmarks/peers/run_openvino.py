"""OpenVINO GenAI as a run of benchmarks/generate.py: its continuous batching pipeline over a GGUF file, by its own defaults (bf16
arithmetic where the processor has it, 8-bit KV cache)."""

from typing import Any

import measure
import numpy as np
import openvino
import openvino_genai

CACHE_GIB = 4


def load(request: dict[str, Any]) -> measure.Generate:
    """The file at `request["path"]`, whose name says its precision."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = CACHE_GIB, 64, False
    scheduler.max_num_batched_tokens = 2048
    properties = {"INFERENCE_NUM_THREADS": request["threads"], "PERFORMANCE_HINT": "LATENCY"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(request["path"], scheduler, "CPU", properties)

    def generate(prompts: list[list[int]], new: int) -> list[list[int]]:
        config = openvino_genai.GenerationConfig(max_new_tokens=new, ignore_eos=True, do_sample=False)
        inputs = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        return [list(result.m_generation_ids[0]) for result in pipeline.generate(inputs, [config] * len(inputs))]

    return generate


if __name__ == "__main__":
    measure.run(load)
