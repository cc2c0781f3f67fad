"""Trained readers on disk, and what they say of other networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from nfn_optim.files import read_tensors, write_whole
from nfn_optim.layers import PackedFeatures

from ..support import Observer, Work
from ..zoo import Collection, Zoo
from ._network import Reader, ReaderConfig
from ._readable import readable

FORMAT, VERSION = "meta_train.readers", "1"
_BATCH = 128  # networks


@dataclass(frozen=True)
class Reading:
    """What readers say of one network.

    Attributes:
        network: Its name.
        predicted: The mean number of all readers, or the class with the largest mean chance.
        spread: Standard deviation of the readers' numbers, or of their chances for this class.
        confidence: The mean chance; None for numbers.
    """

    network: str
    predicted: float | str
    spread: float
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class Readers:
    """Readers of one property, trained on different splits of the same networks.

    Attributes:
        target: The property.
        classes: Its classes; empty where it is a number.
        config: Widths of the readers.
        modules: One for each seed; what they write are chances' logits, or standardized numbers.
        units: Mean and standard deviation that numbers were standardized with, for each.
    """

    target: str
    classes: tuple[str, ...]
    config: ReaderConfig
    modules: tuple[Reader, ...]
    units: tuple[tuple[float, float], ...]

    def read(
        self,
        zoo: Collection | Zoo,
        *,
        skip_bad: bool = False,
        on_progress: Observer = lambda work: None,
    ) -> tuple[Collection, tuple[Reading, ...]]:
        """What the readers say of networks, which may differ from those of their training.

        Args:
            zoo: Networks; labels are not needed.
            skip_bad: Leaves out networks that cannot be read, instead of an error.
            on_progress: Told of all work as it goes on, as by `predict`.

        Returns:
            The networks that were read, and what was said of each.

        Raises:
            ValueError: Naming networks that cannot be read.
        """
        collection = readable(Collection.of(zoo) if isinstance(zoo, Zoo) else zoo, skip_bad)
        said = self._say(collection.networks.map(Tensor.float).pack(), Work(on_progress))
        if not self.classes:
            means, spreads = said.mean(0).squeeze(-1), said.std(0, correction=0).squeeze(-1)
            told = zip(collection.names, means.tolist(), spreads.tolist(), strict=True)
            return collection, tuple(Reading(*one) for one in told)
        chances, best = said.mean(0).max(-1)
        spreads = said.std(0, correction=0).gather(-1, best.unsqueeze(-1)).squeeze(-1)
        chosen = [self.classes[i] for i in best.tolist()]
        columns = (chosen, spreads.tolist(), chances.tolist())
        rows = zip(collection.names, *columns, strict=True)
        return collection, tuple(Reading(*row) for row in rows)

    @torch.no_grad()
    def _say(self, networks: PackedFeatures, work: Work) -> Tensor:
        """Numbers, or chances, of every reader: `(readers, n, classes or 1)`."""
        work.plan("predicting", len(networks))
        work.begin("predicting")
        said = []
        for start in range(0, len(networks), _BATCH):
            piece = networks.take(slice(start, start + _BATCH))
            said.append(self._say_piece(piece))
            work.tell("predicting", start + len(piece))
        return torch.cat(said, 1)

    def _say_piece(self, networks: PackedFeatures) -> Tensor:
        said = []
        for module, (mean, std) in zip(self.modules, self.units, strict=True):
            written = module.eval()(networks).double()
            said.append(written.softmax(-1) if self.classes else written * std + mean)
        return torch.stack(said)

    def save(self, path: str | Path) -> None:
        """Writes all to a safetensors file, atomically.

        Raises:
            OSError: If it cannot be written; what was there before stays.
        """
        content = {
            "target": self.target,
            "classes": self.classes,
            "config": asdict(self.config),
            "units": self.units,
        }
        tensors = {
            f"{place}.{name}": tensor.contiguous()
            for place, module in enumerate(self.modules)
            for name, tensor in module.state_dict().items()
        }
        header = {"format": FORMAT, "version": VERSION, "readers": json.dumps(content)}
        write_whole(Path(path), save(tensors, header))

    @classmethod
    def load(cls, path: str | Path) -> Readers:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, of another version, or holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"there are no readers {path}. Give a file written by zoo predict --save."
            )
        header, tensors = read_tensors(path, FORMAT, (VERSION,), "zoo predict --save")
        try:
            return _built(json.loads(header["readers"]), tensors)
        except (RuntimeError, TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path} does not hold the configuration and weights of readers: {error}"
            ) from error


def _built(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Readers:
    config, classes = ReaderConfig(**content["config"]), tuple(content["classes"])
    modules = []
    for place in range(len(content["units"])):
        with torch.random.fork_rng(devices=[]):
            module = Reader(config, len(classes) or 1)
        prefix = f"{place}."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        module.load_state_dict(own)
        modules.append(module.eval())
    units = tuple((float(mean), float(std)) for mean, std in content["units"])
    return Readers(str(content["target"]), classes, config, tuple(modules), units)
