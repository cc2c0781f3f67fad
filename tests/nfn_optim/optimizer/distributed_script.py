"""One of two processes that train one model: run as `python distributed_script.py FOLDER RANK`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from nfn_optim import NFNOptimizer


def refusal(make: object) -> str:
    """The error that NFNOptimizer gives for what `make` returns."""
    try:
        NFNOptimizer(make())
    except TypeError as error:
        return str(error)
    return "no error"


def sharded_parameter() -> list[nn.Parameter]:
    mesh = DeviceMesh("cpu", [0, 1])
    return [nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)]))]


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    )
    optimizer = NFNOptimizer(model)
    generator = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(5):
        inputs = torch.randn(16, 6, generator=generator)
        optimizer.zero_grad()
        loss = (model(inputs) - inputs[:, :3]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    parameters = {n: p.detach() for n, p in model.module.named_parameters()}
    errors = [refusal(sharded_parameter), refusal(lambda: fully_shard(nn.Linear(4, 4)))]
    result = {
        "model": parameters,
        "losses": losses,
        "errors": errors,
        "share": optimizer.coverage().share,
    }
    torch.save(result, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
