"""A fault at each step of an instance's life: what the user is told, and that nothing is left of it.

Prints a line per fault: the step, what was done, and the words of the condition or of the log.
"""

import json
import os
import re
import tempfile
import time
import unittest
from pathlib import Path

import stack
from stack import clean_env, curl, eventually, read, run, succeed

HOME: stack.Stack

# Two tries, a second apart.
PROBE = {"failureThreshold": 2, "periodSeconds": 1}


def service(name, image, env, volumes=(), gpu=True, **container):
    """A public service with one container, with a GPU as a rule, as text (JSON is YAML)."""
    variables = [{"name": variable, "value": value} for variable, value in (env or {}).items()]
    # The least memory that a service with a GPU may have is 16 GiB.
    limits = {"limits": {"nvidia.com/gpu": "1"} if gpu else {"memory": "128Mi"}}
    annotations = {"autoscaling.knative.dev/maxScale": "1"}
    if gpu:
        annotations["run.googleapis.com/gpu-zonal-redundancy-disabled"] = "true"
    template = {
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"image": image, "env": variables, "resources": limits, **container}], "volumes": list(volumes)},
    }
    return json.dumps({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"template": template},
        "metadata": {"name": name, "annotations": {"run.googleapis.com/invoker-iam-disabled": "true"}},
    })


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", 2)


def tearDownModule():
    HOME.close()


def containers(service):
    """Host process ids of a service's containers."""
    own = (pid for pid in stack.pids() if "homerun" in read(f"/proc/{pid}/cgroup"))
    return [pid for pid in own if f"K_SERVICE={service}\0" in read(f"/proc/{pid}/environ")]


class Faults(unittest.TestCase):
    def apply(self, name, image=None, env=None, **more):
        return HOME.homerun("run", "services", "replace", "-", text=service(name, image or HOME.image("hello"), env, **more))

    def clean(self, name):
        """Of the service's instances nothing is left: none is known, no process, no cgroup, no interface, no folder; and
        its GPU is free."""
        eventually("no instance is left", lambda: not HOME.instances(name))
        self.assertEqual(containers(name), [])
        others = HOME.status()["instances"]
        self.assertEqual(others, [], "one service at a time")
        # A sandbox may be being made for the next start.
        eventually(lambda: HOME.disorder([]), lambda: not HOME.disorder([]), 10)
        self.assertEqual(HOME.free_gpus(), 2)

    def tell(self, step, fault, words):
        words = words.partition("might contain more information. ")[2] or words
        print(f"  {step:9} {fault:41} {' '.join(words.split())[:150]}", flush=True)

    def fails(self, step, fault, wanted, **more):
        """A deployment that fails. Its condition says why, and what is left is nothing."""
        name = f"{step}-{re.sub('[^a-z]+', '-', fault.lower())}"[:30].strip("-")
        done = self.apply(name, **more)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        conditions = {c["type"]: c for c in HOME.describe(name)["status"]["conditions"]}
        message = conditions["Ready"]["message"]
        self.assertEqual(conditions["Ready"]["status"], "False", conditions)
        self.assertRegex(message, wanted)
        self.clean(name)
        self.tell(step, fault, message.partition("cannot serve traffic. ")[2] or message)
        succeed(HOME.homerun("run", "services", "delete", name, "--quiet"))

    def log(self, name, wanted):
        """The line of the service's log that says it, once it is there."""
        def look():
            text = succeed(HOME.homerun("run", "services", "logs", "read", name)).stdout
            return next((line for line in reversed(text.splitlines()) if re.search(wanted, line)), None)
        return eventually(f"the log of {name} says {wanted}", look)

    def serves(self, name, **more):
        succeed(self.apply(name, **more))
        url = HOME.service(name)["url"]
        self.assertEqual(curl(url)[0], 200)
        return url, [instance["id"] for instance in HOME.instances(name)]

    def replaced(self, name, url, before):
        """The instance that failed is gone, another answers, and when that has gone too nothing is left."""
        self.assertEqual(eventually("another instance answers", lambda: (a := curl(url))[0] == 200 and a)[0], 200)
        self.assertFalse(set(before) & {instance["id"] for instance in HOME.instances(name)})
        self.clean(name)
        succeed(HOME.homerun("run", "services", "delete", name, "--quiet"))

    def test_1_pull(self):
        image = f"{HOME.registry.address}/nothing:v1"
        self.fails("pull", "the image does not exist", "Image '.*nothing:v1' not found", image=image)
        self.fails("pull", "nobody listens at the registry", "could not be pulled", image="127.0.0.1:1/hello:v1")

    def test_2_unpack(self):
        # A layer of the image arrives with other bytes than its name says.
        blobs = sorted((HOME.folder / "registry").rglob("data"), key=lambda path: path.stat().st_size)
        whole = blobs[-1].read_bytes()
        blobs[-1].write_bytes(whole[:-100] + bytes(100))
        try:
            self.fails("unpack", "a layer's bytes are not those it names", "digest|hash|corrupt|does not match")
        finally:
            blobs[-1].write_bytes(whole)
        self.serves("whole")
        self.clean("whole")

    def test_3_disk_full(self):
        """homerun's data on a file system of its own, which is full when the image comes."""
        folder = Path(tempfile.mkdtemp(prefix="homerun-e2e-disk-"))
        succeed(run(["mount", "-t", "tmpfs", "-o", "size=24m", "homerun-e2e", folder], clean_env()))
        try:
            home = stack.Stack(data=folder / "data")
            try:
                self.disk_full(home, folder)
            finally:
                home.close()
        finally:
            succeed(run(["umount", folder], clean_env()))
            folder.rmdir()

    def disk_full(self, home, folder):
        def free():
            return os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize

        def apply(name, **more):
            return home.homerun("run", "services", "replace", "-", text=service(name, home.image("hello"), None, **more))

        (folder / "filler").write_bytes(bytes(free() - (400 << 10)))
        self.assertNotEqual(apply("full").returncode, 0)
        message = next(c["message"] for c in home.describe("full")["status"]["conditions"] if c["type"] == "Ready")
        self.assertIn("No space left on device", message)
        self.tell("unpack", "the disk is full", message.partition("cannot serve traffic. ")[2] or message)
        # Not even a byte more: changes are refused, and what is there goes on.
        (folder / "filler2").write_bytes(bytes(free()))
        refused = apply("fuller")
        self.assertNotEqual(refused.returncode, 0)
        self.tell("store", "the disk is full", refused.stderr)
        self.assertEqual([service["name"] for service in home.status()["services"]], ["full"])
        for filler in ("filler", "filler2"):
            (folder / filler).unlink()
        succeed(apply("full", args=["again"]))
        self.assertEqual(curl(home.service("full")["url"])[0], 200)

    def test_3_network(self):
        """The kernel makes no network namespace for this homerun."""
        HOME.terminate()
        HOME.through = [Path(__file__).with_name("no_namespaces.py")]
        HOME.start()
        try:
            self.fails("network", "the kernel makes no network namespace", "namespaces cannot be made")
        finally:
            HOME.terminate()
            HOME.through = ()
            HOME.start()
        self.serves("network")
        self.clean("network")

    def test_4_create_start_and_probe(self):
        tcp = {**PROBE, "tcpSocket": {"port": 8080}}
        self.fails("create", "the program does not exist", "/no/such/program", command=["/no/such/program"])
        self.fails("start", "the program exits with 3", r"exit\(3\)", env={"EXIT_AT_START": "3"})
        self.fails("probe", "it listens on another port", "PORT=8080", env={"LISTEN_PORT": "9999"}, startupProbe=tcp)
        self.fails("probe", "it takes longer than its probe", "probe", env={"START_DELAY_MS": "20000"}, startupProbe=tcp)

    def test_5_crash(self):
        url, before = self.serves("crash")
        curl(f"{url}/exit?code=9")
        self.tell("crash", "a ready program exits with 9", self.log("crash", r"exit\(9\)"))
        # It stays ready, and says what its instances fail for.
        eventually("status says it", lambda: "called exit(9)" in HOME.homerun("status").stdout)
        self.assertEqual(HOME.service("crash")["state"], "ready")
        self.replaced("crash", url, before)

    def test_6_out_of_memory(self):
        mount, volume = {"name": "m", "mountPath": "/m"}, {"name": "m", "emptyDir": {"medium": "Memory"}}
        url, before = self.serves("oom", gpu=False, volumeMounts=[mount], volumes=[volume])
        curl(f"{url}/write?path=/m/big&bytes={256 << 20}")
        self.tell("memory", "a ready program uses more than its limit", self.log("oom", "more memory than its limit"))
        self.replaced("oom", url, before)

    def test_7_liveness(self):
        url, before = self.serves("liveness", livenessProbe={**PROBE, "httpGet": {"path": "/nothing", "port": 8080}})
        self.tell("liveness", "its liveness probe fails", self.log("liveness", "liveness probe of container"))
        self.replaced("liveness", url, before)

    def test_8_hang_at_sigterm(self):
        url, before = self.serves("deaf", env={"IGNORE_SIGTERM": "1"})
        eventually("it is being stopped", lambda: [i for i in HOME.instances("deaf") if i["state"] == "stopping"])
        begun = time.monotonic()
        self.assertEqual(curl(url)[0], 200, "another instance answers meanwhile")
        eventually("the deaf one is killed", lambda: before[0] not in [i["id"] for i in HOME.instances("deaf")])
        self.tell("stop", "the program ignores SIGTERM", f"killed {time.monotonic() - begun:.0f} s after it was asked to end")
        succeed(HOME.homerun("run", "services", "delete", "deaf", "--quiet"))
        self.clean("deaf")
