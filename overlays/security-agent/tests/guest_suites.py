"""The suites as one command that lays them into a guest: for this overlay's tests and for ci/guard."""

import base64
import io
import tarfile
from pathlib import Path

FOLDER = "/run/lichen-guard-suites"
# What a suite takes from another overlay's tests, where the project has that overlay.
BORROWED = {"benign": ("jupyterhub/tests/hub_client.py",)}


def laying_down(*names: str) -> str:
    """A command for the guest's shell after which the suites ``names`` are in :data:`FOLDER`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            own = sorted((Path(__file__).parent / name).glob("*.py"))
            borrowed = (Path(__file__).parents[2] / path for path in BORROWED.get(name, ()))
            for path in (*own, *filter(Path.is_file, borrowed)):
                archive.add(path, f"{name}/{path.name}")
    text = base64.b64encode(packed.getvalue()).decode()
    return f"mkdir -p {FOLDER} && echo {text} | base64 -d | tar -xz -C {FOLDER}"
