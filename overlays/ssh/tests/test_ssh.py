"""Logins by key only, with host keys that were made on this very machine."""

import base64

HOST_KEYS = ("rsa", "ecdsa", "ed25519")


def effective_settings(host) -> dict[str, str]:
    """What sshd really applies to root, after all includes and Match blocks."""
    lines = host.check_output("sshd -T -C user=root,host=localhost,addr=127.0.0.1").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def test_one_listener_and_it_is_the_service(host):
    assert host.service("ssh.service").is_running
    assert not host.service("ssh.socket").is_running
    assert host.socket("tcp://0.0.0.0:22").is_listening


def test_keys_are_the_only_way_in(host):
    settings = effective_settings(host)
    assert settings["authenticationmethods"] == "publickey"
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitemptypasswords"] == "no"
    assert settings["permitrootlogin"] in {"without-password", "prohibit-password"}


def test_server_offers_no_password(host):
    """Ask the running server, not its configuration: a client without a key is told which methods could continue."""
    attempt = host.run(
        "ssh -v -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        " -o IdentityFile=/dev/null -o IdentitiesOnly=yes root@127.0.0.1 true || echo refused"
    )
    offers = [line for line in attempt.stderr.splitlines() if "Authentications that can continue:" in line]
    assert attempt.stdout.strip() == "refused"
    assert {line.split("continue:")[1].strip() for line in offers} == {"publickey"}


def test_host_keys_are_younger_than_this_machine(host):
    """The machine id is made by the first boot, so a host key that is older was baked into the image."""
    born = host.file("/etc/machine-id").mtime
    for kind in HOST_KEYS:
        key = host.file(f"/etc/ssh/ssh_host_{kind}_key")
        assert key.mode == 0o600
        assert (born - key.mtime).total_seconds() < 300


def test_host_key_served_is_the_one_on_disk(host):
    on_disk = host.check_output("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub")
    served = host.check_output("ssh-keyscan -t ed25519 127.0.0.1").split()[-1]
    assert base64.b64decode(served) == base64.b64decode(on_disk)


def test_authorized_key_came_from_outside(host):
    keys = host.file("/root/.ssh/authorized_keys")
    assert keys.mode == 0o600
    assert keys.content_string.strip()
    assert host.file("/root/.ssh").mode == 0o700


def test_sftp_works(host):
    """The client speaks to the configured server directly, without a key."""
    subsystem = effective_settings(host)["subsystem"].removeprefix("sftp ")
    listing = host.check_output(f"echo 'ls /etc/hostname' | sftp -q -b - -D {subsystem}").splitlines()
    assert listing[-1].strip() == "/etc/hostname"
