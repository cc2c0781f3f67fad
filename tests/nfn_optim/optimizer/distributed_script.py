"""One of two processes that train one model: run as `python distributed_script.py FOLDER RANK`."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nfn_optim import NFNOptimizer


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
    result = {
        "model": parameters,
        "losses": losses,
        "share": optimizer.coverage().share,
    }
    torch.save(result, folder / f"{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # threads of gloo outlive the group that DDP holds, and may abort an exit


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
