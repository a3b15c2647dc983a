"""The one model: a dense decoder that is Qwen, Qwen1.5, Qwen2, Qwen2.5, Qwen3 or LLaMA-like by its configuration alone."""
