"""One GPU of quota for two services, with real containers: who is refused, who has it, and what more quota does."""

import json
import unittest

import stack
from stack import clean_env, curl, eventually, run, succeed

HOME: stack.Stack
QUOTA = "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", 2)
    settings = HOME.folder / "homerun.toml"
    settings.write_text("[quotas]\ndefault_project = 1\n")
    HOME.terminate()
    HOME.flags += ["--config", settings]
    HOME.start()


def tearDownModule():
    HOME.close()


def l4():
    """The L4's quota as `homerun quota list` has it."""
    listed = json.loads(succeed(HOME.homerun("quota", "list", "--format", "json")).stdout)
    return next(quota for quota in listed["quotas"] if quota["quotaId"] == QUOTA)


def holders():
    return {holder["service"]: holder["gpus"] for holder in l4()["holders"]}


class Quota(unittest.TestCase):
    def test_g08_the_second_service_is_told_who_has_the_gpu(self):
        """Both have been deployed while the other was at zero; then one keeps its GPU."""
        HOME.deploy("chat", "--gpu", "1")
        eventually("chat is at zero", lambda: HOME.service("chat")["instances"] == 0)
        HOME.deploy("ocr", "--gpu", "1", "--min-instances", "1")
        self.assertEqual((l4()["limit"], holders()), (1, {"ocr": 1}))
        status, body = curl(HOME.service("chat")["url"])
        self.assertEqual(status, 503, body)
        for words in ("run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy", "ocr (1)"):
            self.assertIn(words, body)

    def test_g08_a_killed_homerun_counts_what_it_finds(self):
        """The adopted instance holds its GPU from the first moment on."""
        HOME.kill()
        HOME.start()
        self.assertEqual(holders(), {"ocr": 1})
        status, body = curl(HOME.service("chat")["url"])
        self.assertEqual(status, 503, body)
        self.assertIn("ocr (1)", body)

    def test_g08_a_deployment_fails_with_the_quota_as_reason(self):
        done = HOME.homerun("run", "deploy", "third", "--image", HOME.image("hello"), "--gpu", "1", "--min-instances", "1",
                            "--allow-unauthenticated")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Quota exceeded for total allowable count of GPUs per project per region", done.stderr)
        self.assertIn("ocr (1)", done.stderr)

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_g09_more_is_asked_for_with_gcloud_and_approved(self):
        asked = HOME.gcloud(
            "beta", "quotas", "preferences", "create", "--service=run.googleapis.com", f"--quota-id={QUOTA}", "--preferred-value=2",
            "--dimensions=region=us-central1", "--preference-id=more", "--project=demo", "--email=ann@example.com",
            "--format=value(reconciling)",
        )
        self.assertIn("True", succeed(asked).stdout)
        self.assertEqual(l4()["limit"], 1, "nothing is granted yet")
        approved = succeed(HOME.homerun("quota", "approve", "more")).stdout
        self.assertEqual(approved, "[more] Limit 2 granted by owner@homerun.local.\n")
        eventually("third comes up by itself", lambda: HOME.service("third")["state"] == "ready")
        self.assertEqual(holders(), {"ocr": 1, "third": 1})
        self.assertEqual(curl(HOME.service("third")["url"])[0], 200)

    def test_g09_a_wrong_request_changes_nothing(self):
        for flags, words in [
            (["--value", "1"], "below the present usage 2"),
            (["--value", "1", "--gpu-type", "nvidia-h100"], "--gpu-type: 'nvidia-h100' does not exist; it must be of nvidia-l4"),
            (["--value", "1", "--region", "mars"], "region 'mars' does not exist here"),
            (["--value", "many"], "invalid value 'many'"),
        ]:
            done = HOME.homerun("quota", "request", *flags)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn(words, done.stderr)
        self.assertEqual(l4()["limit"], 2)
        denied = HOME.homerun("quota", "deny", "more")
        self.assertIn("does not wait for a decision", denied.stderr)

    def test_settings_that_cannot_be_right_are_refused(self):
        settings = HOME.folder / "wrong.toml"
        settings.write_text('[quotas]\nauto_approve = "always"\n')
        command = [stack.BINARY, "up", "--data-dir", HOME.folder / "other", "--config", settings]
        done = run(command, clean_env())
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("'always' is not valid; it must be \"never\", \"machine\" or a number of GPUs", done.stderr)
