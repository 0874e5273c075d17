"""The ocr image: Debian's python3, the packages of requirements.txt, the server."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import ToolError, hello
from .layer import MTIME, say

HERE = Path(__file__).resolve().parent.parent / "ocr"
PYTHON = "python3.11"
PACKAGES = [PYTHON, "libstdc++6", "libgcc-s1", "zlib1g"]
DIST_PACKAGES = f"usr/local/lib/{PYTHON}/dist-packages"
# What the packages' install scripts want, which don't run here.
FOR_SCRIPTS_ONLY = {"dpkg", "tar", "libselinux1", "libacl1", "libmd0", "libpcre2-8-0"}
APT = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
# Never read at run time; licences (usr/share/doc/*/copyright) stay.
UNUSED_IN_BASE = [
    "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion",
    "usr/share/pixmaps", "usr/share/applications", "usr/share/gdb", "usr/share/binfmts",
    f"usr/lib/{PYTHON}/lib2to3", f"usr/lib/{PYTHON}/pydoc_data", "usr/lib/*/gconv", "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*",
]
# onnxruntime's Python module holds the runtime itself: libonnxruntime.so is for other languages.
UNUSED_PACKAGES = [
    "**/tests", "**/*.pyi", "bin", "onnxruntime/transformers", "onnxruntime/tools", "onnxruntime/quantization",
    "onnxruntime/capi/libonnxruntime.so*", "numpy/f2py", "numpy/distutils", "numpy/_core/lib", "numpy/_core/include",
]
CONFIG = {
    **hello.CONFIG,
    "Entrypoint": [f"/usr/bin/{PYTHON}", "/app/server.py"],
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1"],
    "WorkingDir": "/app",
    "Labels": {"org.opencontainers.image.title": "ocr"},
}


def image(cache, media_type):
    """Layers, architecture and config of the image."""
    check_tools()
    architecture = output(["dpkg", "--print-architecture"]).strip()
    packages = cache.remember("apt", [PACKAGES, sorted(FOR_SCRIPTS_ONLY), architecture, apt_lists()], resolve)
    recipe = Path(__file__).read_text()
    base = cache.layer(
        "base", [packages, recipe, MTIME], lambda tree: fill_base(tree, packages, cache.folder("debs")), media_type
    )
    requirements = (HERE / "requirements.txt").read_text()
    python = cache.layer("python", [requirements, architecture, recipe, MTIME], fill_python, media_type)
    app = cache.layer("app", [(HERE / "server.py").read_text(), recipe, MTIME], fill_app, media_type)
    return [base, python, app], architecture, CONFIG


def check_tools():
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ToolError("ocr is made from Debian's packages: build it on Debian 12 (apt-get and dpkg-deb are missing)")
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:2]))
        raise ToolError(f"ocr needs Debian 12's /usr/bin/python3, which is 3.11, to fit its packages; this is {found}")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise ToolError(f"{sys.executable} has no pip: apt-get install python3-pip")


def output(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def apt_lists():
    """Changes when 'apt-get update' brings something new."""
    lists = sorted(Path("/var/lib/apt/lists").glob("*Packages*"))
    if not lists:
        raise ToolError("apt has no package lists yet: apt-get update")
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in lists]


def resolve():
    """[name, version] of each package that an empty Debian would need for PACKAGES."""
    say("  resolving Debian packages")
    simulate = ["-s", "--no-install-recommends", "-o", "Dir::State::status=/dev/null", "install", *PACKAGES]
    planned = re.findall(r"^Inst (\S+) \((\S+)", output([*APT, *simulate]), re.MULTILINE)
    return [package for package in planned if package[0] not in FOR_SCRIPTS_ONLY]


def fill_base(tree, packages, debs):
    """Unpacks Debian's packages. Their scripts don't run: python needs nothing that they do."""
    architecture = output(["dpkg", "--print-architecture"]).strip()
    # apt escapes the colon of an epoch in the names of the files that it downloads.
    names = {
        (name, version): [debs / f"{name}_{version.replace(':', '%3a')}_{arch}.deb" for arch in (architecture, "all")]
        for name, version in packages
    }
    missing = [f"{name}={version}" for (name, version), paths in names.items() if not any(p.exists() for p in paths)]
    if missing:
        say(f"  downloading {len(missing)} Debian packages")
        done = subprocess.run([*APT, "download", *missing], cwd=debs, capture_output=True, text=True)
        if done.returncode != 0:
            raise ToolError(f"apt-get download failed (is 'apt-get update' recent?):\n{done.stderr.strip()}")
    # Packages of Debian 12 still ship files under /lib and /bin, which are links to /usr.
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for paths in names.values():
        output(["dpkg-deb", "-x", str(next(path for path in paths if path.exists())), str(tree)])
    remove(tree, UNUSED_IN_BASE)
    if not (tree / "usr/bin/python3").exists():
        (tree / "usr/bin/python3").symlink_to(PYTHON)
    hello.add_user(tree)
    compile_python(tree)


def fill_python(tree):
    say("  installing Python packages")
    target = tree / DIST_PACKAGES
    target.parent.mkdir(parents=True)
    install = [
        "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-deps", "--no-compile",
        "--only-binary=:all:", "--require-hashes", "--target", str(target), "-r", str(HERE / "requirements.txt"),
    ]
    if subprocess.run([sys.executable, "-m", "pip", *install]).returncode != 0:
        raise ToolError("pip could not install ocr/requirements.txt (its message is above)")
    remove(target, UNUSED_PACKAGES)
    compile_python(tree)


def fill_app(tree):
    (tree / "app").mkdir()
    shutil.copy(HERE / "server.py", tree / "app/server.py")


def remove(tree, patterns):
    for pattern in patterns:
        for path in sorted(tree.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def compile_python(tree):
    """Byte code beside the source, for the user of the image can't write it and would compile at each start."""
    # In one process with fixed hashes: the order of sets and what is already interned show in the byte code.
    # Exit code 1 only says that some file, such as a template, is no valid source.
    subprocess.run(
        [sys.executable, "-S", "-s", "-m", "compileall", "-qq", "-s", str(tree), "-p", "/",
         "--invalidation-mode", "unchecked-hash", str(tree)],
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
    )
