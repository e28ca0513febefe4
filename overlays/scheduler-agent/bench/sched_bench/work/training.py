"""A training loop of PyTorch's whose data come from workers; a fixed number of steps.

python3 -m sched_bench.work.training --seed 1 --scale 1
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from .load import spin

WORKERS = 2
BATCH, BATCHES = 8, 12
WIDTH = 32


class Samples(torch.utils.data.Dataset):
    """Samples that take a worker some work each, as decoding a picture does."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        """One sample."""
        spin(2000 + (index * 7919 + self.seed) % 2000)
        chance = torch.Generator().manual_seed(self.seed + index)
        return torch.randn(WIDTH, generator=chance)


def main() -> None:
    """Train, print samples in a second; the first batch, for which the workers start, does not count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = max(2, round(BATCHES * arguments.scale))
    data = Samples(BATCH * batches, arguments.seed)
    begin = 0.0
    for number, batch in enumerate(torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=WORKERS)):
        if number == 0:
            begin = time.monotonic()
            continue
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    print(json.dumps({"throughput": BATCH * (batches - 1) / (time.monotonic() - begin)}))


if __name__ == "__main__":
    main()
