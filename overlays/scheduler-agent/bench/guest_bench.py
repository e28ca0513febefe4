"""The guest's side of the ablation as one command that lays it into a guest."""

import base64
import io
import tarfile
from pathlib import Path

FOLDER = "/run/lichen-sched-bench"
PIECE = 96 << 10  # bytes of one command; the kernel takes no word of 128 KiB


def laying_down() -> str:
    """A command for the guest's shell after which the package ``sched_bench`` is in :data:`FOLDER`."""
    packed = io.BytesIO()
    here = Path(__file__).parent
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted((here / "sched_bench").rglob("*.py")):
            archive.add(path, str(path.relative_to(here)))
    text = base64.b64encode(packed.getvalue()).decode()
    return f"mkdir -p {FOLDER} && echo {text} | base64 -d | tar -xz -C {FOLDER}"


def putting(text: str, name: str) -> list[str]:
    """Commands after which the bytes that ``text`` is the base64 of are in the file ``name`` of :data:`FOLDER`."""
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    place = f"{FOLDER}/{name}"
    return [*(f"echo {piece} >> {place}.b64" for piece in pieces), f"base64 -d {place}.b64 > {place} && rm {place}.b64"]
