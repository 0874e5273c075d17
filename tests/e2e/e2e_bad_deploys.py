"""Every deploy that must fail: a clear error in gcloud, nothing left behind, the revision before still serving."""

import unittest

import stack
from stack import curl, eventually, succeed

HOME: stack.Stack


def setUpModule():
    global HOME
    HOME = stack.Stack()
    HOME.deploy("shop", "--gpu", "1", "--set-env-vars", "MESSAGE=first")


def tearDownModule():
    HOME.close()


# A service whose container listens on another port than it says; probed for 3 s rather than the default 240.
WRONG_PORT = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: NAME
spec:
  template:
    spec:
      containers:
      - image: IMAGE
        ports:
        - containerPort: 8080
        env:
        - name: LISTEN_PORT
          value: '9999'
        resources:
          limits:
            nvidia.com/gpu: '1'
        startupProbe:
          failureThreshold: 3
          periodSeconds: 1
          tcpSocket:
            port: 8080
"""


@unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
class BadDeploys(unittest.TestCase):
    def setUp(self):
        self.before = HOME.describe("shop")["status"]["latestReadyRevisionName"]

    def tearDown(self):
        """Whatever failed, the service that was there serves on, and only it holds a GPU."""
        shop = HOME.service("shop")
        status, body = curl(shop["url"])
        self.assertEqual(status, 200, body)
        self.assertIn("first", body)
        self.assertEqual(HOME.describe("shop")["status"]["latestReadyRevisionName"], self.before)
        eventually("only the serving revision has instances", lambda: {
            instance["revision"] for instance in HOME.status()["instances"]
        } <= {self.before})
        self.assertGreaterEqual(HOME.free_gpus(), 1)

    def refused(self, flags, *messages):
        """A deploy that the rules refuse changes nothing: neither a new service nor the one that is there."""
        for service in ("new", "shop"):
            before = HOME.describe("shop")
            done = HOME.gcloud(
                "beta", "run", "deploy", service, "--image", HOME.image("hello"), "--allow-unauthenticated", *flags
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            for message in messages:
                self.assertIn(message, done.stderr)
            self.assertIsNone(HOME.service("new"))
            after = HOME.describe("shop")
            self.assertEqual(after["metadata"]["generation"], before["metadata"]["generation"])
            self.assertEqual(after["spec"], before["spec"])

    def fails(self, service, deploy, *messages):
        """A deploy whose revision does not become ready."""
        done = deploy()
        self.assertEqual(done.returncode, 1, done.stderr)
        for message in messages:
            self.assertIn(message, done.stderr)
        self.assertEqual(HOME.service(service)["state"], "failed")

    def deployed(self, service, image, *flags):
        return lambda: HOME.gcloud(
            "beta", "run", "deploy", service, "--image", image, "--gpu", "1", "--allow-unauthenticated", *flags
        )

    def both(self, deploy, *messages):
        """Fails the new service, removes it, and fails a revision of the one that is there."""
        self.fails("new", lambda: deploy("new"), *messages)
        succeed(HOME.gcloud("run", "services", "delete", "new", "--quiet"))
        self.assertIsNone(HOME.service("new"))
        self.fails("shop", lambda: deploy("shop"), *messages)
        # The failed revision goes, so that the next test finds the service ready.
        succeed(HOME.homerun(
            "run", "deploy", "shop", "--image", HOME.image("hello"), "--gpu", "1", "--port", "8080", "--set-env-vars", "MESSAGE=first"
        ))
        self.before = HOME.describe("shop")["status"]["latestReadyRevisionName"]

    def test_g01_two_gpus(self):
        self.refused(["--gpu", "2"], "limits[nvidia.com/gpu]", "0 or 1 GPU", "2 were asked for")

    def test_g03_a_capital_l_in_the_type(self):
        self.refused(["--gpu", "1", "--gpu-type", "nvidia-L4"], "nodeSelector", "'nvidia-L4' does not exist", "lower-case letter L")

    def test_g04_too_few_cpus(self):
        self.refused(["--gpu", "1", "--cpu", "2"], "limits[cpu]", "CPU must be at least 4; memory must be at least 16Gi")

    def test_g04_too_little_memory(self):
        self.refused(["--gpu", "1", "--memory", "8Gi"], "limits[memory]", "CPU must be at least 4; memory must be at least 16Gi")

    def test_g05_throttled_cpu(self):
        self.refused(["--gpu", "1", "--cpu-throttling"], "CPU throttling must be disabled in order to set GPU requirements")

    def test_g07_more_instances_than_the_quota_has_gpus(self):
        self.refused(
            ["--gpu", "1", "--max-instances", "99"],
            "Max instances must be set to 2 or fewer in order to set GPU requirements", "requested: 99 allowed: 2",
        )

    def test_s04_an_image_that_does_not_exist(self):
        image = f"{HOME.registry.address}/nothing:v1"
        self.both(lambda service: self.deployed(service, image)(), f"{HOME.registry.address}/nothing:v1", "not found")

    def test_s04_a_container_that_exits_at_once(self):
        image = HOME.image("hello")
        self.both(
            lambda service: self.deployed(service, image, "--set-env-vars", "EXIT_AT_START=3")(),
            "failed to start and listen on the port", "exit(3)",
        )

    def test_s05_a_container_that_listens_on_another_port(self):
        text = WRONG_PORT.replace("IMAGE", HOME.image("hello"))
        self.both(
            lambda service: HOME.gcloud("run", "services", "replace", "-", text=text.replace("NAME", service)),
            "failed to start and listen on the port", "PORT=8080",
        )
