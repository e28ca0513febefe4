"""Ordinary work on such machines, none of which is to be told; each leaves nothing behind.

Scripts run as root in /bin/sh, in an empty folder of their own ($WORK) that is removed afterwards; $SUITE is the folder
of this file, where a suite can do what needs more than a script.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A piece of ordinary work.

    Attributes:
        script: for /bin/sh.
        needs: command for /bin/sh that fails where it cannot be done; ``why`` says what is missing then.
    """

    name: str
    script: str
    needs: str = "true"
    why: str = ""


# A package in two versions, in a repository on the loopback interface.
_UPGRADE = """
set -e
for version in 1 2; do
    mkdir -p tree/DEBIAN tree/usr/bin tree/etc
    printf 'Package: lichen-benign\\nVersion: %s\\nArchitecture: all\\nMaintainer: nobody\\nDescription: nothing\\n' \\
        $version > tree/DEBIAN/control
    printf '#!/bin/sh\\necho %s\\n' $version > tree/usr/bin/lichen-benign
    echo $version > tree/etc/lichen-benign.conf
    echo /etc/lichen-benign.conf > tree/DEBIAN/conffiles
    printf '#!/bin/sh\\nldconfig\\n' > tree/DEBIAN/postinst
    chmod 755 tree/usr/bin/lichen-benign tree/DEBIAN/postinst
    dpkg-deb --root-owner-group --build tree benign_$version.deb > /dev/null
    rm -r tree
done
python3 -m http.server --bind 127.0.0.1 8093 > server.log 2>&1 &
server=$!
trap 'kill $server' EXIT
until python3 -c "import socket; socket.create_connection(('127.0.0.1', 8093))" 2> /dev/null; do sleep 1; done
publish() {
    dpkg-deb --field benign_$1.deb > Packages
    echo "Filename: ./benign_$1.deb" >> Packages
    echo "Size: $(stat --format %s benign_$1.deb)" >> Packages
    echo "SHA256: $(sha256sum < benign_$1.deb | cut -d ' ' -f 1)" >> Packages
}
echo 'deb [trusted=yes] http://127.0.0.1:8093 ./' > benign.list
chmod 755 "$WORK"
get() {
    apt-get -qq -o Dir::Etc::SourceList="$WORK/benign.list" -o Dir::Etc::SourceParts=- \\
        -o Dir::State::Lists="$WORK/lists" "$@" > apt.log
}
mkdir -p lists/partial
publish 1
get update
get install --yes lichen-benign
test "$(lichen-benign)" = 1
publish 2
get update
get upgrade --yes
test "$(lichen-benign)" = 2
get purge --yes lichen-benign
"""
_WHEEL = """
set -e
python3 - <<'CODE'
import zipfile
with zipfile.ZipFile("benign-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("benign.py", "answer = 42\\n")
    wheel.writestr("benign-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: benign\\nVersion: 1\\n")
    wheel.writestr("benign-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("benign-1.dist-info/RECORD", "")
CODE
python3 -m pip install --quiet --no-index --target there benign-1-py3-none-any.whl
PYTHONPATH=there python3 -c 'import benign; assert benign.answer == 42'
"""
_TRAIN = """
set -e
python=/usr/bin/python3
test -x /opt/ai/bin/python3 && python=/opt/ai/bin/python3
$python - <<'CODE'
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
x = torch.randn(512, 8)
y = x @ torch.arange(8.0)[:, None]
model = torch.nn.Sequential(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(5):
    for inputs, wanted in DataLoader(TensorDataset(x, y), batch_size=64, num_workers=2):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), wanted).backward()
        optimizer.step()
torch.save(model.state_dict(), "model.pt")
torch.load("model.pt", weights_only=True)
CODE
"""
_LOGIN = """
set -e
ssh-keygen -q -t ed25519 -N '' -f key
cp key.pub keys
/usr/sbin/sshd -o PidFile=none -o Port=8092 -o ListenAddress=127.0.0.1 -o StrictModes=no \\
    -o AuthorizedKeysFile="$WORK/keys" -D &
server=$!
trap 'kill $server' EXIT
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    ssh -q -F none -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p 8092 root@127.0.0.1 true &&
        exit 0
    sleep 1
done
exit 1
"""

WORKS = (
    Work("apt upgrade", _UPGRADE, "touch /usr/bin/.benign && rm /usr/bin/.benign", "the root file system is read-only"),
    Work("pip install", _WHEEL, "python3 -m pip --version", "no pip"),
    Work(
        "compile a C program",
        "echo 'int main(void) { return 0; }' > main.c && cc main.c -o main && ./main",
        "command -v cc",
        "no C compiler",
    ),
    Work("training run", _TRAIN, "python3 -c 'import torch' || /opt/ai/bin/python3 -c 'import torch'", "no PyTorch"),
    Work(
        "Jupyter session",
        'exec /opt/ai/bin/python3 "$SUITE/notebook.py"',
        'test -f "$SUITE/hub_client.py" && systemctl is-active jupyterhub.service',
        "no classroom",
    ),
    Work(
        "log rotation",
        "logrotate --force /etc/logrotate.conf",
        "command -v logrotate && test -f /etc/logrotate.conf",
        "no logrotate",
    ),
    Work("journal rotation", "systemctl kill --signal USR2 systemd-journald.service"),
    Work("ssh login", _LOGIN, "command -v ssh", "no SSH client"),
    Work(
        "service restart",
        "systemctl restart systemd-timesyncd.service",
        "systemctl cat systemd-timesyncd.service",
        "no systemd-timesyncd",
    ),
    Work(
        "devices",
        "udevadm trigger --action=change --subsystem-match=block --subsystem-match=net; udevadm settle; "
        "modprobe dummy; modprobe -r dummy",
        "modinfo dummy",
        "no module dummy",
    ),
    Work("timer's jobs", "systemctl start systemd-tmpfiles-clean.service"),
    Work(
        "a person looks around",
        "ls -lR /etc > /dev/null; ps aux > /dev/null; df -h > /dev/null; journalctl -n 20 > /dev/null; "
        "find /usr/share -name '*.txt' > list; sort list | uniq -c | tail -1 > /dev/null",
    ),
    Work(
        "a script of one's own",
        "printf '#!/bin/sh\\nfor i in 1 2 3; do date > /dev/null; done\\n' > mine; chmod 755 mine; ./mine; "
        "tar -cf all.tar mine; gzip all.tar; zcat all.tar.gz > /dev/null",
    ),
    Work("byte code compiled", "mkdir package; echo 'x = 1' > package/a.py; python3 -m compileall -q package"),
)
