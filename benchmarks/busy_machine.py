"""How much slower does the mask head train beside another busy process? The goal is at most 2.5 × the time alone.

Its convolutions are small, so that the threads of one step wait for each other thousands of times. In libgomp waiting
threads spin by default; where another process has one of the cores, they spin on the other one, and the thread that
they wait for gets no time. Each way of waiting is measured alone and beside processes that only count, in turns.

    python benchmarks/busy_machine.py                       # 30 steps, one busy process
    python benchmarks/busy_machine.py --steps 100 --busy 2 --rounds 3

Measure on an otherwise idle machine: what else runs makes "alone" slower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

WAYS: dict[str, dict[str, str]] = {
    "as set by weakspot": {},
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Environment of each way to wait."""


def train(steps: int) -> float:
    """Train a mask head on random features of the sizes that ``refine=segment`` has at 320 pixels; seconds a step."""
    from weakspot.models.evidence import EvidenceNet, Level  # before torch, which reads settings when it is loaded

    import torch  # isort: skip

    torch.manual_seed(0)
    net = EvidenceNet(("fine", "middle", "coarse"), ((256, 16), (512, 32), (512, 64)))
    sizes = ((40, 16), (20, 32), (10, 64))
    levels = [Level(torch.randn(16, wide, side, side), torch.randn(16, wide)) for side, wide in sizes]
    pixels, prompt = torch.randn(16, 3, 160, 160), torch.rand(16, 1, 40, 40)
    target = (torch.rand(16, 1, 80, 80) > 0.9).float()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    started = 0.0
    for step in range(steps + 2):
        if step == 2:  # the first ones prepare
            started = time.perf_counter()
        logits = net.grow(levels, pixels, prompt, 2)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (time.perf_counter() - started) / steps


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that each want a core while the block runs."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(steps: int, settings: dict[str, str]) -> float:
    """Seconds a step in a process of its own, whose environment has `settings`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--worker", "--steps", str(steps)]
    answer = subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=True)
    return float(json.loads(answer.stdout))


def main() -> None:
    """Measure every way, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(train(given.steps)))
        return
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    beside: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, settings in WAYS.items():
            alone[way].append(measure(given.steps, settings))
            with busy(given.busy):
                beside[way].append(measure(given.steps, settings))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {given.busy} busy beside, {given.steps} steps")
    print(f"{'way':20}{'ms a step alone':>18}{'beside':>10}{'ratio':>8}")
    for way in WAYS:
        first, second = median(alone[way]), median(beside[way])
        print(f"{way:20}{1000 * first:18.0f}{1000 * second:10.0f}{second / first:8.2f}")


if __name__ == "__main__":
    main()
