"""How long corrections take through the page of ``weakspot review``, driven by keys in a headless browser.

    python benchmarks/review_speed.py outputs/photos --pictures 20

Corrections go to a temporary file; the run's own stay as they are. What is measured is the page's part: from the first
key until the correction is saved and the next picture is seen. A person's part is not measured. What is printed beside
it is the estimate of the keystroke-level model (Card, Moran and Newell, Communications of the ACM 23, 1980): 0.28 s a
key and 1.35 s to make up one's mind, once for each picture and once for each box that is drawn or moved.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEY, MIND = 0.28, 1.35
CORRECTIONS = {
    "right as it is": (["Enter"], 1),
    "wrong label": (["g", "Enter"], 1),
    "a box moved": (["d", "ArrowLeft", "Enter", "p", "b", *["ArrowLeft"] * 4, *["ArrowUp"] * 2, "Enter"], 2),
    "a box deleted": (["d", "ArrowLeft", "Enter", "p", "b", "x", "Enter"], 1),
    "a box drawn": (["d", "ArrowLeft", *["ArrowLeft"] * 6, *["ArrowUp"] * 4, *["Shift+ArrowRight"] * 4, "Enter"], 2),
}
"""Keys, and how often a person has to make up their mind. What comes before ``p`` prepares the picture, untimed."""


def measure(page: Any, keys: list[str]) -> float:  # noqa: ANN401 - playwright's page
    """Seconds from the first key until the next picture is seen, with everything saved."""
    if "p" in keys:
        at = keys.index("p")
        press(page, keys[:at])
        press(page, ["p"])
        keys = keys[at + 1 :]
    start = time.perf_counter()
    press(page, keys)
    return time.perf_counter() - start


def press(page: Any, keys: list[str]) -> None:  # noqa: ANN401 - playwright's page
    """Press keys; where the last one leaves the picture, wait until the next one is there."""
    before = page.evaluate("location.hash")
    for key in keys:
        page.keyboard.press(key)
    if keys[-1] in ("Enter", "p"):
        while page.evaluate("location.hash") == before or not seen(page):
            page.wait_for_timeout(2)


def seen(page: Any) -> bool:  # noqa: ANN401 - playwright's page
    """Whether the picture is shown and everything is saved."""
    loaded = "document.getElementById('loading').hidden"
    return bool(page.evaluate(f"{loaded} && document.getElementById('saved').textContent.startsWith('Saved')"))


def main() -> None:
    """Print a line for each kind of correction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=int, default=20, help="for each kind of correction")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    result = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "weakspot", "review", str(arguments.run), "--no-browser"]
        served = subprocess.Popen([*command, "--output", f"{folder}/a.json"], stdout=subprocess.PIPE, text=True)
        try:
            assert served.stdout is not None  # noqa: S101 - for the type checker
            address = re.search(r"http://\S+:\d+", served.stdout.readline())
            if address is None:
                sys.exit("the page did not start")
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address[0])
            page.wait_for_selector("html[data-ready]")
            for kind, (keys, minds) in CORRECTIONS.items():
                taken = [measure(page, list(keys)) for _ in range(arguments.pictures)]
                pressed = len(keys[keys.index("p") + 1 :] if "p" in keys else keys)
                result[kind] = {
                    "keys": pressed,
                    "page_s_median": statistics.median(taken),
                    "page_s_p95": sorted(taken)[int(0.95 * (len(taken) - 1))],
                    "person_s_keystroke_level": pressed * KEY + minds * MIND,
                }
                line = " ".join(f"{name}={value:.3f}" for name, value in result[kind].items())
                print(f"{kind}: {line}", flush=True)
            chromium.close()
        finally:
            served.terminate()
            served.wait(timeout=30)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
