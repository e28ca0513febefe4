"""The forms that a finished image can be had in."""

from __future__ import annotations

from typing import Literal

# A compressed disk, QEMU's own disk, a container image, an EFI program for firmware that boots over the network.
Form = Literal["raw", "qcow2", "oci", "netboot"]
