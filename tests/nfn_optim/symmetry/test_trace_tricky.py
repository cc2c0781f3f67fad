"""Forward code that moves, mixes, cuts and overwrites axes: no symmetry may be made up."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class Tricky(nn.Module):
    """Channels `x` (2, 4, 4, 4) of a convolution, so that no axis is told by its size."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.f, self.l, self.big = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(64, 4)
        self.w, self.mat = nn.Parameter(torch.ones(4)), nn.Parameter(torch.eye(4))
        self.c1, self.bn1 = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.gn, self.ln = nn.GroupNorm(2, 4), nn.LayerNorm(4)
        self.code = code

    def forward(self, images):
        return self.code(self, self.a(images))


def overwrite(x):
    x = x * 1
    x[:, 0] = 0
    return x


def write_through_a_view(x):
    x = x * 1
    x.flatten(1).mul_(torch.arange(64.0, dtype=torch.float64))
    return x


def add_in_place(m, x):
    x = x * 1
    x.add_(m.b(x))
    return x


TRICKY = {
    "view1": lambda m, x: m.l(x.view(1, -1, 4)),
    "viewNHC": lambda m, x: m.l(x.view(x.size(0), 16, 4)),
    "viewC": lambda m, x: m.l(x.view(x.size(0), 4, 16).mean(2)),
    "viewC-1": lambda m, x: m.l(x.view(x.size(0), x.size(1), -1).mean(2)),
    "viewneg": lambda m, x: m.l(x.reshape(-1, 4)),
    "viewneg2": lambda m, x: m.big(x.reshape(-1, 64)),
    "viewneg16": lambda m, x: m.l(x.reshape(-1, 16)[:, :4]),
    "groups": lambda m, x: m.l(x.reshape(x.size(0), 2, 2, 4, 4).mean((1, 3, 4)).repeat(1, 2)),
    "roll": lambda m, x: m.l(x.roll(1, 1).mean((2, 3))),
    "flip": lambda m, x: m.l(x.flip(1).mean((2, 3))),
    "cumsum": lambda m, x: m.l(x.cumsum(1).mean((2, 3))),
    "stride": lambda m, x: m.l(torch.cat([x[:, ::2], x[:, 1::2]], 1).mean((2, 3))),
    "lastidx": lambda m, x: m.l(x[..., 0].mean(-1)),
    "idx0": lambda m, x: m.l(x[:, :, 0, 0]),
    "idxc": lambda m, x: m.l(x[:, 0]),
    "idxnone": lambda m, x: m.l(x[:, None].mean((1, 3, 4))),
    "idxb": lambda m, x: m.l(x[0].mean((1, 2))),
    "stack": lambda m, x: m.l(torch.stack([x, x], 1).mean((1, 3, 4))),
    "stackc": lambda m, x: m.l(torch.stack([x.mean((2, 3)), x.amax((2, 3))], 2).flatten(1)[:, :4]),
    "padc": lambda m, x: m.l(F.pad(x, (0, 0, 0, 0, 1, 0))[:, :4].mean((2, 3))),
    "pads": lambda m, x: m.l(F.pad(x, (1, 1, 0, 2)).mean((2, 3))),
    "T": lambda m, x: m.l(x.mean((2, 3)).T @ x.mean((2, 3))),
    "tt": lambda m, x: m.l(x.mean((2, 3)).t().mean(1)[None]),
    "einsum": lambda m, x: m.l(torch.einsum("bchw,bdhw->bcd", x, x)),
    "softmax1": lambda m, x: m.l(x.softmax(1).mean((2, 3))),
    "max1": lambda m, x: m.l(x.max(1)[0].flatten(1)[:, :4]),
    "max1k": lambda m, x: m.l((x - x.max(dim=1, keepdim=True)[0]).mean((2, 3))),
    "argmax": lambda m, x: m.l((x + x.argmax(1, keepdim=True)).mean((2, 3))),
    "norm": lambda m, x: m.l(x.norm(2, dim=(2, 3))),
    "norm2": lambda m, x: m.l(F.normalize(x, dim=1).mean((2, 3))),
    "sub": lambda m, x: m.l((x - x.mean(1, keepdim=True)).mean((2, 3))),
    "subnok": lambda m, x: m.l((x - x.mean(1)[:, None]).mean((2, 3))),
    "mw": lambda m, x: m.l((x + x.mean(1).mean(1)[:, None, None, :]).mean((2, 3))),
    "addT": lambda m, x: m.l((x.mean(3) + x.mean(3).transpose(1, 2)).mean(2)),
    "addflat": lambda m, x: m.big(x.flatten(1) + x.permute(0, 2, 3, 1).flatten(1)),
    "flatperm": lambda m, x: m.big(x.permute(0, 2, 3, 1).flatten(1)),
    "flatbatch": lambda m, x: m.l(x.permute(0, 2, 3, 1).flatten(0, 2)),
    "flat23": lambda m, x: m.l(x.flatten(2).mean(2)),
    "flat12": lambda m, x: m.l(x.flatten(1, 2).mean(1)),
    "flat02": lambda m, x: m.l(x.flatten(0, 1).mean((0, 1))[None].repeat(1, 1)),
    "linw": lambda m, x: m.l(m.f(x).mean((2, 3))),
    "conv1d": lambda m, x: m.l(m.c1(x.mean(2)).mean(2)),
    "conv1dT": lambda m, x: m.l(m.c1(x.mean(2).transpose(1, 2)).mean(2)),
    "bn1": lambda m, x: m.l(m.bn1(x.mean((2, 3)))),
    "bn1T": lambda m, x: m.l(m.bn1(m.f(x.flatten(2).transpose(1, 2))[:, :4]).mean(1)),
    "bn1seq": lambda m, x: m.l(m.bn1(m.f(x.mean(2).transpose(1, 2)))).mean(1),
    "gn": lambda m, x: m.l(m.gn(x).mean((2, 3))),
    "ln": lambda m, x: m.l(m.ln(x).mean((2, 3))),
    "wlast": lambda m, x: m.l((x * m.w).mean((2, 3))),
    "wchan": lambda m, x: m.l((x * m.w[:, None, None]).mean((2, 3))),
    "wview": lambda m, x: m.l((x * m.w.view(1, -1, 1, 1)).mean((2, 3))),
    "wview2": lambda m, x: m.l((x * m.w.view(-1, 1, 1)).mean((2, 3))),
    "mat": lambda m, x: m.l(x.mean((2, 3)) @ m.mat),
    "matT": lambda m, x: m.l(x.mean((2, 3)) @ m.mat.t()),
    "matadd": lambda m, x: m.l((x + m.mat).mean((2, 3))),
    "flin": lambda m, x: m.l(F.linear(x.mean((2, 3)), m.mat)),
    "tied": lambda m, x: m.l(F.linear(F.linear(x.mean((2, 3)), m.mat), m.mat)),
    "tiedT": lambda m, x: m.l(F.linear(torch.tanh(x.mean((2, 3)) @ m.mat), m.mat)),
    "bmm": lambda m, x: m.l(torch.bmm(x.flatten(2).transpose(1, 2), x.flatten(2)).mean(1)[:, :4]),
    "setitem": lambda m, x: m.l(overwrite(x).mean((2, 3))),
    "setitem2": lambda m, x: m.l(overwrite(x).mean((2, 3))),
    "inplace": lambda m, x: m.l(write_through_a_view(x).mean((2, 3))),
    "inplace2": lambda m, x: m.l(add_in_place(m, x).mean((2, 3))),
    "chunkswap": lambda m, x: m.l(torch.cat(x.chunk(2, 1)[::-1], 1).mean((2, 3))),
    "chunkb": lambda m, x: m.l((x.chunk(2, 0)[0]).mean((2, 3))),
    "splits": lambda m, x: m.l(torch.cat(torch.split(x, 2, dim=3), 3).mean((2, 3))),
    "outer": lambda m, x: m.l((x.mean((2, 3)).unsqueeze(1) * x.mean((2, 3)).unsqueeze(2)).mean(1)),
    "outer2": lambda m, x: m.l(
        (x.mean((2, 3)).unsqueeze(1) * x.mean((2, 3)).unsqueeze(2)).flatten(1)[:, :4]
    ),
    "permb": lambda m, x: m.l(x.permute(1, 0, 2, 3).mean((2, 3)).transpose(0, 1)),
    "movedim": lambda m, x: m.l(x.movedim(1, -1).mean((1, 2))),
    "glu": lambda m, x: m.l(F.glu(x, 1).repeat(1, 2, 1, 1).mean((2, 3))),
    "pixsh": lambda m, x: m.l(F.pixel_shuffle(x, 2).flatten(1)[:, :4]),
    "interp": lambda m, x: m.l(F.interpolate(x, scale_factor=2).mean((2, 3))),
    "rep": lambda m, x: m.l(x.repeat_interleave(2, 1)[:, :4].mean((2, 3))),
    "isel": lambda m, x: m.l(x.index_select(1, torch.tensor([1, 0, 3, 2])).mean((2, 3))),
    "idxt": lambda m, x: m.l(x[:, torch.tensor([1, 0, 3, 2])].mean((2, 3))),
    "where": lambda m, x: m.l(torch.where(x > 0, x, -x).mean((2, 3))),
    "arange": lambda m, x: m.l(x.mean((2, 3)) * torch.arange(4.0).double()),
    "zerosl": lambda m, x: m.l((x + torch.zeros_like(x)).mean((2, 3))),
    "mp1": lambda m, x: m.l(F.max_pool1d(x.mean((2, 3)), 2).repeat(1, 2)),
    "mp3": lambda m, x: m.l(F.max_pool3d(x, 2).repeat(1, 2, 1, 1).mean((2, 3))),
    "apool": lambda m, x: m.l(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1)),
    "sq": lambda m, x: m.l(F.adaptive_avg_pool2d(x, (1, 1)).squeeze()),
    "resw": lambda m, x: m.l((x + m.b(x)).mean((2, 3))),
    "resT": lambda m, x: m.l((x + m.b(x).transpose(2, 3)).mean((2, 3))),
    "resC": lambda m, x: m.l((x + m.b(x).transpose(1, 2)).mean((2, 3))),
    "cat0": lambda m, x: m.l(torch.cat([x, m.b(x)], 0).mean((2, 3))),
    "cat3": lambda m, x: m.l(torch.cat([x, m.b(x)], 3).mean((2, 3))),
    "catin": lambda m, x: m.l(torch.cat([x, m.b(x)], 1)[:, :4].mean((2, 3))),
    "unflat": lambda m, x: m.l(x.unflatten(1, (2, 2)).flatten(1, 2).mean((2, 3))),
    "std": lambda m, x: m.l(x.std((2, 3))),
    "var1": lambda m, x: m.l((x / x.var(1, keepdim=True)).mean((2, 3))),
    "sdpa": lambda m, x: m.l(
        F.scaled_dot_product_attention(x.flatten(2), x.flatten(2), x.flatten(2)).mean(2)
    ),
    "outb": lambda m, x: x.mean((2, 3)),
    "scalar": lambda m, x: m.l(x.mean((2, 3))) * x.sum(),
    "dot": lambda m, x: (m.l(x.mean((2, 3))) * x.mean((2, 3))).sum(1),
    "expand": lambda m, x: m.l((x + m.w.view(1, 4, 1, 1).expand(2, 4, 4, 4)).mean((2, 3))),
    "expandw": lambda m, x: m.l((x + m.w.expand(2, 4, 4, 4)).mean((2, 3))),
    "shape": lambda m, x: m.l(x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]).mean(2)),
    "shape2": lambda m, x: m.l(
        x.reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3]).mean(1)[:, :4]
    ),
    "shape3": lambda m, x: m.l(
        x.reshape(x.shape[0] * x.shape[1], -1).mean(1).view(x.shape[0], x.shape[1])
    ),
    "shape4": lambda m, x: m.l(x.reshape(x.shape[0], -1, x.shape[1]).mean(1)),
    "shape5": lambda m, x: m.l(x.reshape(-1, x.shape[1])),
    "pooled to one": lambda m, x: m.l(F.adaptive_avg_pool2d(x, 1).view(-1, 4)),
}
FOUND = (
    *("viewC", "flat23", "flatperm", "softmax1", "sub", "wchan", "mat", "flin", "apool", "idx0"),
    *("std", "conv1d", "bn1", "interp", "where", "shape", "pooled to one"),
)  # where the channels are free indeed


@pytest.mark.parametrize("name", TRICKY)
def test_no_symmetry_is_claimed_that_is_not_there(name, assert_renumbering_keeps_the_function):
    spec = assert_renumbering_keeps_the_function(Tricky(TRICKY[name]), torch.randn(2, 3, 4, 4))
    if name in FOUND:
        assert "a" in spec.populations


def test_the_oracle_notices_a_wrong_claim(monkeypatch, assert_renumbering_keeps_the_function):
    from nfn_optim.symmetry.tracer import _functions

    monkeypatch.setattr(_functions, "ELEMENTWISE", _functions.ELEMENTWISE | {"cumsum"})
    with pytest.raises(AssertionError, match="not close"):
        assert_renumbering_keeps_the_function(Tricky(TRICKY["cumsum"]), torch.randn(2, 3, 4, 4))
