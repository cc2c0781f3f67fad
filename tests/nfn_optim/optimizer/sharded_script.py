"""One of several processes: run as `python sharded_script.py FOLDER RANK PROCESSES`.

Every case trains one model twice: cut, by all processes together, and whole, by each alone.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from nfn_optim import NFNOptimizer, load_rule

STEPS = 10


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 2)
        self.mlp = nn.Sequential(nn.Linear(width, 18), nn.GELU(), nn.Linear(18, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


def transformer() -> nn.Module:
    return nn.Sequential(nn.Embedding(11, 6), Block(6), nn.LayerNorm(6), nn.Linear(6, 3))


def conv() -> nn.Module:
    layers = (nn.Conv2d(1, 5, 3), nn.Tanh(), nn.ConvTranspose2d(5, 6, 2), nn.Tanh())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 3))


def batch(step: int, of: nn.Module) -> tuple[Tensor, Tensor]:
    """Inputs and labels of a step, such as the model takes."""
    generator = torch.Generator().manual_seed(step)
    first = next(of.modules())[0] if isinstance(of, nn.Sequential) else None
    labels = torch.randint(3, (8,), generator=generator)
    if isinstance(first, nn.Embedding):
        return torch.randint(11, (8, 4), generator=generator), labels
    shape = (8, 1, 4, 4) if isinstance(first, nn.Conv2d) else (8, 6)
    return torch.randn(*shape, generator=generator), labels


def loss_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    outputs = model(inputs)
    return F.cross_entropy(outputs if outputs.dim() == 2 else outputs.mean(1), labels)


def mine(tensor: Tensor) -> Tensor:
    """A process's share of a batch."""
    return tensor.chunk(dist.get_world_size())[dist.get_rank()]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range,
    shares: bool = False,
    before_step: Callable[[int], object] = lambda step: None,
) -> None:
    for step in steps:
        inputs, labels = batch(step, model)
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        if shares:
            inputs, labels = mine(inputs), mine(labels)
        optimizer.zero_grad()
        loss_of(model, inputs, labels).backward()
        before_step(step)
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def distance(first: nn.Module, second: nn.Module) -> float:
    """Largest difference of two models' parameters."""
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    gaps = []
    for (name, p), (other, q) in pairs:
        assert name == other
        gaps.append(float((whole(p) - whole(q)).abs().max()))
    return max(gaps)


def moved(model: nn.Module, start: nn.Module) -> float:
    return distance(model, start)


def by_layers(model: nn.Module, **options: object) -> nn.Module:
    """FSDP2, a group for each layer."""
    for layer in model:
        if next(layer.parameters(), None) is not None:
            fully_shard(layer, **options)
    return fully_shard(model, **options)


def in_groups_of_two(model: nn.Module) -> nn.Module:
    """Replicas of a model that is cut in two."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "cut"))
    return by_layers(model, mesh=mesh)


def world() -> object:
    return init_device_mesh("cpu", (dist.get_world_size(),))


def tensor_parallel(model: nn.Module, mesh: object = None) -> nn.Module:
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    return parallelize_module(model, mesh or world(), plan)


def block_parallel(model: nn.Module) -> nn.Module:
    plan = {"1.mlp.0": ColwiseParallel(), "1.mlp.2": RowwiseParallel()}
    return parallelize_module(model, world(), plan)


def both_ways(model: nn.Module) -> nn.Module:
    """Tensor parallel inside of FSDP2."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "tp"))
    return by_layers(tensor_parallel(model, mesh["tp"]), mesh=mesh["dp"])


def even() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))


def gap(
    build: Callable[[], nn.Module],
    cut: Callable[[nn.Module], nn.Module],
    shares: bool = True,
    checkpoint: str = "untrained",
    **options: object,
) -> float:
    """How far a cut model ends from a whole one."""
    torch.manual_seed(0)
    plain = build().double()
    sharded = cut(copy.deepcopy(plain))
    start = copy.deepcopy(plain)
    options = {"checkpoint": load_rule(checkpoint).requires_grad_(False).double(), **options}
    mine_, its = NFNOptimizer(sharded, **options), NFNOptimizer(plain, **options)
    assert mine_.coverage().share == its.coverage().share
    train(sharded, mine_, range(STEPS), shares)
    train(plain, its, range(STEPS))
    assert distance(plain, start) > 1e-3
    return distance(sharded, plain)


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "mlp", lambda: gap(mlp, by_layers)
    yield "mlp, learned", lambda: gap(mlp, by_layers, checkpoint="small")
    yield "transformer", lambda: gap(transformer, by_layers)
    yield "transformer, learned", lambda: gap(transformer, by_layers, checkpoint="small")
    yield "conv", lambda: gap(conv, by_layers, weight_decay=0.01)
    yield "conv, learned", lambda: gap(conv, by_layers, checkpoint="small")
    yield "tensor parallel", lambda: gap(even, tensor_parallel, shares=False)
    yield "tensor parallel, learned", lambda: gap(even, tensor_parallel, False, checkpoint="small")
    yield "block", lambda: gap(transformer, block_parallel, shares=False)
    if dist.get_world_size() == 4:
        yield "replicas", lambda: gap(transformer, in_groups_of_two)
        yield "replicas, learned", lambda: gap(mlp, in_groups_of_two, checkpoint="small")
        yield "both", lambda: gap(even, both_ways, shares=False)
        yield "both, learned", lambda: gap(even, both_ways, shares=False, checkpoint="small")


def main(folder: Path, rank: int, processes: int) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet{processes}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=processes)
    found = {}
    for name, case in cases():
        try:
            found[name] = case()
        except Exception as e:
            import traceback; traceback.print_exc(); found[name]=repr(e)
        print(name, found[name], flush=True)
    torch.save(found, folder / f"{processes}-{rank}.pt")
    print(found)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
