"""`crun run` as a measure: the same program as homerun's container, started by hand."""

import ctypes
import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x40000, 2


def check(result):
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def first_byte(connect, host, path="/", deadline=60.0):
    """Waits for the first byte of the answer to a request; a refused connection is tried again."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < deadline:
        try:
            with connect() as connection:
                connection.settimeout(deadline)
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                byte = connection.recv(64)
                if not byte.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"unexpected answer: {byte!r}")
                return
        except ConnectionRefusedError:
            time.sleep(0.0005)
    raise SystemExit("no answer in time")


class Crun:
    """`crun run` with an overlay and a namespace of its own for each run, in a private mount namespace."""

    def __init__(self, rootfs, folder):
        self.folder, self.lower, self.count = folder, rootfs, itertools.count()
        check(LIBC.unshare(CLONE_NEWNS))
        check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        # crun refuses a cgroup2 hierarchy beside the version 1 controllers.
        if pathlib.Path("/sys/fs/cgroup/unified").is_mount():
            check(LIBC.umount2(b"/sys/fs/cgroup/unified", MNT_DETACH))
        self.host_net = os.open("/proc/self/ns/net", os.O_RDONLY)
        spec = json.loads(subprocess.run(["crun", "spec", "-f", "/dev/stdout"], capture_output=True, text=True).stdout or "null")
        if spec is None:
            subprocess.run(["crun", "spec"], cwd=folder, check=True)
            spec = json.loads((folder / "config.json").read_text())
        spec["process"].update(args=["/hello"], terminal=False, env=["PATH=/", "PORT=8080"])
        spec["root"] = {"path": "rootfs", "readonly": False}
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": 512 << 20}
        spec["linux"]["resources"]["cpu"] = {"quota": 100000, "period": 100000}
        self.spec = json.dumps(spec)

    def measure(self, path="/"):
        """Seconds from the decision to run one until its first byte. May be called by several threads at once."""
        number = next(self.count)
        name, bundle = f"homerun-bench-{os.getpid()}-{number}", self.folder / f"bundle-{number}"
        for part in ("rootfs", "upper", "work"):
            (bundle / part).mkdir(parents=True)
        (bundle / "config.json").write_text(self.spec)
        begun = time.perf_counter()
        options = f"lowerdir={self.lower},upperdir={bundle}/upper,workdir={bundle}/work".encode()
        check(LIBC.mount(b"overlay", str(bundle / "rootfs").encode(), b"overlay", 0, options))
        command = ["crun", "run", "--detach", "--pid-file", bundle / "pid", "--bundle", bundle, name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = (bundle / "pid").read_text()
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            check(LIBC.setns(namespace, CLONE_NEWNET))
            first_byte(lambda: socket.create_connection(("127.0.0.1", 8080)), "localhost", path)
            took = time.perf_counter() - begun
        finally:
            check(LIBC.setns(self.host_net, CLONE_NEWNET))
            os.close(namespace)
            subprocess.run(["crun", "delete", "--force", name], check=True, capture_output=True)
            check(LIBC.umount2(str(bundle / "rootfs").encode(), MNT_DETACH))
            shutil.rmtree(bundle)
        return took


def unpack(archive, rootfs):
    """Unpacks an image archive's layers."""
    rootfs.mkdir()
    for layer in layers(archive):
        subprocess.run(["tar", "-xz", "-C", rootfs], input=layer, check=True)


def layers(archive):
    """The gzip layers of an OCI archive, bottom first."""
    def read(name):
        return subprocess.run(["tar", "-xOf", archive, name], check=True, capture_output=True).stdout

    def blob(digest):
        return read("blobs/" + digest.replace(":", "/"))

    manifest = json.loads(blob(json.loads(read("index.json"))["manifests"][0]["digest"]))
    return [blob(layer["digest"]) for layer in manifest["layers"]]
