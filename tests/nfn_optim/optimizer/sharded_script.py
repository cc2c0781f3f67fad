"""One of 2, 1 or 4 processes: run as `python sharded_script.py FOLDER RANK PROCESSES`.

Every case trains one model twice: cut, by all processes together, and whole, by each alone.
"""

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from nfn_optim import NFNOptimizer, load_rule
from nfn_optim.rules import NFNRule

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
        self.mlp = nn.Sequential(nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width))

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
    before_step: Callable[[nn.Module], object] = lambda model: None,
) -> None:
    for step in steps:
        inputs, labels = batch(step, model)
        if inputs.is_floating_point():
            inputs = inputs.to(next(model.parameters()).dtype)
        if shares:
            inputs, labels = mine(inputs), mine(labels)
        optimizer.zero_grad()
        loss_of(model, inputs, labels).backward()
        before_step(model)
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
    plan = {
        "1.mlp.0": ColwiseParallel(),
        "1.mlp.2": RowwiseParallel(),
        "3": ColwiseParallel(output_layouts=Replicate()),
    }
    return parallelize_module(model, world(), plan)


def both_ways(model: nn.Module) -> nn.Module:
    """Tensor parallel inside of FSDP2."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "tp"))
    return by_layers(tensor_parallel(model, mesh["tp"]), mesh=mesh["dp"])


def even() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))


def double(checkpoint: str) -> NFNRule:
    """A rule in double precision, so that rounding does not hide mistakes."""
    return load_rule(checkpoint).requires_grad_(False).double()


def pair(
    build: Callable[[], nn.Module], cut: Callable[[nn.Module], nn.Module]
) -> tuple[nn.Module, nn.Module]:
    """A model cut and whole."""
    torch.manual_seed(0)
    plain = build().double()
    return cut(copy.deepcopy(plain)), plain


def gap(
    build: Callable[[], nn.Module],
    cut: Callable[[nn.Module], nn.Module],
    *,
    shares: bool = True,
    checkpoint: str = "untrained",
    before_step: Callable[[nn.Module], object] = lambda model: None,
    **options: float,
) -> float:
    """How far a cut model ends from a whole one."""
    sharded, plain = pair(build, cut)
    start, rule = copy.deepcopy(plain), double(checkpoint)
    models = (sharded, plain)
    optimizers = [NFNOptimizer(model, checkpoint=rule, **options) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer, range(STEPS), shares and model is sharded, before_step)
    assert distance(plain, start) > 1e-3
    cut_stats, stats = (optimizer.stats() for optimizer in optimizers)
    assert cut_stats.keys() == stats.keys()
    assert all(abs(cut_stats[key] - stats[key]) < 1e-6 for key in stats)
    return distance(sharded, plain)


def clip(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def without_some(model: nn.Module) -> None:
    """Every step lacks the gradients of another layer."""
    layers = [layer for layer in model if next(layer.parameters(), None) is not None]
    steps = model.steps = getattr(model, "steps", 0) + 1
    layers[steps % len(layers)].zero_grad()


def frozen() -> nn.Module:
    model = mlp()
    model[2].requires_grad_(False)
    return model


def mixed(model: nn.Module) -> nn.Module:
    """The middle layer is whole on every process."""
    for layer in (model[0], model[4]):
        fully_shard(layer)
    return model


def average_whole(model: nn.Module) -> None:
    """Gradients of parameters that nothing averages."""
    for param in model.parameters():
        if not isinstance(param, DTensor) and isinstance(model[0].weight, DTensor):
            dist.all_reduce(param.grad)
            param.grad /= dist.get_world_size()


def as_summands(model: nn.Module) -> None:
    """Gradients as sequence parallelism leaves them."""
    for param in model.parameters():
        if isinstance(param, DTensor) and param.placements == (Replicate(),):
            part = param.grad.to_local() / dist.get_world_size()
            param.grad = DTensor.from_local(part, param.device_mesh, [Partial()])


def bad_gradient_of_one_process() -> float:
    """How far a step goes whose gradient is not finite on one process: nowhere, on all."""
    sharded, _ = pair(mlp, by_layers)
    optimizer = NFNOptimizer(sharded, checkpoint=double("untrained"))
    train(sharded, optimizer, range(1), True)
    before = [whole(param) for param in sharded.parameters()]

    def spoil(model: nn.Module) -> None:
        if dist.get_rank() == 1:
            model[0].weight.grad.to_local().fill_(float("nan"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(sharded, optimizer, range(1, 2), True, spoil)
    assert optimizer.skipped_steps == 1
    pairs = zip(before, sharded.parameters(), strict=True)
    return max(float((x - whole(p)).abs().max()) for x, p in pairs)


def state_is_cut_like_parameters() -> float:
    """How far a model ends after its state went through `state_dict` of another optimizer."""
    sharded, plain = pair(transformer, by_layers)
    rule = double("small")
    optimizer = NFNOptimizer(sharded, checkpoint=rule)
    train(sharded, optimizer, range(4), True)
    for param, slots in optimizer.state.items():
        for key in ("square", "lead"):
            assert slots[key].placements == param.placements
            assert slots[key].shape == param.shape
        assert slots["momenta"].to_local().numel() == 3 * param.to_local().numel()
    other = NFNOptimizer(sharded, checkpoint=rule)
    other.load_state_dict(optimizer.state_dict())
    train(sharded, other, range(4, STEPS), True)
    train(plain, NFNOptimizer(plain, checkpoint=rule), range(STEPS))
    return distance(sharded, plain)


def whole_state() -> float:
    """How far a cut model ends that goes on with the state of a whole one."""
    torch.manual_seed(0)
    plain, rule = mlp().double(), double("small")
    its = NFNOptimizer(plain, checkpoint=rule)
    train(plain, its, range(4))
    sharded = by_layers(copy.deepcopy(plain))
    optimizer = NFNOptimizer(sharded, checkpoint=rule)
    optimizer.load_state_dict(its.state_dict())
    train(sharded, optimizer, range(4, STEPS), True)
    train(plain, its, range(4, STEPS))
    return distance(sharded, plain)


def refusal(make: Callable[[], object]) -> str:
    try:
        make()
    except (TypeError, ValueError) as error:
        return str(error)
    return "no error"


def summands() -> str:
    """What is said of a parameter whose summands are dealt."""
    param = nn.Parameter(DTensor.from_local(torch.ones(2, 2), world(), [Partial()]))
    return refusal(lambda: NFNOptimizer([("weight", param)]))


def wrapped() -> str:
    """What is said of FullyShardedDataParallel."""
    model = FullyShardedDataParallel(mlp(), device_id=torch.device("cpu"))
    return refusal(lambda: NFNOptimizer(model))


def zero_redundancy() -> float:
    """How far processes end from each other under ZeroRedundancyOptimizer."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # warns where it is imported

    torch.manual_seed(0)
    model = mlp()
    its = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=NFNOptimizer, model=model)
    assert its.optim.coverage().share == 1
    train(model, its, range(4))
    numbers = nn.utils.parameters_to_vector(model.parameters()).detach()
    others = [torch.empty_like(numbers) for _ in range(dist.get_world_size())]
    dist.all_gather(others, numbers)
    return max(float((numbers - other).abs().max()) for other in others)


def resumed(folder: Path, load: str | None, save: str | None, steps: range) -> nn.Module:
    """A cut or, where there is one process alone, whole model that goes on, and saves."""
    torch.manual_seed(0)
    model = conv().double()
    if dist.is_initialized():
        model = by_layers(model)
    optimizer = NFNOptimizer(model, checkpoint=double("small"))
    if load is not None:
        parts = dict(zip(("model", "optim"), get_state_dict(model, optimizer), strict=True))
        dcp.load(parts, checkpoint_id=folder / load)
        set_state_dict(
            model, optimizer, model_state_dict=parts["model"], optim_state_dict=parts["optim"]
        )
    train(model, optimizer, steps, dist.is_initialized())
    if save is not None:
        parts = dict(zip(("model", "optim"), get_state_dict(model, optimizer), strict=True))
        dcp.save(parts, checkpoint_id=folder / save)
    return model


def cases_of_two(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "mlp", lambda: gap(mlp, by_layers, weight_decay=0.1)
    yield "transformer", lambda: gap(transformer, by_layers, checkpoint="small")
    yield "conv", lambda: gap(conv, by_layers, lr=0.5)
    yield "tensor parallel", lambda: gap(even, tensor_parallel, shares=False, checkpoint="small")
    yield "block", lambda: gap(transformer, block_parallel, shares=False)
    yield "clipped", lambda: gap(mlp, by_layers, before_step=clip)
    yield "frozen", lambda: gap(frozen, by_layers, checkpoint="small")
    yield "gradients missing", lambda: gap(mlp, by_layers, before_step=without_some)
    yield "mixed", lambda: gap(mlp, mixed, before_step=average_whole)
    yield "mixed, learned", lambda: gap(mlp, mixed, before_step=average_whole, checkpoint="small")
    yield "summands", lambda: gap(even, tensor_parallel, shares=False, before_step=as_summands)
    yield "one bad gradient", bad_gradient_of_one_process
    yield "state", state_is_cut_like_parameters
    yield "whole state", whole_state
    yield "ZeRO", zero_redundancy
    yield "refuses summands", summands
    yield "refuses wrapped", wrapped
    yield "saved", lambda: float(resumed(folder, None, "two", range(4)) is None)  # for the others


def cases_of_four(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "mlp", lambda: gap(mlp, by_layers, checkpoint="small")
    yield "transformer", lambda: gap(transformer, by_layers)
    yield "conv", lambda: gap(conv, by_layers, checkpoint="small")
    yield "block", lambda: gap(transformer, block_parallel, shares=False, checkpoint="small")
    yield "replicas", lambda: gap(mlp, in_groups_of_two, checkpoint="small")
    yield "both ways", lambda: gap(even, both_ways, shares=False)
    yield "both ways, learned", lambda: gap(even, both_ways, shares=False, checkpoint="small")
    yield "resumed", lambda: resumed_gap(folder)


def resumed_gap(folder: Path) -> float:
    """How far four processes end that go on where one stopped, which went on after two."""
    torch.manual_seed(0)
    plain = conv().double()
    train(plain, NFNOptimizer(plain, checkpoint=double("small")), range(STEPS))
    return distance(resumed(folder, "one", None, range(7, STEPS)), plain)


def main(folder: Path, rank: int, processes: int) -> None:
    torch.set_num_threads(1)
    if processes == 1:
        resumed(folder, "two", "one", range(4, 7))
        return
    meet = f"file://{folder}/meet{processes}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=processes)
    cases = cases_of_two(folder) if processes == 2 else cases_of_four(folder)
    found = {name: case() for name, case in cases}
    torch.save(found, folder / f"{processes}-{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # threads of gloo outlive the group that a mesh holds, and may abort an exit


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
