"""vLLM's build for CPUs as a run of benchmarks/generate.py: compiled, with zentorch too, or eager, by `request["variant"]`."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

import measure


def load(request: dict[str, Any]) -> measure.Generate:
    """The folder at `request["path"]` in `request["dtype"]`.

    By itself vLLM keeps one core for its scheduler, half of two; here the worker computes on all that were asked for. Its manual
    asks for Intel's OpenMP before all other libraries of the worker, which vLLM starts as a process of its own.
    """
    cores = sorted(os.sched_getaffinity(0))[: request["threads"]]
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    if openmp.is_file():
        os.environ.setdefault("LD_PRELOAD", str(openmp))
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    if current_platform.is_zen_cpu() != (request["variant"] == "zentorch"):
        raise SystemExit(f"{request['variant']} was asked for, but vLLM runs on {type(current_platform).__name__}")

    llm = LLM(
        model=request["path"], dtype=request["dtype"], enforce_eager="eager" in request["variant"], skip_tokenizer_init=True,
        max_model_len=2048, max_num_seqs=64, enable_prefix_caching=False, disable_log_stats=True,
    )  # fmt: skip

    def generate(prompts: list[list[int]], new: int) -> list[list[int]]:
        params = SamplingParams(temperature=0.0, max_tokens=new, ignore_eos=True, detokenize=False)
        outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]

    return generate


if __name__ == "__main__":
    measure.run(load)
