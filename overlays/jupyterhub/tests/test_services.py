"""The parts of the classroom run, on a partition of their own, and keep their secrets."""

import pytest
import requests

SERVICES = ("jupyterhub.service", "classroom-proxy.service", "classroom-prepare.service", "classroom-handin.socket")


@pytest.mark.parametrize("unit", SERVICES)
def test_unit_is_active(host, browser, unit):
    assert host.check_output(f"systemctl is-active {unit}") == "active"


def test_data_is_a_partition_of_its_own(host, certificate):
    source = host.check_output("findmnt --noheadings --output SOURCE /srv/classroom")
    assert source != host.check_output("findmnt --noheadings --output SOURCE /")
    assert host.check_output(f"lsblk --noheadings --nodeps --output PARTLABEL {source}") == "lichen-data"
    options = host.check_output("findmnt --noheadings --output OPTIONS /srv/classroom").split(",")
    assert {"nodev", "nosuid"} <= set(options)


def test_partition_tool_keeps_an_existing_partition(host, certificate):
    """Run the boot's step again, on a disk in use: same partition, same file system, same files."""

    def identity() -> str:
        return host.check_output("blkid --output export /dev/disk/by-partlabel/lichen-data")

    before, certificate_text = identity(), host.file("/srv/classroom/tls/cert.pem").content_string
    host.check_output("/usr/lib/lichen/classroom-data")
    assert identity() == before
    assert host.file("/srv/classroom/tls/cert.pem").content_string == certificate_text


DISKS = {
    "blank": ("true", "--empty=allow --dry-run=no --discard=no /dev/loop"),
    "file system": ("mkfs.ext4 -q $disk", "is not blank"),
    "swap space": ("mkswap $disk", "is not blank"),
    "partition of somebody else": (
        "printf '#!/bin/sh\necho /dev/sdz1 lichen-data 0fc63daf-8483-4772-8e79-3d69d8477de4\n' > $work/lsblk",
        "/dev/sdz1 is called lichen-data and has another type",
    ),
    "none": ("rm -f /dev/disk/by-id/*", "--empty=refuse --dry-run=no --discard=no\n"),
}


@pytest.mark.parametrize("content", DISKS)
def test_no_partition_table_is_written_over_anything(host, certificate, content):
    """Run the boot's step with a disk that only it sees and a stand-in for the tool that would write."""
    prepare, expected = DISKS[content]
    script = f"""
        set -e
        work=$(mktemp -d)
        printf '#!/bin/sh\\n' > $work/lsblk
        printf '#!/bin/sh\\necho repart "$@"\\n' > $work/systemd-repart
        chmod +x $work/*
        truncate -s 1G $work/image
        disk=$(losetup --find --show $work/image)
        mount -t tmpfs none /dev/disk/by-id
        ln -s $disk /dev/disk/by-id/virtio-lichen-data
        {prepare}
        PATH=$work:$PATH /usr/lib/lichen/classroom-data 2>&1 || true
        losetup --detach $disk
        rm -r $work
    """
    result = host.run("unshare --mount sh -c %s", script)
    assert expected in result.stdout, result
    assert ("repart" in result.stdout) == (expected.startswith("--")), result


@pytest.mark.parametrize("path", ["/srv/classroom/hub", "/srv/classroom/tls", "/run/classroom"])
def test_secrets_are_for_root_only(host, browser, path):
    folder = host.file(path)
    assert (folder.user, folder.mode) == ("root", 0o700)
    assert host.check_output(f"find {path} -type f -perm /077 ! -name cert.pem ! -name '*.sqlite*'") == ""


def test_no_secret_on_a_command_line(host, browser):
    token = host.check_output("sed -n s/CONFIGPROXY_AUTH_TOKEN=//p /run/classroom/proxy.env")
    assert len(token) == 64
    assert token not in host.check_output("ps -e -o args")


def test_proxy_is_not_root(host, browser):
    pid = host.check_output("systemctl show --property MainPID --value classroom-proxy.service")
    assert host.check_output(f"stat --format %U /proc/{pid}") not in {"root", "nobody"}


def test_certificate_speaks_for_this_machine(host, browser):
    """The other tests connect with verification; here, the name students type in the school's network."""
    names = host.check_output("openssl x509 -in /srv/classroom/tls/cert.pem -noout -ext subjectAltName")
    assert f"DNS:{host.check_output('hostname')}" in names
    assert browser().get("/hub/login").ok


def test_without_the_certificate_nobody_is_fooled(forwards, browser):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://127.0.0.1:{forwards[443]}/hub/login", timeout=180)


def test_console_tells_the_address_and_no_code(host, browser):
    """The administrator came from a credential, so there is no set-up code to show."""
    issue = host.file("/run/issue.d/60-classroom.issue")
    assert issue.mode == 0o600
    assert r"https://\4" in issue.content_string
    assert "code" not in issue.content_string
    assert not host.file("/run/classroom/setup-code.json").exists
