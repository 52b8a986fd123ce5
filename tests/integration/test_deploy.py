"""What lies in deploy/: read, linted as far as that can be done without Docker, and never built here."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

from weakspot.drift.observer import DriftObserver

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
UNITS = ("weakspot-watch.service", "weakspot-serve.service")


def options_of(verb: str) -> set[str]:
    import typer

    from weakspot.cli.main import app

    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_sound(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    verb = start.split()[2]
    assert {word for word in start.split() if word.startswith("--")} <= options_of(verb)
    for line in (
        "User=weakspot",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=always",
        "KillSignal=SIGTERM",
    ):
        assert f"\n{line}\n" in text, line
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / name
    unit.write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert about_it == []


def test_the_dockerfile_keeps_to_the_usual_rules() -> None:
    """Those of hadolint that apply: pinned bases, no latest, no cache of pip, one that runs without rights."""
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    known = {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT",
        "CMD",
    }  # fmt: skip
    assert {word for word, _ in words} <= known
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS \w+)?", rest) for word, rest in words if word == "FROM")
    assert all("--no-cache-dir" in part for _, rest in words for part in rest.split("&&") if "pip install" in part)
    users = [rest for word, rest in words if word == "USER"]
    assert users
    assert users[-1].split(":")[0] not in ("0", "root")
    assert "sudo" not in joined
    assert not re.search(r"\btorch", "\n".join(lines))
    for word, rest in words:
        if word in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list)
        if word == "COPY" and "--from" not in rest:
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    (command,) = (json.loads(rest) for word, rest in words if word == "CMD")
    assert {one for one in command if one.startswith("--")} <= options_of("watch")


def test_compose_is_whole() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"watch", "broker", "prometheus", "grafana"}
    assert {one for one in services["watch"]["command"] if str(one).startswith("--")} <= options_of("watch")
    for name, service in services.items():
        if name != "watch":
            assert re.fullmatch(r"[\w/-]+:v?\d[\w.]*", service["image"]), service["image"]
        for volume in service["volumes"]:
            source = re.split(r":(?=/)", volume)[0]
            if source.startswith("./") and source != "./model":
                assert (DEPLOY / source).exists(), source
            elif not source.startswith((".", "$")):
                assert source in COMPOSE["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port
    targets = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0][
        "targets"
    ]
    assert targets == ["watch:9109"]
    for path in DEPLOY.rglob("*.yml"):
        assert yaml.safe_load(path.read_text("utf-8"))
    assert "Never started" in (DEPLOY / "compose.yaml").read_text("utf-8")


def test_the_dashboard_asks_for_numbers_that_there_are() -> None:
    text = (DEPLOY / "grafana" / "dashboards" / "weakspot.json").read_text("utf-8")
    asked = set(re.findall(r"weakspot_[a-z_]+", json.dumps(json.loads(text)["panels"])))
    sources = [ROOT / "src" / "weakspot" / part for part in ("watch/telemetry.py", "commands/watch.py")]
    told = set(re.findall(r'"(weakspot_[a-z_]+)"', "".join(path.read_text("utf-8") for path in sources)))
    told |= {f"weakspot_{name}" for name in DriftObserver(None).gauges()}
    assert {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked} <= {
        re.sub(r"_total$", "", name) for name in told
    }


NAMES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client", "swagger_ui_bundle": "swagger-ui-bundle", "multipart": "python-multipart",
    "starlette": "fastapi", "pydantic": "fastapi",
}  # fmt: skip


@pytest.mark.slow
def test_watching_and_serving_import_nothing_that_is_not_on_the_list() -> None:
    """Every package that ``watch`` and ``serve`` load is required, or comes with one that is."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'pytorch_lightning', 'hydra', 'omegaconf'): sys.modules[name] = None\n"
        "import weakspot.cli.main, weakspot.commands.watch, weakspot.serve.run, weakspot.watch.operate\n"
        "import weakspot.watch.sinks.webhook, weakspot.watch.sinks.mqtt, weakspot.watch.sinks.opcua\n"
        "import weakspot.watch.sinks.flag, weakspot.inference.fastest, weakspot.commands.predict, onnxruntime\n"
        "print([m.__file__ for n, m in sys.modules.items() if n.startswith('weakspot') and m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    listed = {
        re.split(r"[>=<]", line)[0]
        for line in (DEPLOY / "requirements-runtime.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    loaded: set[str] = set()
    for file in ast.literal_eval(done.stdout):
        for node in ast.parse(Path(file).read_text("utf-8")).body:  # at the top; the others are imported when needed
            if isinstance(node, ast.Import):
                loaded |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                loaded.add(node.module.partition(".")[0])
    foreign = {NAMES.get(name, name) for name in loaded if name not in sys.stdlib_module_names and name != "weakspot"}
    assert foreign <= listed
