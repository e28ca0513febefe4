"""Where everything lives.

All that must survive a new image is below DATA, the mount point of the partition lichen-data.
"""

from pathlib import Path

DATA = Path("/srv/classroom")
HOMES = DATA / "homes"
COURSE = DATA / "course"
HANDIN = DATA / "handin"
STAFF = DATA / "staff"
HUB = DATA / "hub"
TLS = DATA / "tls"

CONFIGURATION = Path("/etc/lichen")
TEMPLATES = Path("/usr/share/lichen/classroom/templates")
RUN = Path("/run/classroom")

STAFF_GROUP = "classroom-staff"
HANDIN_USER = "classroom-handin"
