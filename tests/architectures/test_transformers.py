"""Models of transformers and adapters of peft, built without downloads; skipped without these."""

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, NFNOptimizer
from nfn_optim.symmetry._permute import permute_params, random_permutations
from nfn_optim.symmetry.tracer import trace

transformers = pytest.importorskip("transformers")

VOCABULARY = 64
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_attention_heads": 4}
LAYERS = {"num_hidden_layers": 2, "intermediate_size": 128}


def gpt2() -> nn.Module:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes)
    return transformers.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(**SMALL, **LAYERS, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(config)


def bert() -> nn.Module:
    return transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, **LAYERS))


def vit() -> nn.Module:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, **LAYERS))


def t5() -> nn.Module:
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    config = transformers.T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **sizes)
    return transformers.T5ForConditionalGeneration(config)


def whisper() -> nn.Module:
    both = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 128))
    }
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(
        **{"vocab_size": VOCABULARY, "d_model": 64, "num_mel_bins": 16, **both, **tokens},
        **{"max_source_positions": 50, "max_target_positions": 32},
    )
    return transformers.WhisperForConditionalGeneration(config)


TOKENS = {"input_ids": torch.arange(18).view(2, 9)}
BOTH = {**TOKENS, "decoder_input_ids": torch.arange(12).view(2, 6)}
IMAGES = {"pixel_values": torch.randn(2, 3, 32, 32)}
SOUND = {"input_features": torch.randn(2, 16, 100), **{"decoder_input_ids": BOTH["input_ids"]}}
# How it is made, its inputs, and neurons that may be renumbered: a stream and hidden neurons.
MODELS = {
    "gpt2": (gpt2, TOKENS, ("transformer.wte", "transformer.h.1.mlp.c_fc")),
    "llama": (llama, TOKENS, ("model.embed_tokens", "model.layers.1.mlp.gate_proj")),
    "bert": (bert, TOKENS, ("bert.embeddings.word_embeddings", "bert.pooler.dense")),
    "vit": (vit, IMAGES, ("vit.embeddings.patch_embeddings.projection",)),
    "t5": (t5, BOTH, ("encoder.block.1.layer.1.DenseReluDense.wi",)),
    "whisper": (whisper, SOUND, ("model.encoder.conv1", "model.decoder.layers.1.fc1")),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_followed_whole(name):
    model = MODELS[name][0]()
    assert not trace(model).failures
    assert NFNOptimizer(model).coverage().share > 0.95


@pytest.mark.parametrize("name", MODELS)
def test_renumbering_keeps_the_function(name, generator, untouched):
    make, inputs, free = MODELS[name]
    model = make().double().eval()
    inputs = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    for param in model.parameters():
        param.data += 0.1 * torch.randn(param.shape, generator=generator, dtype=param.dtype)
    with untouched(model):
        spec = NetworkSpec.from_module(model).hnp()
    assert set(free) <= set(spec.populations)
    params, expected = dict(model.named_parameters()), model(**inputs).logits
    permuted = permute_params(spec, params, random_permutations(spec, generator))
    for param_name, tensor in permuted.items():
        params[param_name].data = tensor
    logits = model(**inputs).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)  # some norms are in float32


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_adapters_have_a_rank_of_their_own(name):
    peft = pytest.importorskip("peft")
    targets = {"gpt2": ["c_attn", "c_fc"], "llama": ["q_proj", "up_proj"], "bert": ["query"]}
    config = peft.LoraConfig(r=3, target_modules=targets[name])
    model = peft.get_peft_model(MODELS[name][0](), config)
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    coverage = NFNOptimizer(model).coverage()
    placed = sum(trained.get(row.name, 0) for row in coverage.rows if row.is_placed)
    assert placed > 0.95 * sum(trained.values())
    down, up = (next(n for n in trained if part in n) for part in ("lora_A", "lora_B"))
    assert coverage.spec is not None
    rank, _ = coverage.spec.axes[down]
    assert coverage.spec.axes[up][1] == rank
    assert coverage.spec.sizes[rank] == 3
