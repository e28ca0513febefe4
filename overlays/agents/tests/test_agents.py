"""What all agents need of the image and of its kernel."""

from guest_agent import PYTHON

COMPILED = """
import importlib.util, pathlib
import lichen_agent
missing = []
for path in pathlib.Path(lichen_agent.__file__).parents[1].rglob("*.py"):
    code = pathlib.Path(importlib.util.cache_from_source(path))
    # Flags of PEP 552: by hash, which is checked.
    if not code.exists() or code.read_bytes()[4:8] != b"\\x03\\0\\0\\0" or str(path).encode() not in code.read_bytes():
        missing.append(str(path))
print(missing)
"""


def test_modules_are_compiled(host):
    """For this machine's Python, under their own names; compiling them at each start takes a small board seconds."""
    assert host.check_output(PYTHON, COMPILED) == "[]"


def test_kernel_compiles_bpf_programs(host):
    """Otherwise it refuses most of the sensor's programs and the scheduler; on riscv64 it is off unless asked for."""
    assert host.sysctl("net.core.bpf_jit_enable") == 1
