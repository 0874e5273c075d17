"""`podman run` as a measure, beside homerun's containers and `crun run`'s: its own storage, `crun` as its runtime."""

import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import time

from crun import CLONE_NEWNET, LIBC, MNT_DETACH, check, first_byte

IMAGE = "localhost/hello:bench"


class Podman:
    """podman with a storage of its own, which holds the image; containers get the same limits as homerun's."""

    def __init__(self, image, folder):
        self.count = itertools.count()
        self.host_net = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.root = root = folder / "podman"
        # A namespace without a way to the outside, as `crun run` has it here.
        self.command = ["podman", "--root", root / "storage", "--runroot", root / "run", "--tmpdir", root / "tmp",
                        "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "crun"]
        loaded = self.podman("load", "--input", image)
        self.podman("tag", loaded.strip().split()[-1], IMAGE)

    def end(self):
        """podman leaves its storage mounted, which could not be removed."""
        unmount(self.root)

    def podman(self, *arguments):
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"podman {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def measure(self, path="/"):
        """Seconds from the decision to run one until its first byte. May be called by several threads at once."""
        name = f"homerun-bench-{os.getpid()}-{next(self.count)}"
        begun = time.perf_counter()
        self.podman("run", "--detach", "--name", name, "--network", "none", "--memory", "512m", "--cpus", "1",
                    "--log-driver", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--env", "PORT=8080", IMAGE)
        try:
            pid = self.podman("inspect", "--format", "{{.State.Pid}}", name).strip()
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                check(LIBC.setns(namespace, CLONE_NEWNET))
                first_byte(lambda: socket.create_connection(("127.0.0.1", 8080)), "localhost", path)
                return time.perf_counter() - begun
            finally:
                check(LIBC.setns(self.host_net, CLONE_NEWNET))
                os.close(namespace)
        finally:
            self.podman("rm", "--force", "--time", "0", name)


def unmount(folder):
    """Everything that is mounted below a folder, the last one first."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    for target in reversed([line.split()[4] for line in lines]):
        if target.startswith(f"{folder}/"):
            LIBC.umount2(target.encode(), MNT_DETACH)


def if_it_runs(image, folder):
    """podman where it is installed and can run a container here; else `None`, after saying why."""
    if not shutil.which("podman"):
        print("podman is not installed: left out")
        return None
    try:
        podman = Podman(image, pathlib.Path(folder))
        podman.measure()
        return podman
    except OSError as error:
        unmount(pathlib.Path(folder) / "podman")
        print(f"podman cannot run here: left out ({error})")
        return None
