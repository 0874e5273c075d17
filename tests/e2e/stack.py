"""A homerun of a test's own, with its registry, its clients, and a look at what it leaves behind."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# Set by tests/e2e/run before any test starts.
BINARY = Path()
IMAGES = Path()
HAS_GCLOUD = shutil.which("gcloud") is not None
# Stacks that run, for the runner to close should a test be interrupted.
RUNNING = []
# Longest that any single command of a test may take, in seconds.
LONGEST = 180


def eventually(what, look, seconds=30.0):
    """What `look` returns once it is true; it is called again and again until then. `what` may be a function that says
    what there is instead."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


def run(command, env, text=None):
    """Runs a command to its end; the result has returncode, stdout and stderr."""
    return subprocess.run(
        [str(word) for word in command], env=env, capture_output=True, text=True, timeout=LONGEST,
        **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}),
    )


def succeed(done):
    """The result of a command that must have succeeded."""
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(done.args)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


# Starts a program that is asked to end when this one does, however this one does.
TIED = ["setpriv", "--pdeathsig", "TERM", "--"]


class Registry:
    """Debian's docker-registry on a free port of the loopback address, filled with the examples' images."""

    def __init__(self, folder, images):
        self.child = subprocess.Popen(
            [*TIED, EXAMPLES / "registry", "--data", folder], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.address = self.child.stdout.readline().strip()
        assert self.address, f"the registry did not start; see {folder}/registry.log"
        for name in images:
            succeed(run([EXAMPLES / "push", IMAGES / f"{name}.tar", f"{self.address}/{name}:v1"], clean_env()))

    def end(self):
        self.child.terminate()
        self.child.wait(10)
        self.child.stdout.close()


def enter_own_network():
    """Starts this program again in a new network namespace with only a loopback interface."""
    if os.environ.get("HOMERUN_E2E_NETWORK") == "own":
        succeed(run(["ip", "link", "set", "lo", "up"], clean_env()))
        return
    os.environ["HOMERUN_E2E_NETWORK"] = "own"
    os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])


def build_images(folder, names):
    """Makes images of the examples. Before the network is left, since the ocr image is made of packages."""
    for name in names:
        done = subprocess.run([EXAMPLES / "build-image", name, folder / f"{name}.tar"], stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"the image of examples/{name} could not be built")


# Real clients in another language, for e2e_ingress.py: where they are, or why they are not there.
CLIENTS = Path()
NO_CLIENTS = None
PACKAGES = ["grpcio==1.85.3", "websockets==17.4"]


def install_clients(folder):
    """Puts PyPI's packages into the folder. Before the network is left; whether that worked shows in its `failed`."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    done = subprocess.run([*command, "--target", folder, *PACKAGES], capture_output=True, text=True)
    if done.returncode != 0:
        (folder / "failed").write_text(f"pip could not install {' '.join(PACKAGES)}: {done.stderr.strip()}")


def build_echo(program, out):
    """An image of the program of tests/e2e/echo.rs and the libraries that it is linked with."""
    if not program.exists():
        sys.exit(f"e2e: {program} is not built: cargo build --package homerun-ingress --example e2e-echo")
    sys.path.append(str(EXAMPLES))
    from imagetools import archive, hello, layer

    def fill(tree):
        linked = succeed(run(["ldd", program], clean_env())).stdout
        for file in [str(program), *re.findall(r"(/\S+) \(0x", linked)]:
            place = tree / ("echo" if file == str(program) else file.lstrip("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
        hello.add_user(tree)

    with tempfile.TemporaryDirectory() as cache:
        packed = layer.Cache(cache).layer("echo", [], fill, layer.GZIP)
        archive.write(out, [packed], hello.ARCHITECTURES[os.uname().machine], {**hello.CONFIG, "Entrypoint": ["/echo"]})


def clean_env(**more):
    """Nothing of the caller's but where programs are: no proxy, no other homerun, no gcloud settings."""
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": os.environ.get("HOME", "/root"), "LC_ALL": "C.UTF-8", **more}


class Stack:
    """`homerun up` on free ports with a data directory of its own, and a registry if it is to have images."""

    def __init__(self, *flags, gpus="simulated:nvidia-l4=2", images=("hello",), data=None, config="", through=()):
        """`config` is what homerun.toml says; `through` are the words of a command that starts homerun in its own place."""
        self.folder = Path(tempfile.mkdtemp(prefix="homerun-e2e-"))
        self.data = data or self.folder / "data"
        self.flags = ["--gpu", gpus, *map(str, flags)]
        self.through = through
        if config:
            (self.folder / "homerun.toml").write_text(config)
            self.flags += ["--config", self.folder / "homerun.toml"]
        self.log = self.folder / "homerun.log"
        self.server = None
        self.links, self.tables = links(), tables()
        self.key = None
        self.registry = Registry(self.folder / "registry", images) if images else None
        RUNNING.append(self)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # --- the server ---

    def start(self, control="127.0.0.1:0", ingress="127.0.0.1:0"):
        """Starts homerun and waits until it is ready."""
        with open(self.log, "a") as log:
            self.server = subprocess.Popen(
                [*TIED, *self.through, BINARY, "up", "--data-dir", self.data, "--listen", control, "--ingress-listen", ingress, *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_env(), start_new_session=True,
            )
        eventually("homerun is ready", self.is_ready)
        # By which everything of it on the machine is recognised, also when it has ended. A simulation leaves nothing.
        if "sim" not in self.flags:
            self.key = eventually("a helper is in a cgroup of this homerun's", self.find_key)
        self.env = clean_env(HOMERUN_DATA_DIR=str(self.data))

    def is_ready(self):
        assert self.server.poll() is None, f"homerun has ended:\n{self.tail()}"
        try:
            file = json.loads((self.data / "server.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        if file["pid"] != self.server.pid:
            return False
        self.control, self.ingress = file["control"], file["ingress"]
        done = run(["curl", "-fsS", f"http://{self.control}/readyz"], clean_env())
        return done.returncode == 0

    def kill(self):
        """As if the machine's owner had sent SIGKILL; instances stay."""
        self.server.kill()
        self.server.wait(10)

    def terminate(self):
        """Ends homerun in order and returns the seconds that it took."""
        begun = time.monotonic()
        self.server.send_signal(signal.SIGTERM)
        code = self.server.wait(60)
        assert code == 0, f"homerun exited with {code} after SIGTERM:\n{self.tail()}"
        return time.monotonic() - begun

    def close(self):
        """Ends everything and proves that nothing is left."""
        RUNNING.remove(self)
        try:
            if self.server and self.server.poll() is None:
                self.terminate()
            left = self.leftovers()
            assert not left, "left behind:\n" + "\n".join(left)
        finally:
            if self.server and self.server.poll() is None:
                self.kill()
            if self.registry:
                self.registry.end()
            # One file system: should a mount be left, what is mounted must not be deleted.
            run(["rm", "-rf", "--one-file-system", self.folder], clean_env())

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # --- clients ---

    def gcloud(self, *arguments, text=None):
        """The real client, pointed here."""
        return run(["gcloud", *arguments], self.gcloud_env(), text)

    def gcloud_env(self):
        """An environment in which gcloud speaks to this homerun: the exports of `homerun gcloud-env`, no settings else."""
        exports = succeed(self.homerun("gcloud-env")).stdout
        env = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in exports.splitlines())
        env |= {"CLOUDSDK_CONFIG": str(self.folder / "gcloud"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
        return clean_env(**env)

    def homerun(self, *arguments, text=None):
        """homerun's own client commands."""
        return run([BINARY, *arguments], clean_env(HOMERUN_DATA_DIR=str(self.data)), text)

    def deploy(self, service, *flags, image="hello"):
        """Deploys with homerun's own command, so that tests that are not about gcloud run without it."""
        command = ["run", "deploy", service, "--image", self.image(image), "--allow-unauthenticated", *flags]
        done = succeed(self.homerun(*command))
        return re.search(r"Service URL: (\S+)", done.stdout)[1]

    def replace(self, service):
        """Applies a service as gcloud's YAML has it, here as JSON, and returns its URL once it is ready."""
        file = self.folder / "service.json"
        file.write_text(json.dumps(service))
        succeed(self.homerun("run", "services", "replace", file))
        return self.describe(service["metadata"]["name"])["status"]["url"]

    def image(self, name):
        return f"{self.registry.address}/{name}:v1"

    def status(self):
        return json.loads(succeed(self.homerun("status", "--format", "json")).stdout)

    def identity_token(self, url):
        """A token with which the owner may call a service that is not public."""
        return succeed(self.homerun("auth", "print-identity-token", "--audiences", url)).stdout.strip()

    def service(self, name):
        return next((service for service in self.status()["services"] if service["name"] == name), None)

    def instances(self, service):
        return [instance for instance in self.status()["instances"] if instance["service"] == service]

    def free_gpus(self):
        return sum(gpu["instance"] is None for gpu in self.status()["gpus"])

    def describe(self, service):
        """The service as the API has it."""
        return json.loads(succeed(self.homerun("run", "services", "describe", service, "--format", "json")).stdout)

    # --- what is left ---

    def find_key(self):
        """What everything of this homerun is named after outside of its data directory."""
        keys = {key for pid in children(self.server.pid) for key in re.findall(r"/(homerun-[0-9a-f]{12})/", read(f"/proc/{pid}/cgroup"))}
        return next(iter(keys), None)

    def cgroups(self):
        """Names of this homerun's cgroups, each of which is in every hierarchy that is used."""
        folders = [top for top in Path("/sys/fs/cgroup").glob(f"*/{self.key}")] + [Path("/sys/fs/cgroup") / self.key]
        return {entry.name for top in folders if top.is_dir() for entry in top.iterdir() if entry.is_dir()}

    def helpers(self):
        """Processes of homerun that make containers, or wait to."""
        return [pid for pid in children(self.server.pid) if "__container-helper" in read(f"/proc/{pid}/cmdline") and lives(pid)]

    def standbys(self):
        """Names of the folders of sandboxes that stand by."""
        folder = Path("/dev/shm") / self.key / "instances"
        return [entry.name for entry in folder.iterdir() if entry.name.startswith(".standby-")] if folder.is_dir() else []

    def disorder(self, instances):
        """What on the machine is not as these instances, of one container each, would have it."""
        ids, found = {instance["id"] for instance in instances}, []
        helpers, standbys = self.helpers(), self.standbys()
        # Each sandbox that stands by has one container, and one helper waits for the next start.
        if len(helpers) != len(standbys) + 1:
            found.append(f"helpers: {helpers} for the next start and {standbys}")
        inhabited = {name for pid in pids() for name in re.findall(f"/{self.key}/([^/\\s]+)", read(f"/proc/{pid}/cgroup")) if lives(pid)}
        if self.cgroups() != inhabited or len(inhabited) != len(ids) + len(helpers):
            found.append(f"cgroups: {sorted(self.cgroups())}; processes are in {sorted(inhabited)}; instances are {sorted(ids)}")
        folders = {entry.name for entry in (Path("/dev/shm") / self.key / "instances").iterdir()} - set(standbys)
        if {name.removesuffix(".json") for name in folders} != ids:
            found.append(f"folders: {sorted(folders)}; instances are {sorted(ids)}")
        shown = json.loads(succeed(run(["ip", "-j", "link", "show"], clean_env())).stdout)
        aliases = [link.get("ifalias") for link in shown if link["ifname"].startswith(f"hr{self.key.removeprefix('homerun-')[:6]}-")]
        if sorted(map(str, aliases)) != sorted(ids):
            found.append(f"interfaces: of {sorted(map(str, aliases))}; instances are {sorted(ids)}")
        zombies = [pid for pid in children(self.server.pid) if not lives(pid)]
        if zombies:
            found.append(f"zombies: {zombies}")
        return found

    def devices(self):
        """Which instances' processes see which of the machine's GPUs: (index of the GPU, K_REVISION) of each."""
        seen = set()
        for pid in pids():
            revision = re.search(r"\0K_REVISION=([^\0]*)", "\0" + read(f"/proc/{pid}/environ"))
            if revision and f"/{self.key}/" in read(f"/proc/{pid}/cgroup") and lives(pid):
                try:
                    names = os.listdir(f"/proc/{pid}/root/dev")
                except OSError:
                    continue
                seen |= {(int(name.removeprefix("nvidia")), revision[1]) for name in names if re.fullmatch(r"nvidia\d+", name)}
        return seen

    def processes(self, instance):
        """Host process ids of an instance: whatever shares the network of the container that knows its revision."""
        mark = f"K_REVISION={instance['revision']}\0"
        own = [pid for pid in pids() if "homerun" in read(f"/proc/{pid}/cgroup") and mark in read(f"/proc/{pid}/environ")]
        networks = {network(pid) for pid in own} - {network("self"), None}
        return [pid for pid in pids() if network(pid) in networks]

    def leftovers(self):
        """Mounts, cgroups, folders, processes and interfaces that exist because of this homerun."""
        left, marks = [], [str(self.data)] + [f"/{self.key}"] * bool(self.key)
        for line in {line for pid in pids() for line in read(f"/proc/{pid}/mountinfo").splitlines()}:
            if any(mark in line for mark in marks):
                left.append(f"mount: {line}")
        if self.key:
            tops = [*Path("/sys/fs/cgroup").glob(f"*/{self.key}"), Path("/sys/fs/cgroup") / self.key, Path("/dev/shm") / self.key]
            left += [f"folder: {folder}" for top in tops if top.exists() for folder in [top, *top.rglob("*/")]]
        for pid in pids():
            words, cgroup = read(f"/proc/{pid}/cmdline"), read(f"/proc/{pid}/cgroup")
            if str(self.data) in words.split("\0") or (self.key and f"/{self.key}" in cgroup):
                left.append(f"process: {pid} {words}")
        left += [f"interface: {link}" for link in sorted(links() - self.links)]
        left += [f"firewall: {table}" for table in sorted(tables() - self.tables)]
        return left


def read(path):
    """A file of /proc; empty if its process has ended, or is beyond even root's reach."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def pids():
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def children(pid):
    """Process ids of a process's children, zombies too."""
    lists = [read(task / "children") for task in Path(f"/proc/{pid}/task").glob("[0-9]*")]
    return [int(child) for text in lists for child in text.split()]


def lives(pid):
    """Whether a process is there and no zombie."""
    status = read(f"/proc/{pid}/status")
    return bool(status) and "Z (zombie)" not in status


def age(pid):
    """Seconds since a process was started; 0 if it has ended."""
    fields = read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    up = float(read("/proc/uptime").split()[0])
    return up - int(fields[19]) / os.sysconf("SC_CLK_TCK") if fields else 0


def network(pid):
    """Which network namespace a process is in; None if it has ended, or is beyond even root's reach."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def links():
    """Names of this network namespace's interfaces."""
    return {name for _, name in socket.if_nameindex()}


def tables():
    """Names of this network namespace's firewall tables."""
    return set(succeed(run(["nft", "list", "tables"], clean_env())).stdout.splitlines())


def curl(url, *options):
    """The status and the body of an answer; 0 and curl's message where there was none."""
    done = run(["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *options, url], clean_env())
    if done.returncode != 0:
        return 0, done.stderr
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), body


class Load:
    """Threads that send one request after the other; `answers` holds (sent at, status, body) of each."""

    def __init__(self, url, threads=4):
        self.url, self.answers, self.ended = url, [], threading.Event()
        self.threads = [threading.Thread(target=self.send, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def send(self):
        while not self.ended.is_set():
            sent = time.monotonic()
            self.answers.append((sent, *curl(self.url)))

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(70)
        return self.answers
