"""LoRA: adapters that peft reads with equal logits, that fold and merge to what was trained, and that resume bit for bit."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

pytest.importorskip("peft", reason="the lora extra is not installed")
transformers = pytest.importorskip("transformers", reason="the judge is absent")

import peft  # noqa: E402

from kwen.align.lora import (  # noqa: E402
    LoRAConfig,
    add_lora,
    fold_adapter,
    load_adapter,
    lora_layers,
    merge_adapter,
    save_adapter,
    without_adapter,
)
from kwen.engine.engine import make_runner  # noqa: E402
from kwen.engine.language_model import load  # noqa: E402
from kwen.engine.runner import Step  # noqa: E402
from kwen.engine.torch_runner import TorchRunner  # noqa: E402
from kwen.errors import UserError  # noqa: E402
from kwen.model.config import ModelConfig  # noqa: E402
from kwen.model.formats import build_model, huggingface, load_checkpoint  # noqa: E402
from kwen.model.formats.convert import convert  # noqa: E402
from kwen.model.initialize import initialize  # noqa: E402
from kwen.model.quantize import Int8Linear  # noqa: E402
from kwen.model.transformer import Transformer  # noqa: E402
from kwen.progress import Progress  # noqa: E402
from kwen.text.tokenizer import Tokenizer  # noqa: E402
from kwen.train.batches import Batches, Documents  # noqa: E402
from kwen.train.loop import TrainingConfig, train  # noqa: E402
from kwen.train.parallel import Group  # noqa: E402

TINY = ModelConfig(64, 32, 48, 2, 4, 2, 8, tie_word_embeddings=True)
IDS = torch.randint(0, 64, (2, 24), generator=torch.Generator().manual_seed(0))
SMALL = LoRAConfig(r=4, alpha=8)


def tiny(config: ModelConfig = TINY, seed: int = 0) -> Transformer:
    """A Qwen2 model with grouped keys and values."""
    model = Transformer(config).eval()
    initialize(model, "scaled", seed)
    return model


def adapted(config: LoRAConfig = SMALL, model: Transformer | None = None) -> Transformer:
    """A model whose adapters do something, as after training."""
    model = model or tiny()
    add_lora(model, config, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, layer in lora_layers(model):
            _, up = layer.pair()
            up.copy_(torch.randn(up.shape, generator=generator) * 0.1)
    return model


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().abs().max())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    huggingface.save(tiny(), None, tmp_path / "base")
    return tmp_path / "base"


def test_adapters_start_as_the_base_and_alone_are_trained() -> None:
    model, plain = tiny(), tiny()
    add_lora(model, LoRAConfig(r=4, alpha=8, dropout=0.5), seed=3)
    assert torch.equal(model(IDS), plain(IDS)) and not any(module.training for module in model.modules())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 7 * TINY.num_hidden_layers and all(".lora_" in name for name in trained)


def test_starting_values_are_of_the_seed_alone() -> None:
    before = torch.get_rng_state()
    models = [tiny() for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        add_lora(model, SMALL, seed)
        torch.rand(1)
    torch.set_rng_state(before)
    one, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.layers.0.mlp.up_proj.lora_A.default.weight"],
                           other["model.layers.0.mlp.up_proj.lora_A.default.weight"])  # fmt: skip


@pytest.mark.parametrize(
    "config", [SMALL, LoRAConfig(r=3, alpha=0.75, targets=("q_proj", "down_proj"))], ids=["all", "some"]
)  # fmt: skip
def test_transformers_and_peft_load_the_adapter_with_equal_logits(base: Path, tmp_path: Path, config: LoRAConfig) -> None:
    model = adapted(config)
    save_adapter(model, tmp_path / "adapter", base, config)
    judge = transformers.AutoModelForCausalLM.from_pretrained(base)
    judge = peft.PeftModel.from_pretrained(judge, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert difference(model(IDS), tiny()(IDS)) > 0.05
        assert difference(judge(IDS).logits, model(IDS)) <= 1e-5


def test_the_merged_folder_loads_in_transformers_with_the_adapters_logits(base: Path, tmp_path: Path) -> None:
    model = adapted()
    save_adapter(model, tmp_path / "adapter", base, SMALL)
    merge_adapter(base, tmp_path / "adapter", tmp_path / "merged")
    judge = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        assert difference(judge(IDS).logits, model(IDS)) <= 1e-5
        assert difference(build_model(load_checkpoint(tmp_path / "merged"))(IDS), model(IDS)) <= 1e-5


def test_the_folder_of_an_adapter_loads_as_its_base_with_the_adapter(base: Path, tmp_path: Path) -> None:
    model = adapted()
    save_adapter(model, tmp_path / "adapter", base, SMALL)
    with torch.no_grad():
        assert difference(build_model(load_checkpoint(tmp_path / "adapter"))(IDS), model(IDS)) <= 1e-5
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"an adapter for {base}, which is not on this machine under that name; kwen convert"):
        load_checkpoint(tmp_path / "adapter")


def test_adapters_that_peft_wrote_load(base: Path, tmp_path: Path) -> None:
    settings = peft.LoraConfig(r=2, lora_alpha=5, target_modules=["v_proj", "up_proj"], layers_to_transform=[1],
                               use_rslora=True, init_lora_weights=False, task_type="CAUSAL_LM")  # fmt: skip
    torch.manual_seed(0)
    judge = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), settings).eval()
    judge.save_pretrained(tmp_path / "adapter")
    model = tiny()
    config = load_adapter(model, tmp_path / "adapter")
    assert config.targets == ("v_proj", "up_proj") and len(lora_layers(model)) == 2
    merge_adapter(base, tmp_path / "adapter", tmp_path / "merged")
    with torch.no_grad():
        assert difference(judge(IDS).logits, model(IDS)) <= 1e-5
        assert difference(judge(IDS).logits, build_model(load_checkpoint(tmp_path / "merged"))(IDS)) <= 1e-5


def test_loading_gives_the_same_model_frozen_or_to_be_trained_on(base: Path, tmp_path: Path) -> None:
    model = adapted()
    save_adapter(model, tmp_path / "adapter", base, SMALL)
    for trainable in (False, True):
        again = tiny()
        assert load_adapter(again, tmp_path / "adapter", trainable=trainable) == SMALL
        assert torch.equal(again(IDS), model(IDS))
        assert sum(p.requires_grad for p in again.parameters()) == (28 if trainable else 0)


def test_an_adapter_of_another_base_is_refused_and_both_are_named(base: Path, tmp_path: Path) -> None:
    model = adapted()
    save_adapter(model, tmp_path / "adapter", base, SMALL)
    with pytest.raises(UserError, match=f"trained on {base}, and models/other has the same shape but other weights"):
        load_adapter(tiny(seed=1), tmp_path / "adapter", base_path="models/other")
    huggingface.save(tiny(ModelConfig(64, 32, 40, 2, 4, 2, 8)), None, tmp_path / "narrow")
    with pytest.raises(UserError, match="narrow"):
        save_adapter(model, tmp_path / "elsewhere", tmp_path / "narrow", SMALL)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UserError, match="holds no adapter, so it is left as it is"):
        save_adapter(model, base, base, SMALL)


def test_an_adapter_of_the_head_is_merged_but_not_loaded(tmp_path: Path) -> None:
    untied = ModelConfig(64, 32, 48, 2, 4, 2, 8)
    huggingface.save(tiny(untied), None, tmp_path / "base")
    settings = peft.LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False, task_type="CAUSAL_LM")
    judge = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base"), settings).eval()
    judge.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    with pytest.raises(UserError, match="changes lm_head, which is no layer of the blocks; it can only be merged"):
        load_adapter(tiny(untied), tmp_path / "adapter")
    merge_adapter(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    with torch.no_grad():
        assert difference(judge(IDS).logits, build_model(load_checkpoint(tmp_path / "merged"))(IDS)) <= 1e-5


def test_without_its_adapter_the_model_is_the_base() -> None:
    model = adapted()
    changed = model(IDS)
    with without_adapter(model):
        assert torch.equal(model(IDS), tiny()(IDS))
    assert torch.equal(model(IDS), changed)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_folding_leaves_a_plain_model_that_computes_the_same(quantize: str | None) -> None:
    model = adapted(LoRAConfig(r=4, alpha=8, quantize=quantize))  # type: ignore[arg-type]
    before = model(IDS)
    fold_adapter(model)
    assert [(name, p.shape) for name, p in model.named_parameters()] == [(n, p.shape) for n, p in tiny().named_parameters()]
    assert difference(model(IDS), before) <= 1e-5 and all(p.requires_grad for p in model.parameters())
    with warnings.catch_warnings(action="error"):
        add_lora(model, SMALL, seed=1)  # the next stage
    assert difference(model(IDS), before) <= 1e-5 and len(lora_layers(model)) == 14


def test_a_model_of_scores_trains_its_head_too() -> None:
    model = tiny(ModelConfig(64, 32, 48, 2, 4, 2, 8, scores=True))
    add_lora(model, SMALL, seed=0)
    assert {name for name, p in model.named_parameters() if p.requires_grad and ".lora_" not in name} == {"score.weight"}


def test_an_int8_base_is_a_quarter_and_close() -> None:
    model = tiny()
    add_lora(model, LoRAConfig(r=4, targets=("q_proj",), quantize="int8"), seed=0)
    layers = [module for module in model.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 7 * TINY.num_hidden_layers  # also those without an adapter
    assert all(p.dtype == torch.float32 for _, layer in lora_layers(model) for p in layer.pair())
    assert 0 < difference(model(IDS), tiny()(IDS)) < 0.03 * float(tiny()(IDS).detach().abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_under_autocast_and_on_a_bfloat16_base_gradients_reach_float32_adapters(dtype: torch.dtype, quantize: str | None) -> None:
    model = adapted(LoRAConfig(r=4, alpha=8, dropout=0.1, quantize=quantize), tiny().to(dtype))  # type: ignore[arg-type]
    expected = model(IDS).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(IDS)
    assert difference(logits.float(), expected) < 0.05 * float(expected.detach().abs().max())
    model.train()
    model(IDS).float().square().mean().backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and g.dtype == torch.float32 and bool(g.any()) for g in grads)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_compiled_as_one_graph_it_computes_the_same(quantize: str | None) -> None:
    one_layer = tiny(ModelConfig(64, 32, 48, 1, 4, 2, 8))
    model = adapted(LoRAConfig(r=4, alpha=8, quantize=quantize), one_layer).train()  # type: ignore[arg-type]
    compiled = torch.compile(model.hidden, dynamic=False, fullgraph=True)
    documents = torch.zeros_like(IDS)
    results = []
    for hidden_of in (model.hidden, compiled):
        hidden = hidden_of(IDS, documents=documents)
        hidden.square().mean().backward()
        results.append([hidden] + [p.grad for p in model.parameters() if p.grad is not None])
        model.zero_grad()
    assert len(results[0]) == 15 and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = compiled(IDS, documents=documents)
    assert difference(low.float(), results[0][0]) < 0.1
    with without_adapter(model):
        assert difference(compiled(IDS, documents=documents), model.hidden(IDS, documents=documents)) <= 1e-5


@pytest.mark.parametrize("make", [make_runner, TorchRunner])
def test_cached_decoding_with_an_adapter_equals_one_pass(make: Callable[[Transformer], Any]) -> None:
    model = adapted().eval()
    runner = make(model)
    runner.refresh()
    runner.reserve(2)
    with torch.inference_mode():
        parts = []
        for first, last in ((0, 20), (20, 21), (21, 24)):
            count = last - first
            positions = np.tile(np.arange(first, last), 2)
            starts, tables = np.array([0, count, 2 * count]), np.array([[[0], [1]]])
            tokens, lengths = IDS[:, first:last].flatten().numpy(), np.array([last, last])
            step = Step(tokens, positions, starts, tables, np.arange(2 * count), lengths)
            parts.append(runner.forward(step).values.view(2, count, -1).clone())
        assert difference(torch.cat(parts, dim=1), model(IDS)) <= 1e-5


def training(work: Path, config: LoRAConfig, stop_after: int | None = None, kind: str = "adamw") -> Transformer:
    """Adapters of a tiny model after 12 steps of the training loop on random documents."""
    model = tiny()
    add_lora(model, config, seed=0)
    generator = np.random.Generator(np.random.PCG64(0))
    lengths = generator.integers(5, 40, 200)
    documents = Documents(generator.integers(0, 16, lengths.sum()), np.concatenate(([0], np.cumsum(lengths))))
    settings = TrainingConfig(
        steps=12, batch_tokens=128, sequence_length=16, precision="float32", checkpoint_every=5, log_every=1,
        optimizer={"lr": 1e-2, "kind": kind},  # type: ignore[arg-type]
    )  # fmt: skip

    def stop(done: float, total: float, **facts: float | str) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    progress: Progress = stop
    batches = Batches(documents, row_length=16, rows=8, seed=0)
    train(model, batches, settings, group=Group(), work=work, run={"lora": config.model_dump()}, progress=progress)
    return model


@pytest.mark.parametrize(
    ("config", "kind"),
    [(LoRAConfig(r=4, alpha=8, dropout=0.1), "adamw"), (LoRAConfig(r=4, alpha=8, quantize="int8"), "muon")],
    ids=["dropout-adamw", "int8-muon"],
)
def test_an_interrupted_run_continues_to_identical_adapters(tmp_path: Path, config: LoRAConfig, kind: str) -> None:
    whole = training(tmp_path / "whole", config, kind=kind).state_dict()
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "cut", config, stop_after=8, kind=kind)
    held = load_file(tmp_path / "cut" / "checkpoint" / "state.safetensors")
    assert all(".lora_" in name for name in held) and sum(name.startswith("model/") for name in held) == 28
    cut = training(tmp_path / "cut", config, kind=kind).state_dict()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_training_lowers_the_loss_and_leaves_the_base_alone(tmp_path: Path) -> None:
    model = training(tmp_path, SMALL)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 0.2
    plain = tiny().state_dict()
    for name, value in model.state_dict().items():
        if ".lora_" not in name:
            assert torch.equal(value, plain[name.replace(".base_layer", "")]), name


def test_settings_are_checked() -> None:
    for wrong in ({"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"targets": ["lm_head"]}, {"targets": []}, {"quantize": "int4"}):
        with pytest.raises(ValidationError):
            LoRAConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_smollm2_with_an_adapter_equals_transformers_and_peft_and_its_merged_folder(smollm2_gguf: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    convert(load_checkpoint(smollm2_gguf), base, "hf", Tokenizer.from_gguf)  # type: ignore[arg-type]
    config = LoRAConfig(r=8, alpha=16)
    model = adapted(config, build_model(load_checkpoint(base)))
    tokenizer = Tokenizer.load(base)
    ids = torch.tensor([tokenizer.encode("The quick brown fox jumps over the lazy dog, and then it sleeps.")])
    save_adapter(model, tmp_path / "adapter", base, config, tokenizer)
    judge = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    judge = peft.PeftModel.from_pretrained(judge, tmp_path / "adapter").eval()
    # The GGUF file and the folder made of it are the same base.
    merge_adapter(smollm2_gguf, tmp_path / "adapter", tmp_path / "merged")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.no_grad():
        ours, peer, folder = model(ids), judge(ids).logits, merged(ids).logits
    scale = float(ours.abs().max())
    assert scale > 5 and difference(ours, peer) <= 1e-5 * scale and difference(ours, folder) <= 1e-5 * scale
    assert load(tmp_path / "merged").tokenizer.encode_batch(["naïve 根"]) == tokenizer.encode_batch(["naïve 根"])
