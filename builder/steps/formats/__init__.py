"""A finished image in other forms: one step in several modules.

``disks`` packs the whole disk, ``root`` lists the files of its root partition, ``archive`` writes such a list as a tar,
``oci`` makes a container image from that, ``netboot`` an EFI program that a machine loads over the network. The same
image and the same tools tree give the same bytes.
"""

from builder.steps.formats.disks import write_qcow2, write_raw
from builder.steps.formats.netboot import write_netboot
from builder.steps.formats.oci import write_oci
from builder.steps.formats.source import Source

__all__ = ["Source", "write_netboot", "write_oci", "write_qcow2", "write_raw"]
