"""The app as a whole: what it loads, and what it takes."""

import json
import subprocess
import sys

HEAVY = ("torch", "transformers", "datasets", "peft", "optuna", "ray", "pandas", "sklearn")
PROGRAM = """
import json, sys, tempfile, threading, urllib.request
from pathlib import Path
from autopeft.api.app import create_app
from autopeft.api.server import Server
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore

LISTS = "v1/searches", "v1/datasets", "v1/spaces", "v1/methods", "v1/models"
with tempfile.TemporaryDirectory() as folder:
    address = str(Path(folder) / "store.db")
    settings = ServiceSettings(files=folder)
    app = create_app(SqlService(address), SqlStore(address), settings)
    server = Server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    for path in ("", "docs", "openapi.json", "readyz", "metrics", *LISTS):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{path}") as answer:
            answer.read()
    server.should_exit = True
    thread.join()
    (resident,) = (line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    print(json.dumps({"modules": sorted(sys.modules), "kilobytes": int(resident.split()[1])}))
"""


def test_the_service_loads_nothing_that_trains_and_stays_below_250_mb():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout.splitlines()[-1])

    loaded = {name.partition(".")[0] for name in found["modules"]}
    assert loaded.isdisjoint(HEAVY)
    assert found["kilobytes"] < 250_000
