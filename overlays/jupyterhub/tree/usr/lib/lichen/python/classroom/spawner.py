"""One transient systemd service for each student: limits, and a view of the machine that holds nobody else's files."""

import math
from typing import Any

from systemdspawner import SystemdSpawner

from . import layout, people

# Read as: a student's code may compute and use the network, and that is all.
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "LockPersonality": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    # A memory limit that can be dodged by swapping slows everybody down.
    "MemorySwapMax": "0",
    # A notebook that runs out of memory loses its kernel, not the student's whole server.
    "OOMPolicy": "continue",
    "TasksMax": "512",
}


def sandbox(name: str, *, staff: bool) -> dict[str, str]:
    """Unit properties for one person: the data partition is hidden, then what concerns the person is put back."""
    home = str(people.home_of(name))
    writable = [home]
    readable = [str(layout.COURSE)]
    if staff:
        writable += [str(layout.COURSE), str(layout.STAFF)]
        readable = [str(layout.HANDIN)]
    return {
        **HARDENING,
        # What a teacher puts into the course folder is for everybody to read and for all teachers to edit.
        "UMask": "0002" if staff else "0077",
        "SupplementaryGroups": layout.STAFF_GROUP if staff else "",
        "TemporaryFileSystem": f"{layout.DATA}:ro",
        "BindPaths": " ".join(writable),
        "BindReadOnlyPaths": " ".join(readable),
        "ReadWritePaths": " ".join(writable),
    }


class ClassroomSpawner(SystemdSpawner):
    """Makes the Unix account on demand and confines the server."""

    async def start(self) -> Any:
        """Start the server of a person who may be here for the first time."""
        staff = bool(self.user.admin)
        people.ensure_person(self.user.name, staff=staff)
        self.unit_extra_properties = sandbox(self.user.name, staff=staff)
        return await super().start()

    def get_env(self) -> dict[str, str]:
        """Tell numerical libraries how many processors they may use; they would count those of the machine."""
        threads = str(max(1, math.ceil(self.cpu_limit or 1)))
        return {
            **super().get_env(),
            "PATH": "/opt/ai/bin:/usr/local/bin:/usr/bin:/bin",
            # The unit's RuntimeDirectory; in the home, the paths of kernel sockets would be too long for the kernel.
            "JUPYTER_RUNTIME_DIR": f"/run/{self.unit_name}",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            # Thirty kernels that index the same read-only packages help nobody.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _cmd_default(self) -> list[str]:
        return ["/opt/ai/bin/jupyterhub-singleuser"]

    def _default_url_default(self) -> str:
        return "/lab"

    def _slice_default(self) -> str:
        return "classroom.slice"

    def _default_shell_default(self) -> str:
        return "/bin/bash"
