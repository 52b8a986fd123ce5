"""Pictures that do things to the process that reads them, by their names; set up in Ray's workers.

``kills….png`` ends it with SIGKILL the first time (a file ``.killed`` beside it says that it did), ``murders….png``
every time, ``waits….png`` holds it until there is a file ``.go`` beside it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def setup() -> None:
    """Called by Ray in every worker when it starts."""
    from weakspot.data import loading

    read = loading.read_image

    def watched(path: Path):
        if path.name.startswith("kills") and not (killed := path.with_name(".killed")).exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name.startswith("murders"):
            with path.with_name(".murders").open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        while path.name.startswith("waits") and not path.with_name(".go").exists():
            time.sleep(0.02)
        return read(path)

    loading.read_image = watched


if __name__ == "__main__":  # the command line, on the cluster of RAY_ADDRESS, whose workers are set up so
    import ray

    from weakspot.cli import main as cli

    ray.init(
        log_to_driver=False, logging_level="ERROR", runtime_env={"worker_process_setup_hook": "helpers.deadly.setup"}
    )
    cli.main()
