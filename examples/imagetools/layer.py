"""Layers: a folder packed so that the same content always gives the same digest, and a cache of them."""

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import ToolError

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
# Any fixed time will do: 2024-01-01T00:00:00Z.
MTIME = 1704067200


def say(text):
    """Progress for a person; standard output stays free for results."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Layer:
    """A packed layer in the cache."""

    path: str
    media_type: str
    digest: str
    size: int
    diff_id: str


class HashingFile:
    """A file to write to that knows the SHA-256 and the size of what was written."""

    def __init__(self, to):
        self.to, self.sha256, self.size = to, hashlib.sha256(), 0

    def write(self, data):
        self.sha256.update(data)
        self.size += len(data)
        return self.to.write(data)

    def flush(self):
        self.to.flush()

    def digest(self):
        return "sha256:" + self.sha256.hexdigest()


def write_tar(tree, to):
    """Packs a folder: sorted, owned by root, all at one time."""

    def normalise(member):
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = MTIME
        return member

    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            name = str(path.relative_to(tree))
            tar.add(path, arcname=name, recursive=False, filter=normalise)


@contextlib.contextmanager
def compressor(to, media_type):
    """A file whose content arrives compressed in `to`."""
    if media_type == GZIP:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=to, mtime=0) as packed:
            yield packed
        return
    if not shutil.which("zstd"):
        raise ToolError("--zstd needs the zstd tool: apt-get install zstd")
    with tempfile.TemporaryFile() as out:
        with subprocess.Popen(["zstd", "-q", "-T0", "-c"], stdin=subprocess.PIPE, stdout=out) as zstd:
            yield zstd.stdin
            zstd.stdin.close()
        if zstd.returncode != 0:
            raise ToolError(f"zstd exited with {zstd.returncode}")
        out.seek(0)
        shutil.copyfileobj(out, to, 1 << 20)


class Cache:
    """Results by a hash of what they were made from, safe for several builds at once."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def default():
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Cache(Path(base) / "homerun-examples")

    def folder(self, name):
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def scratch(self):
        return tempfile.TemporaryDirectory(prefix="build-", dir=self.root)

    def remember(self, name, inputs, make):
        """What `make` returned (JSON) for these inputs, made now if it never was."""
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:20]
        entry = self.folder("results") / f"{name}-{key}.json"
        with open(entry.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if entry.exists():
                return json.loads(entry.read_text())
            result = make()
            part = entry.with_suffix(".part")
            part.write_text(json.dumps(result))
            part.replace(entry)
            return result

    def layer(self, name, inputs, fill, media_type):
        """The layer whose folder `fill(path)` fills."""

        def make():
            started = time.monotonic()
            say(f"  layer {name}: building")
            with self.scratch() as scratch:
                tree, part = Path(scratch) / "tree", Path(scratch) / "layer"
                tree.mkdir()
                fill(tree)
                with open(part, "wb") as file:
                    packed = HashingFile(file)
                    with compressor(packed, media_type) as compressed:
                        plain = HashingFile(compressed)
                        write_tar(tree, plain)
                path = self.folder("layers") / packed.digest().replace(":", "-")
                part.replace(path)
            say(f"  layer {name}: {packed.size / 1e6:.1f} MB, {time.monotonic() - started:.1f} s")
            return asdict(Layer(str(path), media_type, packed.digest(), packed.size, plain.digest()))

        return Layer(**self.remember(name, [inputs, media_type], make))
