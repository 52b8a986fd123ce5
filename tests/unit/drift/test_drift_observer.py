"""Services and watchers watch for changes of the world, and go on watching after a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from helpers.familiar import imagined
from starlette.testclient import TestClient

from weakspot.drift.monitor import Monitor
from weakspot.drift.observer import EVERY, DriftObserver
from weakspot.drift.state import load, save
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.serve.app import Limits, make_app
from weakspot.types import Prediction


def localizer() -> Localizer:
    meta = SimpleNamespace(familiarity=imagined(), classes=["good", "anomaly"])
    return cast(Localizer, SimpleNamespace(meta=meta, batch_size=1, streams=1))


def predictions(count: int, **measures: Any) -> list[Prediction]:
    random = np.random.default_rng(0)
    return [
        Prediction(
            Path(f"{i}.png"),
            label="good",
            probability=0.1,
            measures={"brightness": float(random.normal()) + measures.get("brightness", 0.0)},
        )
        for i in range(count)
    ]


def test_state_is_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    watch = DriftObserver(imagined(), path)
    for one in predictions(EVERY - 1):
        watch.see(one)
    assert not path.exists()
    watch.see(predictions(1)[0])
    assert load(path).pictures == EVERY
    watch.close()
    again = DriftObserver(imagined(), path)
    raised = [alarm for one in predictions(40, brightness=-6.0) for alarm in again.see(one)]
    assert again.status()["alarms"] == again.gauges()["drift_alarms"] == 1
    assert len(raised) == 1
    assert "the pictures are darker" in raised[0]["seen"]
    assert load(path).alarms[0].changes[0].measure == "brightness"


def test_health_tells_and_a_damaged_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    monitor = Monitor()
    for one in predictions(30):
        monitor.feed(one)
    save(path, monitor)
    with TestClient(make_app(localizer(), "model", Limits(), drift_state=path)) as client:
        drift = client.get("/health").json()["drift"]
    assert (drift["pictures"], drift["alarms"], drift["last_alarm"]) == (30, 0, None)
    assert drift["called_defective"]["share"] == 0
    assert "n / 100,000" in drift["promise"]
    path.write_text("{}")
    with pytest.raises(WeakspotError, match="remove it to start anew"):
        DriftObserver(imagined(), path)


def test_a_full_disk_does_not_stop_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    watch = DriftObserver(imagined(), tmp_path / "file" / "state.json")
    watch.close()
    assert "is not kept" in caplog.text


def test_the_state_of_another_model_is_not_gone_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, other = tmp_path / "state.json", replace(imagined(), good=(0.1, 0.2, 0.3))
    watch = DriftObserver(imagined(), path)
    for one in predictions(5):
        watch.see(one)
    watch.close()
    assert DriftObserver(imagined(), path).status()["pictures"] == 5
    assert caplog.text == ""
    assert DriftObserver(other, path).status()["pictures"] == 0
    assert "another model" in caplog.text


def test_too_few_held_out_pictures_to_call_one_unlike_training_are_told(caplog: pytest.LogCaptureFixture) -> None:
    DriftObserver(imagined())
    DriftObserver(None)
    assert caplog.text == ""
    DriftObserver(replace(imagined(), good=(0.1, 0.2, 0.3), defective=()))
    assert "3 held-out pictures are too few" in caplog.text
