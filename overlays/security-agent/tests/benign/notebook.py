"""A student's session in the classroom on this machine, from signing up to a stopped server; fails where a step does.

    /opt/ai/bin/python3 notebook.py

Runs as root, for the teacher's part (approving, removing). The browser is the classroom's own test client, which is
laid down beside this file.
"""

import json
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

from hub_client import PASSWORD, HubClient, wait_for

URL = "https://127.0.0.1"
CERTIFICATE = Path("/srv/classroom/tls/cert.pem")
CELLS = (
    "import numpy as np, torch; x = np.linspace(0, 1, 100)",
    "weight = torch.zeros(1, requires_grad=True); data = torch.tensor(x)",
    "for step in range(50):\n    loss = ((weight * data - 3 * data) ** 2).mean()\n    loss.backward()\n"
    "    with torch.no_grad():\n        weight -= weight.grad\n        weight.grad.zero_()",
    "torch.save(weight, 'weight.pt'); open('result.csv', 'w').write(f'{float(weight.detach())}\\n')",
    "import os; sorted(os.listdir('.'))",
)
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def in_terminal(client: HubClient, command: str) -> None:
    """Type a command into a terminal of JupyterLab and wait for what it says when it is done."""
    made = client.server_api("POST", "terminals")
    assert made.status_code == 200, made.text
    terminal = made.json()["name"]
    done = uuid.uuid4().hex
    connection = client.connect(f"terminals/websocket/{terminal}")
    with closing(connection):
        # Halved, so that the terminal's echo of what was typed is not taken for the end.
        connection.send(json.dumps(["stdin", f"{command}; echo {done[:16]}''{done[16:]}\r"]))
        shown = ""
        while done not in shown:
            kind, *words = json.loads(connection.recv())
            shown += words[0] if kind == "stdout" else ""
    client.server_api("DELETE", f"terminals/{terminal}")


def main() -> None:
    """Sign up, be approved, compute, save, look around in a terminal, stop."""
    name = f"benign{uuid.uuid4().hex[:8]}"
    wait_for("hub", lambda: HubClient(URL, CERTIFICATE).get("/hub/login").ok or None)
    client = HubClient(URL, CERTIFICATE)
    assert client.sign_up(name, PASSWORD).ok
    subprocess.run(["classroom", "approve", name], check=True)
    try:
        client.login(name, PASSWORD).spawn()
        saved = client.server_api("PUT", "contents/work.ipynb", json={"type": "notebook", "content": NOTEBOOK})
        assert saved.ok, saved.text
        kernel = client.start_kernel()
        for cell in CELLS[:-1]:
            kernel.run(cell)
        assert "weight.pt" in kernel.run(CELLS[-1])
        assert client.server_api("GET", "contents/result.csv").ok
        in_terminal(client, "ls -l; head -1 result.csv; handin week-1 result.csv")
        client.stop()
    finally:
        subprocess.run(["classroom", "remove", name], check=True)


if __name__ == "__main__":
    main()
