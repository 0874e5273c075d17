"""The hello image: one static binary, and nothing else that could run."""

import platform
import shutil
import subprocess
from pathlib import Path

from . import ToolError
from .layer import MTIME

HERE = Path(__file__).resolve().parent.parent / "hello"
# Run in the source's folder: a path would end up in the binary, and the image differ with the checkout's place.
RUSTC = [
    "rustc", "--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "strip=symbols", "main.rs"
]
PASSWD = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
CONFIG = {
    "User": "65532:65532",
    "Entrypoint": ["/hello"],
    "ExposedPorts": {"8080/tcp": {}},
    "WorkingDir": "/",
    "Labels": {"org.opencontainers.image.title": "hello"},
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image(cache, media_type):
    """Layers, architecture and config of the image."""
    if not shutil.which("rustc"):
        raise ToolError("hello needs the Rust compiler: install it with rustup")
    compiler = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    inputs = [*(source.read_text() for source in sorted(HERE.glob("*.rs"))), RUSTC, compiler, PASSWD, MTIME]
    layer = cache.layer("hello", inputs, fill, media_type)
    return [layer], ARCHITECTURES[platform.machine()], CONFIG


def fill(tree):
    binary = tree / "hello"
    compiled = subprocess.run([*RUSTC, "-o", str(binary)], cwd=HERE)
    if compiled.returncode != 0:
        raise ToolError("rustc failed; linking needs a C compiler and the static C library: apt-get install gcc libc6-dev")
    add_user(tree)


def add_user(tree):
    """The user that the image runs as, and the one folder where it may write."""
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "tmp").mkdir(exist_ok=True)
    (tree / "tmp").chmod(0o1777)
