"""The classroom on its own kernel against the same image with Debian's cloud kernel: how long until it is of use.

Both images are built, then booted in turn, each time as a fresh copy with two processors and 4 GiB. Measured from the
start of the kernel, as systemd tells it: until ``multi-user.target``; and from the start of QEMU, firmware included:
until the hub's login page answers. All times, medians and ratios go to a JSON file, and a boot chart of each beside it.

Where no acceleration works, processors are emulated: compare the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import requests
import urllib3
import yaml

from builder.foundation.place import Project, default_cache
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import BuiltImage, build, provide_toolbox

PROFILE = "classroom-jupyterhub"
CLOUD = "classroom-cloud"
AIM = 0.6
HTTPS = 443
TARGETS = ("sysinit.target", "basic.target", "multi-user.target")


def make_project(root: Path, folder: Path) -> Project:
    """A copy of the project with a second profile that differs in the kernel alone."""
    for part in ("profiles", "overlays", "kernel-configs"):
        shutil.copytree(root / part, folder / part, symlinks=True)
    profile = yaml.safe_load((folder / f"profiles/{PROFILE}.yaml").read_text())
    # `null` takes back what parents say.
    profile["kernel"] = {"source": None, "fragments": None, "package": "linux-image-cloud-amd64"}
    (folder / f"profiles/{CLOUD}.yaml").write_text(yaml.safe_dump(profile))
    lock = [sys.executable, "-m", "builder.cli.main", "--project", str(folder), "lock", CLOUD]
    subprocess.run([*lock, "--accept-expired", "forky"], cwd=root, check=True)
    return Project(folder)


def one_boot(toolbox: Toolbox, image: BuiltImage, folder: Path, kind: str) -> dict[str, float]:
    """Seconds until each target was reached and until the hub answered."""
    # The hub's data lies on a disk of its own, which is made here and now, as on a machine's first boot.
    request = Request(data_disk=folder.with_name(f"{folder.name}.raw"))
    begin = time.monotonic()
    with Machine(toolbox, specify(image.folder, image.manifest, request, kind), folder, runner=Runner()) as machine:
        url = f"https://127.0.0.1:{machine.ports[HTTPS]}/hub/login"
        while True:
            try:
                # The machine makes its certificate itself.
                if requests.get(url, verify=False, timeout=5).ok:  # noqa: S501
                    break
            except requests.RequestException:
                time.sleep(0.2)
            if time.monotonic() - begin > 900:
                raise TimeoutError(f"no answer from {url}; see {machine.console_log}")
        found = {"hub answers": round(time.monotonic() - begin, 2)}
        machine.wait_for_ssh()
        machine.wait_booted()
        for target in TARGETS:
            shown = machine.run(f"systemctl show --value --property ActiveEnterTimestampMonotonic {target}").stdout
            found[target] = round(int(shown) / 1e6, 2)
        chart = machine.run("systemd-analyze plot").stdout
        (folder.parent / f"{folder.name}.svg").write_text(chart)
        machine.shutdown()
    return found


def main() -> None:
    """Build both, boot them in turn, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("boottime.json"))
    arguments = parser.parse_args()
    urllib3.disable_warnings()
    root = Path(__file__).resolve().parents[1]
    charts = arguments.output.resolve().with_suffix("")
    charts.mkdir(exist_ok=True)
    measured: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in (PROFILE, CLOUD)}
    with tempfile.TemporaryDirectory(prefix="lichen-boottime-", dir="/var/tmp") as name:
        project = make_project(root, Path(name) / "project")
        bench = Workbench(project, default_cache())
        images = {profile: build(bench, profile) for profile in measured}
        toolbox = provide_toolbox(bench, PROFILE)
        kind = acceleration(bench, toolbox, "amd64", None).kind
        for number in range(arguments.boots):
            for profile, image in images.items():
                folder = Path(name) / f"{profile}-{number}"
                for what, seconds in one_boot(toolbox, image, folder, kind).items():
                    measured[profile][what].append(seconds)
                    print(f"{profile:22} {what:20} {seconds:8.2f} s", flush=True)
                shutil.copy(folder.with_name(f"{folder.name}.svg"), charts / f"{profile}.svg")
    median = {
        profile: {what: statistics.median(times) for what, times in found.items()}
        for profile, found in measured.items()
    }
    ratio = {what: round(median[PROFILE][what] / median[CLOUD][what], 3) for what in median[PROFILE]}
    result = {"acceleration": kind, "seconds": measured, "median": median, "ratio": ratio, "aim": AIM}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    for what, value in ratio.items():
        print(f"{what:20} own / cloud {value:6.3f}  aim <= {AIM}")
    print(f"written to {arguments.output}, boot charts to {charts}")


if __name__ == "__main__":
    main()
