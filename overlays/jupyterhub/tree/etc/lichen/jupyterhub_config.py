"""JupyterHub's configuration. What a teacher may want to change is in classroom.yaml beside this file."""

import sys

from classroom import layout
from classroom.authenticator import ClassroomAuthenticator
from classroom.settings import load_settings
from classroom.spawner import ClassroomSpawner
from traitlets.config import get_config

c = get_config()
settings = load_settings()

# The proxy is a service of its own (classroom-proxy.service): it faces the network without being root, and restarting
# the hub does not cut anybody's connection.
c.JupyterHub.bind_url = f"https://:{settings.port}"
c.JupyterHub.hub_ip = "127.0.0.1"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.JupyterHub.cleanup_servers = False

c.JupyterHub.db_url = f"sqlite:///{layout.HUB / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(layout.HUB / "cookie_secret")
# The data partition may have been written by an older image; the hub keeps a copy before it migrates.
c.JupyterHub.upgrade_db = True

c.JupyterHub.authenticator_class = ClassroomAuthenticator
c.JupyterHub.template_paths = [str(layout.TEMPLATES)]
c.JupyterHub.template_vars = {"classroom": settings}

c.JupyterHub.spawner_class = ClassroomSpawner
c.Spawner.mem_limit = settings.memory_limit
c.Spawner.cpu_limit = settings.cpu_limit
# Kernels talk over sockets in a private folder: on TCP, every other student of the machine could read along.
c.Spawner.args = ["--KernelManager.transport=ipc"]
# Generous, because thirty students press the button in the same minute, and emulated machines are slow.
c.Spawner.start_timeout = 600
c.Spawner.http_timeout = 600

c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={settings.idle_timeout}"],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
]
