"""Does `weakspot serve` stand its ground? More clients than it answers at once, on loopback, until all are answered.

The service runs in a process of its own, on an ONNX export; each client sends the next picture as soon as the last one
is answered. Memory is the service's highest resident one, after a tenth of the requests and at the end.

    python benchmarks/service.py DATA --weights FILE --clients 32 --requests 400
"""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import typer
from common import DataArgument, ImagesOption, OutputOption, WeightsOption, choose_files, described, number, report

from common import save_model, table, workplace  # isort: skip

from weakspot.export.graph import write_onnx
from weakspot.inference.localizer import Localizer

GROWTH_MB = 50.0
"""How much memory may grow after the first tenth of the requests."""


def start(model: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the service on a free port; returns its process and address."""
    command = [sys.executable, "-m", "weakspot", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://[\d.]+:\d+", process.stdout.readline() if process.stdout else "")
    if address is None:
        raise RuntimeError("the service did not start")
    return process, address[0]


def peak_mb(process: subprocess.Popen[str]) -> float:
    """Highest resident memory so far, in MB (10⁶ bytes); Linux only."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def ask(client: httpx.Client, path: Path) -> tuple[float, bool]:
    """Seconds until a picture is answered, and whether it was."""
    begin = time.perf_counter()
    try:
        answer = client.post("/predict?map=true", files={"images": (path.name, path.read_bytes())})
        fine = answer.status_code == 200 and answer.json()["predictions"][0]["status"] == "ok"
    except httpx.HTTPError:
        fine = False
    return time.perf_counter() - begin, fine


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 48,
    clients: Annotated[int, typer.Option(min=1, help="Clients at a time.")] = 32,
    requests: Annotated[int, typer.Option(min=10, help="Requests in all.")] = 300,
    output: OutputOption = None,
) -> None:
    """Load the service and count errors."""
    with workplace(data, images) as (scratch, folder):
        original = Localizer.load(save_model(scratch / "model", weights))
        write_onnx(scratch / "model.onnx", original.model, original.meta)
        paths = choose_files(folder, images)
        process, address = start(scratch / "model.onnx")
        limits = httpx.Limits(max_connections=clients)
        with httpx.Client(base_url=address, timeout=600, limits=limits) as client:
            while not _up(client):
                time.sleep(0.1)
            wanted = [paths[i % len(paths)] for i in range(requests)]
            first = requests // 10
            begin = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                found = list(pool.map(lambda path: ask(client, path), wanted[:first]))
                early = peak_mb(process)
                found += pool.map(lambda path: ask(client, path), wanted[first:])
            took, late = time.perf_counter() - begin, peak_mb(process)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    seconds, errors = [each for each, _ in found], sum(not fine for _, fine in found)
    rows = [
        (requests, errors, number(requests / took), number(statistics.median(seconds)),
         number(statistics.quantiles(seconds, n=20)[-1]), number(early), number(late)),
    ]  # fmt: skip
    header = (
        "requests",
        "errors",
        "a second",
        "median wait, s",
        "95 % wait at most, s",
        "peak at first, MB",
        "peak, MB",
    )
    intro = f"{described(data, images)}, one a request, each with its map; {clients} clients at a time, ONNX Runtime."
    failures = [
        text
        for wrong, text in (
            (errors, f"{errors} errors"),
            (late - early > GROWTH_MB, f"memory grew by {late - early:.0f} MB"),
            (status, f"the service ended with status {status}"),
        )
        if wrong
    ]
    report("The service under load", [intro, table(header, rows)], output, "; ".join(failures))


def _up(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    typer.run(main)
