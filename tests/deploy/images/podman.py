"""podman with storage and settings of its own, for machines with neither systemd nor a network to spare."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# cgroups without systemd; limits that need no CAP_SYS_RESOURCE; runc, since crun refuses machines with
# both versions of cgroups.
SETTINGS = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
PATIENCE = 300
COMPOSE = Path(sys.executable).parent / "podman-compose"


class Podman:
    def __init__(self):
        # Short: sockets of containers lie in it.
        self.folder = Path(tempfile.mkdtemp(prefix="pm"))
        (self.folder / "containers.conf").write_text(SETTINGS)

        self.options = ["--root", self.folder / "root", "--runroot", self.folder / "run"]
        self.options += ["--storage-driver", "vfs"]

    def __call__(self, *arguments, check=True):
        """Runs `podman ARGUMENTS`; its result."""
        return self.run(["podman", *self.options, *arguments], check)

    def compose(self, *arguments, check=True, **variables):
        """Runs `podman-compose ARGUMENTS` with more variables in its environment; its result."""
        options = " ".join(map(str, self.options))
        return self.run([COMPOSE, "--podman-args", options, *arguments], check, **variables)

    def run(self, command, check, **variables):
        done = subprocess.run(
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder),
                 "CONTAINERS_CONF": str(self.folder / "containers.conf"), **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def close(self):
        self("pod", "rm", "--all", "--force", "--time", "1")
        shutil.rmtree(self.folder)


def why_not():
    """Why containers can't be run here, or None."""
    if not shutil.which("podman"):
        return "there is no podman"
    podman = Podman()
    try:
        root = podman.folder / "try"
        root.mkdir()
        done = podman("run", "--rm", "--network", "none", "--rootfs", root, "/none", check=False)
        # It got as far as looking for the program.
        return None if "/none" in done.stderr and done.returncode == 127 else done.stderr
    finally:
        podman.close()
