"""The kernel's package in dpkg's hands: when its hooks run, and that its modules stay loadable whatever fails.

dpkg runs for real, in a root of this machine's programs with nothing else in it; the package is the kernel's control
files around an empty kernel.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.data.kernel import KernelBuild
from builder.data.lock import read_lock
from builder.steps.profiles import load_buildable
from builder.steps.render import component_tree, kernel_build
from tests.conftest import CLASSROOM, REPOSITORY

RECIPE, LOCK = load_buildable(REPOSITORY, CLASSROOM), read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
HOOK = """#!/bin/sh
echo "$(basename "$(dirname "$0")") $DEB_MAINT_PARAMS: $*" >> /log
case $0 in */preinst.d/*) [ ! -e /refuse ] || exit 1 ;; esac
"""
# As linux-base has it, for the command line that the scripts give it.
RUN_HOOKS = """#!/bin/sh
script=$2 version=$3 image=$4
shift 5
DEB_MAINT_PARAMS="$*" exec /etc/kernel/$script.d/log "$version" "$image"
"""
NOTE = '#!/bin/sh\necho "$(basename "$0") $*" >> /log\n'
# The machine's programs below a root of its own: changes of /usr stay in memory.
ENTER = """
set -eu
root=$1
shift
mkdir -p "$root/over" "$root/usr"
mount -t tmpfs tmpfs "$root/over"
mkdir "$root/over/upper" "$root/over/work"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/over/upper,workdir=$root/over/work" "$root/usr"
rm -f "$root/usr/bin/linux-run-hooks" "$root/usr/bin/linux-update-symlinks" "$root/usr/bin/linux-check-removal"
cp -a "$root/programs/." "$root/usr/sbin/"
mount -t tmpfs tmpfs "$root/dev"
: > "$root/dev/null"
chmod 666 "$root/dev/null"
chroot "$root" sh -euc "$1"
"""


@pytest.fixture(scope="module")
def build() -> KernelBuild:
    found = kernel_build(RECIPE, LOCK)
    assert found
    return found


@pytest.fixture
def root(tmp_path: Path, build: KernelBuild) -> Path:
    """A root with an empty package database, hooks, and two versions of the package: /1.deb and /2.deb."""
    root = tmp_path / "root"
    for folder in ("boot", "dev", "programs", "tmp", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    for script in SCRIPTS:
        program(root / f"etc/kernel/{script}.d/log", HOOK)
    program(root / "programs/depmod", '#!/bin/sh\necho >> "/usr/lib/modules/$1/modules.dep"\n')
    tree = component_tree("modules", RECIPE, LOCK)
    for version in ("1", "2"):
        content = tmp_path / version
        (content / "usr/lib/modules" / build.release).mkdir(parents=True)
        (content / "usr/lib/modules" / build.release / "modules.order").write_text(version)
        for name in ("control", *SCRIPTS):
            text = tree[f"deb/image/{name}"].content.decode().replace(build.version, version)
            program(content / "DEBIAN" / name, text)
        subprocess.run(["dpkg-deb", "--build", content, root / f"{version}.deb"], check=True, capture_output=True)
    return root


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(root: Path, build: KernelBuild, script: str) -> list[str]:
    """Run a script in the root; what hooks and programs noted of it, without the names that are always the same.

    In the script ``$package`` and ``$modules`` are the package's name and its folder of modules.
    """
    head = f"PATH=/usr/sbin:/usr/bin package={build.image_package} modules=/usr/lib/modules/{build.release}\n"
    words = ["unshare", "--mount", "sh", "-c", ENTER, "sh", str(root), f"{head}{script}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = root / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.replace(f": {build.release} /boot/vmlinuz-{build.release}", "") for line in lines]


INSTALL = "dpkg --force-depends -i /1.deb\n"
UPGRADE = "dpkg --force-depends -i /2.deb\n"


def test_hooks_run_when_the_kernel_changes(root: Path, build: KernelBuild) -> None:
    noted = run(root, build, f"{INSTALL}{UPGRADE}dpkg -r $package\ndpkg -P $package\ntest ! -e $modules")
    assert noted == [
        "preinst.d install",
        "postinst.d configure ",
        "preinst.d upgrade 1 2",
        "postrm.d upgrade 2",
        "postinst.d configure 1",
        "prerm.d remove",
        "postrm.d remove",
        "postrm.d purge",
    ]


def test_failed_upgrade_leaves_a_kernel_that_loads_its_modules(root: Path, build: KernelBuild) -> None:
    """A hook refuses the new version; dpkg tells both of them, and nobody runs depmod again."""
    script = f"""{INSTALL}touch /refuse
! dpkg --force-depends -i /2.deb
rm /refuse
test "$(dpkg-query --show --showformat='${{Version}} ${{db:Status-Status}}' $package)" = "1 installed"
test -s $modules/modules.dep
"""
    assert run(root, build, script)[2:] == ["preinst.d upgrade 1 2", "postrm.d abort-upgrade 1 2"]


def test_linux_base_runs_the_hooks_where_it_is_installed(root: Path, build: KernelBuild) -> None:
    program(root / "programs/linux-run-hooks", RUN_HOOKS)
    for name in ("linux-update-symlinks", "linux-check-removal"):
        program(root / "programs" / name, NOTE)
    names = f"{build.release} /boot/vmlinuz-{build.release}"
    assert run(root, build, f"{INSTALL}{UPGRADE}dpkg -r $package") == [
        "preinst.d install",
        f"linux-update-symlinks install {names}",
        "postinst.d configure ",
        "preinst.d upgrade 1 2",
        "postrm.d upgrade 2",
        f"linux-update-symlinks upgrade {names}",
        "postinst.d configure 1",
        f"linux-check-removal {build.release}",
        "prerm.d remove",
        f"linux-update-symlinks remove {names}",
        "postrm.d remove",
    ]
