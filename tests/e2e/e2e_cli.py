"""homerun's own client commands, which work without gcloud."""

import json
import unittest

import stack
from stack import curl, succeed

HOME: stack.Stack


def setUpModule():
    global HOME
    HOME = stack.Stack()


def tearDownModule():
    HOME.close()


class Cli(unittest.TestCase):
    def test_an_archive_is_imported_and_deployed(self):
        done = succeed(HOME.homerun("image", "import", str(stack.IMAGES / "hello.tar"), "hello"))
        self.assertIn("Imported localhost/hello", done.stdout)
        self.assertIn("localhost/hello", succeed(HOME.homerun("image", "list")).stdout)
        done = succeed(HOME.homerun(
            "run", "deploy", "local", "--image", "localhost/hello", "--gpu", "1", "--allow-unauthenticated",
            "--set-env-vars", "MESSAGE=from an archive",
        ))
        status, body = curl(done.stdout.split("Service URL: ")[1].strip())
        self.assertEqual(status, 200)
        self.assertIn("Hello from local!", body)
        self.assertIn("from an archive", body)

    def test_g15_an_update_keeps_the_rest(self):
        url = HOME.deploy("local", "--concurrency", "4", image="hello")
        service = HOME.describe("local")
        template = service["spec"]["template"]["spec"]
        self.assertEqual(template["containerConcurrency"], 4)
        self.assertEqual(template["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], "1")
        self.assertIn("from an archive", curl(url)[1])

    def test_services_are_listed(self):
        done = succeed(HOME.homerun("run", "services", "list"))
        self.assertRegex(done.stdout, r"ready\s+local\s+us-central1\s+1\s+http://local-100000000001\.us-central1\.run\.localhost:")

    def test_an_export_replaces_itself_without_a_new_revision(self):
        exported = succeed(HOME.homerun("run", "services", "describe", "local", "--format", "yaml")).stdout
        before = HOME.describe("local")["status"]["latestCreatedRevisionName"]
        succeed(HOME.homerun("run", "services", "replace", "-", text=exported))
        self.assertEqual(HOME.describe("local")["status"]["latestCreatedRevisionName"], before)

    def test_g03_a_wrong_gpu_type_is_explained(self):
        done = HOME.homerun("run", "deploy", "local", "--gpu-type", "nvidia-L4")
        self.assertEqual(done.returncode, 1)
        self.assertIn("lower-case letter L", done.stderr)

    def test_a_call_needs_the_token(self):
        status, body = curl(f"http://{HOME.control}/apis/serving.knative.dev/v1/namespaces/demo/services")
        self.assertEqual(status, 401)
        self.assertEqual(json.loads(body)["error"]["status"], "UNAUTHENTICATED")
        token = succeed(HOME.homerun("auth", "print-access-token")).stdout.strip()
        status, _ = curl(
            f"http://{HOME.control}/apis/serving.knative.dev/v1/namespaces/demo/services", "-H", f"Authorization: Bearer {token}"
        )
        self.assertEqual(status, 200)

    def test_s10_a_private_service_wants_a_token(self):
        succeed(HOME.homerun("run", "deploy", "private", "--image", "localhost/hello"))
        url = HOME.service("private")["url"]
        self.assertEqual(curl(url)[0], 403)
        token = HOME.identity_token(url)
        self.assertEqual(curl(url, "-H", f"Authorization: Bearer {token}")[0], 200)

    def test_a_deleted_service_is_gone(self):
        url = HOME.service("local")["url"]
        done = succeed(HOME.homerun("run", "services", "delete", "local", "--quiet"))
        self.assertIn("Deleted service [local].", done.stdout)
        self.assertEqual(curl(url)[0], 404)
        self.assertIsNone(HOME.service("local"))
        self.assertEqual(HOME.free_gpus(), 2)

    def test_without_a_server_the_commands_say_how_to_start_one(self):
        done = HOME.homerun("--data-dir", str(HOME.folder / "nothing"), "status")
        self.assertEqual(done.returncode, 1)
        self.assertIn("start one with `homerun up`", done.stderr)
