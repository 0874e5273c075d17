"""What a container sees: its GPU, its sidecars, its limits."""

import json
import time
import unittest
from pathlib import Path

import stack
from stack import curl, eventually, succeed

HOME: stack.Stack

# Two containers of one image; the GPU's container is the one whose limits name it.
PAIR = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: pair
spec:
  template:
    spec:
      containers:
      - name: web
        image: IMAGE
        ports:
        - containerPort: 8080
        WEB_LIMITS
      - name: side
        image: IMAGE
        env:
        - name: LISTEN_PORT
          value: '9090'
        SIDE_LIMITS
"""
GPU = "resources: {limits: {nvidia.com/gpu: '1'}}"


def setUpModule():
    global HOME
    HOME = stack.Stack()


def tearDownModule():
    HOME.close()


def gpu_files(pid):
    """What of a GPU the container of a host process sees."""
    root = Path(f"/proc/{pid}/root")
    devices = [f"/dev/{path.name}" for path in (root / "dev").iterdir() if path.name.startswith("nvidia")]
    return sorted(devices) + [str(path) for path in [Path("/usr/local/nvidia")] if (root / path.relative_to("/")).exists()]


def logged(service):
    """Everything that is in a service's log, as it is on disk."""
    return "".join(file.read_text() for file in (HOME.data / "logs").glob(f"*/*/{service}/*.jsonl"))


class Containers(unittest.TestCase):
    def test_g16_the_gpu_and_its_driver_are_in_the_container(self):
        url = HOME.deploy("gpu", "--gpu", "1")
        status, seen = curl(f"{url}/gpu")
        self.assertEqual(status, 200)
        for text in ("/dev/nvidia", "/usr/local/nvidia/lib64", "535.129.03", "12.2", "NVIDIA L4", "imulated"):
            self.assertIn(text, seen)

    def test_g17_the_images_own_cuda_libraries_come_first_by_a_setting(self):
        newer = ("--gpu", "1", "--update-env-vars", "CUDA_VERSION=12.4.1")
        url = HOME.deploy("newer", *newer)
        self.assertTrue(any("cuda-compat-12-4" in text for text in HOME.status()["warnings"]))
        self.assertEqual(json.loads(curl(f"{url}/env")[1])["LD_LIBRARY_PATH"], "/usr/local/nvidia/lib64")
        HOME.deploy("newer", *newer, "--cuda-compat")
        self.assertFalse(any("cuda-compat-12-4" in text for text in HOME.status()["warnings"]))
        path = json.loads(curl(f"{url}/env")[1])["LD_LIBRARY_PATH"]
        self.assertEqual(path, "/usr/local/cuda/compat:/usr/local/nvidia/lib64")
        succeed(HOME.homerun("run", "services", "delete", "newer"))

    def test_g06_without_a_gpu_nothing_of_it_is_there(self):
        url = HOME.deploy("plain")
        self.assertEqual(curl(f"{url}/gpu")[1], "no GPU in this container\n")

    def test_g06_only_the_container_that_asks_has_the_gpu(self):
        for owner, web, side in (("web", GPU, ""), ("side", "", GPU)):
            text = PAIR.replace("IMAGE", HOME.image("hello")).replace("WEB_LIMITS", web).replace("SIDE_LIMITS", side)
            succeed(HOME.homerun("run", "services", "replace", "-", text=text))
            url = HOME.service("pair")["url"]
            token = HOME.identity_token(url)
            seen = curl(f"{url}/gpu", "-H", f"Authorization: Bearer {token}")[1]
            self.assertEqual("no GPU in this container" not in seen, owner == "web", seen)
            revision = HOME.describe("pair")["status"]["latestReadyRevisionName"]
            instance = next(i for i in HOME.instances("pair") if i["revision"] == revision)
            views = [gpu_files(pid) for pid in HOME.processes(instance)]
            self.assertEqual(len(views), 2, "one process per container")
            self.assertEqual(sorted(map(bool, views)), [False, True], views)

    def test_s06_containers_of_an_instance_share_their_network(self):
        url = HOME.service("pair")["url"]
        token = HOME.identity_token(url)
        body = curl(f"{url}/connect?to=127.0.0.1:9090", "-H", f"Authorization: Bearer {token}")[1]
        self.assertTrue(json.loads(body)["ok"], body)

    def test_s04_the_environment_is_that_of_the_container_contract(self):
        url = HOME.service("gpu")["url"]
        env = json.loads(curl(f"{url}/env")[1])
        service = HOME.describe("gpu")
        self.assertEqual(env["PORT"], "8080")
        self.assertEqual(env["K_SERVICE"], "gpu")
        self.assertEqual(env["K_CONFIGURATION"], "gpu")
        self.assertEqual(env["K_REVISION"], service["status"]["latestReadyRevisionName"])

    def test_s04_the_file_system_can_be_written_and_is_not_shared(self):
        url = HOME.service("gpu")["url"]
        written = json.loads(curl(f"{url}/write?path=/tmp/here&bytes=1000")[1])
        self.assertTrue(written["ok"], written)
        refused = json.loads(curl(f"{url}/write?path=/usr/local/nvidia/lib64/here&bytes=1")[1])
        self.assertFalse(refused["ok"], "the driver's folder is read-only")

    def test_s04_sigterm_comes_first(self):
        url = HOME.deploy("ending")
        self.assertEqual(curl(url)[0], 200)
        succeed(HOME.homerun("run", "services", "delete", "ending", "--quiet"))
        eventually("the container logged SIGTERM", lambda: "SIGTERM received" in logged("ending"))

    def test_s05_cpu_outside_of_requests_is_there_only_where_the_service_has_it_so(self):
        def counted(url):
            return int(curl(f"{url}/count")[1])

        def meanwhile(url):
            curl(f"{url}/sleep?ms=1500")
            begun = counted(url)
            time.sleep(4)
            return counted(url) - begun

        always = meanwhile(HOME.deploy("always", "--max-instances", "1", "--no-cpu-throttling"))
        usual = meanwhile(HOME.deploy("usual", "--max-instances", "1"))
        self.assertLess(usual, 0.75 * always, "one or two of four seconds")
        url = HOME.service("usual")["url"]
        begun = counted(url)
        curl(f"{url}/sleep?ms=2000")
        # Half of it on a quiet machine, a hundredth if it had none.
        self.assertGreater(counted(url) - begun, 0.1 * always, "while it has a request it has its CPU")

    def test_s12_what_a_container_writes_is_captured(self):
        url = HOME.service("gpu")["url"]
        curl(f"{url}/log?line=a+line+for+the+log")
        eventually("the line is in the service's log", lambda: "a line for the log" in logged("gpu"))

    def test_s14_an_instance_reaches_neither_the_api_nor_the_host(self):
        url = HOME.service("gpu")["url"]
        body = json.loads(curl(f"{url}/connect?to={HOME.control}")[1])
        self.assertFalse(body["ok"], "the instance's loopback is its own")
