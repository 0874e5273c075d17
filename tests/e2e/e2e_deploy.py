"""The main job with the real gcloud: deploy an AI service with a GPU, look at it, change it, remove it."""

import json
import unittest

import stack
from stack import curl, succeed

HOME: stack.Stack

# The page's YAML with its placeholders filled in.
PAGE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: ocr
  annotations:
    run.googleapis.com/launch-stage: BETA
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/maxScale: '1'
        run.googleapis.com/cpu-throttling: 'false'
    spec:
      containers:
      - image: IMAGE
        ports:
        - containerPort: 8888
          name: http1
        resources:
          limits:
            cpu: '8'
            memory: '32Gi'
            nvidia.com/gpu: '1'
        # Optional: use a longer startup probe to allow long starting containers
        startupProbe:
          failureThreshold: 1800
          periodSeconds: 1
          tcpSocket:
            port: 8888
          timeoutSeconds: 1
      nodeSelector:
        run.googleapis.com/accelerator: nvidia-l4
"""


def setUpModule():
    global HOME
    HOME = stack.Stack(images=("hello", "ocr"))


def tearDownModule():
    HOME.close()


def revision():
    return HOME.describe("ocr")["status"]["latestReadyRevisionName"]


@unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
class Deploy(unittest.TestCase):
    def reads_the_sample(self):
        url = HOME.service("ocr")["url"]
        status, body = curl(url, "--data-binary", f"@{stack.EXAMPLES}/ocr/sample.png")
        self.assertEqual(status, 200, body)
        wanted = (stack.EXAMPLES / "ocr/sample.txt").read_text().strip()
        self.assertEqual(json.loads(body)["text"], wanted)

    def test_g10_gcloud_deploys_with_its_own_progress(self):
        done = succeed(HOME.gcloud(
            "beta", "run", "deploy", "ocr", "--image", HOME.image("ocr"), "--gpu", "1", "--allow-unauthenticated"
        ))
        for line in (
            "Deploying container to Cloud Run service [ocr] in project [demo] region [us-central1]",
            "Setting IAM Policy", "Creating Revision", "Routing traffic", "has been deployed and is serving 100 percent",
            f"Service URL: http://ocr-100000000001.us-central1.run.localhost:{HOME.ingress.split(':')[1]}",
        ):
            self.assertIn(line, done.stderr)

    def test_g10_a_posted_picture_comes_back_read(self):
        self.reads_the_sample()
        self.assertEqual(HOME.free_gpus(), 1)

    def test_g13_describe_shows_the_gpu(self):
        shown = succeed(HOME.gcloud("run", "services", "describe", "ocr")).stdout
        for line in (r"GPU: +1", r"GPU Type: +nvidia-l4", r"CPU: +4", r"Memory: +16Gi", r"100% LATEST", r"owner@homerun\.local"):
            self.assertRegex(shown, line)

    def test_services_list_shows_it_ready(self):
        listed = succeed(HOME.gcloud("run", "services", "list", "--format", "json")).stdout
        services = json.loads(listed)
        self.assertEqual([service["metadata"]["name"] for service in services], ["ocr"])
        ready = next(c for c in services[0]["status"]["conditions"] if c["type"] == "Ready")
        self.assertEqual(ready["status"], "True")
        self.assertEqual(services[0]["status"]["url"], HOME.service("ocr")["url"])

    def test_g11_an_update_makes_a_revision_that_keeps_the_rest(self):
        before = revision()
        done = succeed(HOME.gcloud("run", "services", "update", "ocr", "--concurrency", "4"))
        self.assertIn("has been deployed and is serving 100 percent", done.stderr)
        self.assertNotEqual(revision(), before)
        shown = succeed(HOME.gcloud("run", "services", "describe", "ocr")).stdout
        for line in (r"Concurrency: +4", r"GPU: +1", r"Memory: +16Gi"):
            self.assertRegex(shown, line)
        self.reads_the_sample()

    def test_g11_the_pages_update_with_every_flag(self):
        before = revision()
        succeed(HOME.gcloud(
            "beta", "run", "services", "update", "ocr", "--image", HOME.image("ocr"), "--cpu", "8", "--memory", "32Gi",
            "--no-cpu-throttling", "--gpu", "1", "--gpu-type", "nvidia-l4", "--max-instances", "2",
        ))
        self.assertNotEqual(revision(), before)
        shown = succeed(HOME.gcloud("run", "services", "describe", "ocr")).stdout
        for line in (r"CPU: +8", r"Memory: +32Gi", r"GPU: +1", r"GPU Type: +nvidia-l4", r"Max instances: +2", r"Concurrency: +4"):
            self.assertRegex(shown, line)
        self.reads_the_sample()

    def test_g14_the_gpu_is_removed_and_freed(self):
        succeed(HOME.gcloud("beta", "run", "services", "update", "ocr", "--gpu", "0"))
        shown = succeed(HOME.gcloud("run", "services", "describe", "ocr")).stdout
        self.assertNotIn("GPU", shown)
        self.assertNotIn("nodeSelector", HOME.describe("ocr")["spec"]["template"]["spec"])
        self.reads_the_sample()
        stack.eventually("the old revision gives its GPU back", lambda: HOME.free_gpus() == 2)

    def test_g12_the_pages_yaml_replaces_it(self):
        done = succeed(HOME.gcloud("run", "services", "replace", "-", text=PAGE.replace("IMAGE", HOME.image("ocr"))))
        self.assertIn("New configuration has been applied to service [ocr]", done.stderr)
        shown = succeed(HOME.gcloud("run", "services", "describe", "ocr")).stdout
        for line in (r"Port: +8888", r"CPU: +8", r"Memory: +32Gi", r"Max instances: +1", r"Failure threshold: 1800", r"GPU: +1"):
            self.assertRegex(shown, line)
        self.reads_the_sample()

    def test_g12_an_export_replaces_itself_without_a_new_revision(self):
        before = revision()
        exported = succeed(HOME.gcloud("run", "services", "describe", "ocr", "--format", "export")).stdout
        succeed(HOME.gcloud("run", "services", "replace", "-", text=exported))
        self.assertEqual(HOME.describe("ocr")["status"]["latestCreatedRevisionName"], before)

    def test_a_deleted_service_leaves_nothing(self):
        url = HOME.service("ocr")["url"]
        instances = HOME.status()["instances"]
        self.assertTrue(all(map(HOME.processes, instances)) and instances)
        done = succeed(HOME.gcloud("run", "services", "delete", "ocr", "--quiet"))
        self.assertIn("Deleted service [ocr]", done.stderr)
        self.assertEqual(curl(url)[0], 404)
        self.assertEqual(HOME.status()["instances"], [])
        self.assertEqual(HOME.free_gpus(), 2)
        for instance in instances:
            self.assertEqual(HOME.processes(instance), [])

    def test_a_deploy_without_an_authentication_flag_is_private(self):
        succeed(HOME.gcloud("beta", "run", "deploy", "private", "--image", HOME.image("hello")))
        self.assertEqual(curl(HOME.service("private")["url"])[0], 403)

    def test_g20_the_regions_are_listed(self):
        listed = succeed(HOME.gcloud("run", "regions", "list", "--format", "value(locationId)")).stdout.split()
        self.assertIn("us-central1", listed)

    def test_g20_elsewhere_there_are_no_gpus(self):
        done = HOME.gcloud(
            "beta", "run", "deploy", "far", "--image", HOME.image("hello"), "--gpu", "1", "--region", "europe-west1",
            "--allow-unauthenticated",
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("us-central1", done.stderr, "it lists the regions that have the type")
        self.assertIsNone(HOME.service("far"))

    def test_g23_the_api_is_enabled(self):
        succeed(HOME.gcloud("services", "enable", "run.googleapis.com"))

    def test_gcloud_setup_writes_a_configuration_that_works_alone(self):
        env = stack.clean_env(HOMERUN_DATA_DIR=str(HOME.data), CLOUDSDK_CONFIG=str(HOME.folder / "setup"))
        succeed(stack.run([stack.BINARY, "gcloud-setup"], env))
        listed = stack.run(["gcloud", "--configuration", "homerun", "run", "services", "list", "--format", "value(metadata.name)"], env)
        self.assertEqual(succeed(listed).stdout.split(), ["private"])
