"""Does `weakspot serve` stand its ground, and is it faster than another way? More clients than it answers at once.

Services run in processes of their own, on exports of one model, and are asked in turns: one as it was, on ONNX Runtime;
one as it is, on the same file; and one as it is on OpenVINO, which a run's service takes by itself where that export is
certified and the faster one. The first is `--streams 1`, a picture at a time, or with `--other SRC` the code of another
checkout, which makes the exports, too, since earlier code cannot read one of today. Each client sends the next picture
as soon as the last one is answered. Memory is the service's highest resident one, after its first turn and at the end.

    python benchmarks/service.py DATA --weights FILE --clients 32 --requests 400 --other ../before/src
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    WeightsOption,
    choose_files,
    described,
    number,
    report,
    table,
    workplace,
)

GROWTH_MB = 50.0
"""How much memory may grow after the first turn."""

TURNS = 4
"""How often each service is asked."""

MAKE = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
from common import save_model
from weakspot.export.graph import write_onnx, write_openvino
from weakspot.inference.localizer import Localizer
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.weights import load_weights

folder, weights, backbone = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
original = Localizer.load(save_model(folder / "model", weights if backbone == "vgg16" else "none"), "cpu")
model, meta = original.model, original.meta
if backbone != "vgg16":  # what save_model does, on another network
    loaded = load_weights(weights, backbone=backbone)
    network = CamNet(backbone)
    network.load_pretrained(loaded.state)
    with torch.no_grad():
        network.head.weight[1].abs_()
        network.head.bias.copy_(torch.tensor([-1000.0, 1000.0]))
    meta = replace(meta, backbone=backbone, preprocess=replace(meta.preprocess, mode=loaded.preprocess))
    model = Model(network.eval())
write_onnx(folder / "model.onnx", model, meta)
write_openvino(folder / "model.onnx", folder / "model.xml", meta, half=False)
"""
"""Run in a process of its own, as it may be another checkout's code that makes the exports."""


@dataclass
class Service:
    """One of those compared.

    Attributes:
        name: for the table.
        process: that answers.
        address: where.
        seconds: of every request.
        errors: requests without a sound answer.
        took: seconds of every turn.
        early: highest memory after the first turn, MB.
    """

    name: str
    process: subprocess.Popen[str]
    address: str
    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    took: list[float] = field(default_factory=list)
    early: float = float("nan")

    @property
    def rate(self) -> float:
        """Pictures a second, over all turns."""
        return len(self.seconds) / sum(self.took)


def start(name: str, model: Path, options: list[str], source: Path | None) -> Service:
    """Start a service on a free port.

    Args:
        name: for the table.
        model: to serve.
        options: of `weakspot serve`.
        source: folder with the package, of another checkout; None for this one.
    """
    command = [sys.executable, "-m", "weakspot", "serve", str(model), "--port", "0", *options]
    paths = {} if source is None else {"PYTHONPATH": str(source)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **paths})
    address = re.search(r"http://[\d.]+:\d+", process.stdout.readline() if process.stdout else "")
    if address is None:
        raise RuntimeError("the service did not start")
    return Service(name, process, address[0])


def make_exports(folder: Path, weights: str, backbone: str, source: Path | None) -> tuple[Path, Path]:
    """Export a model of random heads: for ONNX Runtime and for OpenVINO.

    Args:
        folder: for it.
        weights: as ``model.weights``.
        backbone: as ``model.backbone``.
        source: folder with the package, of the checkout whose code makes it; None for this one.
    """
    here = Path(__file__).resolve().parent
    path = [str(here)] if source is None else [str(source.resolve().parent / "benchmarks"), str(source.resolve())]
    known = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, *known])}
    subprocess.run([sys.executable, "-c", MAKE, str(folder), weights, backbone], env=environment, check=True)
    return folder / "model.onnx", folder / "model.xml"


def peak_mb(process: subprocess.Popen[str]) -> float:
    """Highest resident memory so far, in MB (10⁶ bytes); Linux only."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def ask(client: httpx.Client, path: Path, query: str) -> tuple[float, bool]:
    """Seconds until a picture is answered, and whether it was."""
    begin = time.perf_counter()
    try:
        answer = client.post(f"/predict{query}", files={"images": (path.name, path.read_bytes())})
        fine = answer.status_code == 200 and answer.json()["predictions"][0]["status"] == "ok"
    except httpx.HTTPError:
        fine = False
    return time.perf_counter() - begin, fine


def turn(service: Service, paths: list[Path], clients: int, query: str) -> None:
    """Send some pictures, and note what came of it."""
    limits = httpx.Limits(max_connections=clients)
    with httpx.Client(base_url=service.address, timeout=600, limits=limits) as client:
        while not _up(client):
            time.sleep(0.1)
        begin = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            found = list(pool.map(lambda path: ask(client, path, query), paths))
        service.took.append(time.perf_counter() - begin)
    service.seconds += [seconds for seconds, _ in found]
    service.errors += sum(not fine for _, fine in found)
    if len(service.took) == 1:
        service.early = peak_mb(service.process)


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 48,
    clients: Annotated[int, typer.Option(min=1, help="Clients at a time.")] = 32,
    requests: Annotated[int, typer.Option(min=10, help="Requests to each in all.")] = 300,
    maps: Annotated[bool, typer.Option(help="Ask for the map of each picture, too.")] = True,
    other: Annotated[Path | None, typer.Option(help="src folder of another checkout to compare with.")] = None,
    backbone: Annotated[str, typer.Option(help="Network, as model.backbone.")] = "vgg16",
    output: OutputOption = None,
) -> None:
    """Load the services in turns, count errors and compare."""
    with workplace(data, images) as (scratch, folder):
        onnx, openvino = make_exports(scratch, weights, backbone, other)
        paths = choose_files(folder, images)
        services = [
            start("as it was", onnx, [], other) if other else start("one at a time", onnx, ["--streams", "1"], None),
            start("several at once", onnx, [], None),
            start("several at once, OpenVINO", openvino, [], None),
        ]
        query = "?map=true" if maps else ""
        for service in services:  # warm, and not counted
            turn(service, paths[:8], clients, query)
            service.seconds.clear()
            service.took.clear()
        for i in range(TURNS):
            some = [paths[j % len(paths)] for j in range(i * requests // TURNS, (i + 1) * requests // TURNS)]
            for service in services if i % 2 == 0 else reversed(services):
                turn(service, some, clients, query)
        late = {service.name: peak_mb(service.process) for service in services}
        for service in services:
            service.process.send_signal(signal.SIGTERM)
        statuses = [service.process.wait(timeout=60) for service in services]
    rows = [
        (each.name, len(each.seconds), each.errors, number(each.rate), number(statistics.median(each.seconds)),
         number(statistics.quantiles(each.seconds, n=20)[-1]), number(each.early), number(late[each.name]))
        for each in services
    ]  # fmt: skip
    header = (
        "service", "requests", "errors", "a second", "median wait, s", "95 % wait at most, s", "peak at first, MB",
        "peak, MB",
    )  # fmt: skip
    ratios = [f"{each.name}: {each.rate / services[0].rate:.2f}" for each in services[1:]]
    kind = ", each with its map" if maps else ""
    intro = (
        f"{described(data, images)}, {backbone} at 224 px; one a request{kind}; "
        f"{clients} clients at a time, in {TURNS} turns."
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    verdict = f"Pictures a second, × the first's: {'; '.join(ratios)}. Load of the machine at the end: {load:.1f}."
    failures = [f"{each.name}: {each.errors} errors" for each in services if each.errors]
    failures += [
        f"{each.name}: memory grew by {late[each.name] - each.early:.0f} MB"
        for each in services
        if late[each.name] - each.early > GROWTH_MB
    ]
    failures += [f"the service ended with status {status}" for status in statuses if status]
    report("The service under load", [intro, table(header, rows), verdict], output, "; ".join(failures))


def _up(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    typer.run(main)
