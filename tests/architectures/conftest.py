"""Networks as people write them, small: what NFNOptimizer is to understand."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """The block of torchvision's ResNet-18."""

    def __init__(self, inputs: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage in range(4):
            out = width * 2**stage
            blocks = [BasicBlock(inputs, out, 2 if stage else 1), BasicBlock(out, out)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = out
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG(nn.Module):
    """Convolutions with batch norm, three linear layers behind a flatten."""

    def __init__(self, width: int = 4):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for out in (width, "pool", 2 * width, "pool", 4 * width, 4 * width, "pool"):
            if isinstance(out, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(inputs, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(True)]
                inputs = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(inputs * 16, 24), nn.ReLU(True), nn.Dropout(0.1)),
            *(nn.Linear(24, 24), nn.ReLU(True), nn.Dropout(0.1), nn.Linear(24, 5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class UNet(nn.Module):
    """An encoder and a decoder that reads both its own input and the encoder's (concatenated)."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.down1, self.down2 = self.twice(3, width), self.twice(width, 2 * width)
        self.middle = self.twice(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.join2 = self.twice(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join1 = self.twice(2 * width, width)
        self.head = nn.Conv2d(width, 5, 1)

    @staticmethod
    def twice(inputs: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(inputs, out, 3, padding=1), nn.GroupNorm(1, out), nn.SiLU()),
            *(nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(1, out), nn.SiLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.middle(F.max_pool2d(second, 2))
        x = self.join2(torch.cat([second, self.up2(x)], dim=1))
        x = self.join1(torch.cat([first, self.up1(x)], dim=1))
        return self.head(x).mean((2, 3))


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 12), nn.GELU(), nn.Linear(12, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 8, 8)
        self.blocks = nn.ModuleList([MixerBlock(16, width) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


class ViTBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*[ViTBlock(width) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(b, -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GPTBlock(nn.Module):
    """Causal attention as in nanoGPT: one layer for queries, keys and values, and a mask."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width))
        self.n_head, self.n_embd = 2, width
        self.register_buffer("bias", torch.tril(torch.ones(32, 32)).view(1, 1, 32, 32))

    def attend(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Reads patches one after the other, and tells the class from the last."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.patches = nn.Linear(3 * 64, width)
        self.wpe = nn.Parameter(0.02 * torch.randn(16, width))
        self.h = nn.ModuleList([GPTBlock(width) for _ in range(2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, 8, stride=8).transpose(1, 2)
        x = self.patches(x)
        x = x + self.wpe
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))[:, -1]


class SignalTransformer(nn.Module):
    """The encoder of torch.nn on rows of pixels."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.embed = nn.Linear(96, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 40, width))
        layer = nn.TransformerEncoderLayer(width, 2, 20, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.permute(0, 2, 1, 3).flatten(2))
        n = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n).to(x)
        x = self.encoder(x + self.positions[:, :n], mask=mask, is_causal=True)
        return self.head(x.mean(1))


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x * scale.type_as(x))


def rotate_half(x: Tensor) -> Tensor:
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def repeat_kv(x: Tensor, times: int) -> Tensor:
    batch, heads, length, size = x.shape
    x = x[:, :, None, :, :].expand(batch, heads, times, length, size)
    return x.reshape(batch, heads * times, length, size)


class LlamaBlock(nn.Module):
    """Rotary embeddings, two queries for a key, and a gated MLP."""

    def __init__(self, width: int):
        super().__init__()
        self.heads, self.size = 4, width // 4
        self.wq, self.wo = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.wk, self.wv = (nn.Linear(width, width // 2, bias=False) for _ in range(2))
        self.w1, self.w3 = (nn.Linear(width, 24, bias=False) for _ in range(2))
        self.w2 = nn.Linear(24, width, bias=False)
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        bsz, seqlen, _ = x.shape
        xq = self.wq(x).view(bsz, seqlen, self.heads, self.size).transpose(1, 2)
        xk = self.wk(x).view(bsz, seqlen, self.heads // 2, self.size).transpose(1, 2)
        xv = self.wv(x).view(bsz, seqlen, self.heads // 2, self.size).transpose(1, 2)
        xq, xk = xq * cos + rotate_half(xq) * sin, xk * cos + rotate_half(xk) * sin
        xk, xv = repeat_kv(xk, 2), repeat_kv(xv, 2)
        scores = torch.matmul(xq, xk.transpose(2, 3)) / math.sqrt(self.size)
        scores = scores + torch.triu(
            torch.full((seqlen, seqlen), -1e9, device=x.device), diagonal=1
        )
        output = torch.matmul(F.softmax(scores, dim=-1).type_as(xq), xv)
        return self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x), cos, sin)
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    """A language model's blocks on rows of pixels."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.embed = nn.Linear(96, width, bias=False)
        self.layers = nn.ModuleList([LlamaBlock(width) for _ in range(2)])
        self.norm, self.head = RMSNorm(width), nn.Linear(width, 5, bias=False)
        size = width // 4
        angles = torch.outer(torch.arange(64.0), 100 ** -(torch.arange(0, size, 2) / size))
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos())
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.embed(x.permute(0, 2, 1, 3).flatten(2))).mean(1))

    def read(self, h: Tensor) -> Tensor:
        _, seqlen, _ = h.shape
        for layer in self.layers:
            h = layer(h, self.cos[:seqlen], self.sin[:seqlen])
        return self.norm(h)


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, squeeze and excite, as in EfficientNet."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, bias=False)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Conv2d(width, 3, 1), nn.Conv2d(3, width, 1)
        self.pointwise = nn.Conv2d(width, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.silu(self.bn(self.depthwise(x)))
        scale = self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        x = x + y * torch.sigmoid(scale)
        return self.head(F.silu(self.pointwise(x)).mean((2, 3)))


class LanguageModel(nn.Module):
    """nanoGPT: tables of words and positions, and a head that is the table of words."""

    def __init__(self, words: int = 11, width: int = 8):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(16, width)
        self.h = nn.ModuleList([GPTBlock(width) for _ in range(2)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        _, t = idx.size()
        assert t <= 16, f"a text of {t} words is too long"
        x = self.wte(idx) + self.wpe(torch.arange(0, t, dtype=torch.long, device=idx.device))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return self.lm_head(x if targets is not None else x[:, [-1], :])


class RotaryLanguageModel(Llama):
    """Llama on words, with a head of its own."""

    def __init__(self, words: int = 11, width: int = 16):
        super().__init__(width)
        self.embed, self.head = nn.Embedding(words, width), nn.Linear(width, words, bias=False)

    def forward(self, idx: Tensor) -> Tensor:
        return self.head(self.read(self.embed(idx)))


class EncoderLanguageModel(nn.Module):
    """The encoder of torch.nn with a causal mask."""

    def __init__(self, words: int = 11, width: int = 8):
        super().__init__()
        self.words, self.head = nn.Embedding(words, width), nn.Linear(width, words)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        layer = nn.TransformerEncoderLayer(width, 2, 20, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, idx: Tensor) -> Tensor:
        n = idx.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n).to(self.positions.dtype)
        x = self.encoder(self.words(idx) + self.positions[:, :n], mask=mask, is_causal=True)
        return self.head(x)


LANGUAGE_MODELS = {
    "gpt": LanguageModel,
    "rotary": RotaryLanguageModel,
    "encoder": EncoderLanguageModel,
}


@pytest.fixture(params=LANGUAGE_MODELS.values(), ids=LANGUAGE_MODELS.keys())
def language_model(request: pytest.FixtureRequest) -> nn.Module:
    """One after the other; they map words below 11 to scores of words."""
    torch.manual_seed(0)
    return request.param()


@dataclass(frozen=True)
class Architecture:
    """A network and what is to be found in it.

    Attributes:
        make: Builds it; it maps images (batch, 3, 32, 32) to 5 numbers.
        free: Number of populations that may be renumbered.
        share: Least share of entries that are read in their place.
        alone: What every parameter that is read alone has in its name.
        same: Axes that must run over the same neurons, as (parameter, axis).
    """

    make: Callable[[], nn.Module]
    free: int
    share: float
    alone: tuple[str, ...] = ()
    same: tuple[tuple[str, int], ...] = ()


ARCHITECTURES = {
    "resnet": Architecture(
        *(ResNet18, 12, 1.0, ()),
        (
            *(("layer2.0.conv2.weight", 0), ("layer2.0.downsample.0.weight", 0)),
            *(("layer2.0.bn2.bias", 0), ("layer2.1.conv2.weight", 0), ("layer3.0.conv1.weight", 1)),
        ),
    ),
    "vgg": Architecture(
        VGG,
        6,
        1.0,
        (),
        (("features.11.weight", 0), ("features.12.bias", 0), ("classifier.0.weight", 1)),
    ),
    "unet": Architecture(
        UNet, 8, 1.0, (), (("middle.3.weight", 0), ("middle.4.bias", 0), ("up2.weight", 1))
    ),
    "mixer": Architecture(
        *(Mixer, 5, 1.0, ()),
        (
            *(("embed.weight", 0), ("blocks.0.channels.2.weight", 0), ("blocks.1.norm1.bias", 0)),
            *(("head.weight", 1), ("norm.weight", 0)),
        ),
    ),
    "separable": Architecture(
        *(Separable, 3, 1.0, ()),
        (("stem.weight", 0), ("depthwise.weight", 0), ("bn.bias", 0), ("pointwise.weight", 1)),
    ),
    "vit": Architecture(
        *(ViT, 5, 1.0, ()),
        (
            *(("patches.weight", 0), ("positions", 0), ("blocks.1.attention.out_proj.bias", 0)),
            *(("blocks.0.attention.in_proj_weight", 1), ("head.weight", 1)),
        ),
    ),
    "gpt": Architecture(
        *(GPT, 5, 1.0, ()),
        (("wpe", 0), ("h.0.c_attn.weight", 1), ("h.1.c_proj.weight", 0), ("lm_head.weight", 1)),
    ),
    "encoder": Architecture(
        *(SignalTransformer, 5, 1.0, ()),
        (
            *(("positions", 0), ("encoder.layers.0.self_attn.in_proj_weight", 1)),
            *(("encoder.layers.1.norm2.bias", 0), ("head.weight", 1)),
        ),
    ),
    "llama": Architecture(
        *(Llama, 11, 1.0, ()),
        (("embed.weight", 0), ("layers.0.wk.weight", 1), ("layers.1.wo.weight", 0)),
    ),
}


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """One after the other."""
    torch.manual_seed(0)
    return request.param
