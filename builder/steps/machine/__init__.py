"""The virtual machine: one step in several modules, from acceleration to a guest that answers over SSH.

``hardware`` builds QEMU's command line and ``console`` reads what a guest printed (both pure), ``acceleration`` finds
out whether KVM really runs a guest, ``monitor`` talks QMP, ``secureshell`` logs in, ``terminal`` lends a person the
console, ``guest`` puts them together as :class:`Machine`.
"""

from builder.steps.machine.acceleration import Acceleration, probe, recorded_probe
from builder.steps.machine.guest import Machine
from builder.steps.machine.hardware import HARDWARE, MachineSpec

__all__ = ["HARDWARE", "Acceleration", "Machine", "MachineSpec", "probe", "recorded_probe"]
