"""One GPU and a new revision under 20 requests a second, with real containers: nobody is refused, and a revision that
fails its probe leaves the one before serving. Once because there is one GPU, once because the quota is one of two."""

import json
import re
import threading
import time
import unittest
from datetime import datetime

import stack
from stack import curl, eventually, succeed

HOME: stack.Stack


class Rate:
    """Twenty requests a second, half of which take 300 ms, two after two (where two revisions take turns, each gets both); `answers` holds (sent at, answered at, status,
    body) of each."""

    def __init__(self, url):
        self.url, self.answers, self.ended = url, [], threading.Event()
        self.asked = []
        self.clock = threading.Thread(target=self.tick, daemon=True)
        self.clock.start()

    def tick(self):
        count, begun = 0, time.monotonic()
        while not self.ended.is_set():
            thread = threading.Thread(target=self.send, args=("/sleep?ms=300" if count // 2 % 2 else "/",), daemon=True)
            thread.start()
            self.asked.append(thread)
            count += 1
            time.sleep(max(0, begun + count / 20 - time.monotonic()))

    def send(self, path):
        sent = time.monotonic()
        status, body = curl(self.url + path)
        self.answers.append((sent, time.monotonic(), status, body))

    def end(self):
        self.ended.set()
        self.clock.join()
        for thread in self.asked:
            thread.join(70)
        return sorted(self.answers, key=lambda answer: answer[1])


def told():
    """(time, text) of each line of the service's log."""
    lines = [line for file in (HOME.data / "logs").glob("*/*/ocr/*.jsonl") for line in file.read_text().splitlines()]
    entries = [json.loads(line) for line in lines]
    return sorted((entry["timestamp"], entry.get("textPayload", "")) for entry in entries)


def receipts(revision):
    """What each start of a revision's instances consisted of, by the service's log."""
    found = [re.match(rf"Instance {revision}\S* is ready after (.*)", text) for _, text in told()]
    return [receipt[1] for receipt in found if receipt]


def idle_gpu():
    """Seconds from each end of an instance to the next one's being ready, by the service's log."""
    gaps, ended = [], None
    for timestamp, text in told():
        if re.match(r"Instance \S+ has (ended|failed)", text):
            # What failed without having served only lengthens the time.
            ended = ended or datetime.fromisoformat(timestamp)
        elif re.match(r"Instance \S+ is ready", text) and ended:
            gaps.append((datetime.fromisoformat(timestamp) - ended).total_seconds())
            ended = None
    return gaps


class UnderLoad:
    """Deploys while requests come. A class that uses it says what the machine has and homerun is told."""

    GPUS, CONFIG = "simulated:nvidia-l4=1", ""

    @classmethod
    def setUpClass(cls):
        global HOME
        HOME = stack.Stack("--idle-timeout", 60, gpus=cls.GPUS, config=cls.CONFIG)

    @classmethod
    def tearDownClass(cls):
        HOME.close()

    def under_load(self, what, *flags, most_idle=1):
        """Deploys ocr while requests come; its GPU may be without a serving program for `most_idle` seconds. What
        deploying printed, its code, and how the requests were answered."""
        deploy = ["run", "deploy", "ocr", "--image", HOME.image("hello"), "--gpu", "1", "--max-instances", "1", *flags]
        known = len(idle_gpu())
        load = Rate(self.url)
        time.sleep(1)
        if stack.HAS_GCLOUD:
            done = HOME.gcloud("beta", *deploy, "--no-gpu-zonal-redundancy", "--allow-unauthenticated")
        else:
            done = HOME.homerun(*deploy, "--allow-unauthenticated")
        time.sleep(1)
        answers = load.end()
        failed = [answer for answer in answers if answer[2] != 200]
        waits = sorted(answered - sent for sent, answered, *_ in answers)
        gap = max(after[1] - before[1] for before, after in zip(answers, answers[1:]))
        print(f"{what}: {len(answers)} requests, {len(failed)} failed, median {waits[len(waits) // 2] * 1000:.0f} ms, "
              f"longest {waits[-1] * 1000:.0f} ms, longest time without an answer {gap * 1000:.0f} ms", flush=True)
        idle = idle_gpu()[known:]
        print(f"  the GPU had no program that serves for {', '.join(f'{seconds * 1000:.0f} ms' for seconds in idle)}", flush=True)
        self.assertEqual(failed, [])
        self.assertGreater(len(answers), 40)
        self.assertTrue(idle and all(seconds < most_idle for seconds in idle), idle)
        revisions = [body for _, _, _, body in answers if "ocr-0" in body]
        return done, revisions

    def setUp(self):
        if not (service := HOME.service("ocr")):
            HOME.deploy("ocr", "--gpu", "1", "--max-instances", "1")
            service = HOME.service("ocr")
        self.url = service["url"]

    def prepared(self, number):
        """A new revision's sandbox stood by before it had the GPU: its start was a wake."""
        steps = receipts(f"ocr-{number:05}")
        print(f"  ocr-{number:05} was ready after {steps[0] if steps else 'never'}", flush=True)
        self.assertTrue(steps and "wake " in steps[0], steps)

    def old_one_serves(self, number):
        """Whatever was tried, the revision before has the traffic and the only GPU."""
        self.assertIn(f"ocr-{number:05}", curl(self.url)[1])
        held = {i["revision"] for i in HOME.instances("ocr") if i["gpus"] and i["state"] == "ready"}
        self.assertTrue(all(f"ocr-{number:05}" in revision for revision in held) and held, held)


class HandOver(UnderLoad, unittest.TestCase):
    def test_1_the_gpu_moves_and_nobody_is_refused(self):
        done, bodies = self.under_load("hand-over", "--update-env-vars", "MESSAGE=two")
        self.assertEqual(done.returncode, 0, done.stderr)
        numbers = [2 if "ocr-00002" in body else 1 for body in bodies]
        self.assertEqual(numbers, sorted(numbers), "from one to the next, and never back")
        self.assertEqual(set(numbers), {1, 2})
        self.prepared(2)

    def test_2_a_minimum_is_handed_over_too(self):
        done, bodies = self.under_load("with a minimum", "--min-instances", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ocr-00003", bodies[-1])
        self.prepared(3)

    def test_3_a_revision_that_ends_at_start_is_rolled_back(self):
        done, bodies = self.under_load("ends at start", "--update-env-vars", "EXIT_AT_START=3")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("called exit(3)", done.stderr)
        self.assertTrue(all("ocr-00003" in body for body in bodies), set(bodies))

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_4_a_revision_that_fails_its_probe_is_rolled_back(self):
        probe = "tcpSocket.port=8080,periodSeconds=1,failureThreshold=3"
        done, bodies = self.under_load("fails its probe", "--startup-probe", probe, "--set-env-vars", "LISTEN_PORT=9",
                                      most_idle=4)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("failed to start and listen on the port", done.stderr)
        self.assertTrue(all("ocr-00003" in body for body in bodies), set(bodies))

    def test_5_a_revision_without_traffic_gives_the_gpu_back(self):
        done, bodies = self.under_load("no traffic", "--no-traffic", "--tag", "next", "--set-env-vars", "MESSAGE=next")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all("ocr-00003" in body for body in bodies), set(bodies))
        tagged = next(target["url"] for target in HOME.describe("ocr")["status"]["traffic"] if target.get("tag"))
        self.assertEqual(curl(tagged)[0], 200)
        self.assertEqual(curl(self.url)[0], 200)


class Quota(UnderLoad, unittest.TestCase):
    """Two GPUs, of which the project may have one: nothing but the quota keeps the new revision from the other one."""

    GPUS, CONFIG = "simulated:nvidia-l4=2", "[quotas]\ndefault_project = 1\n"

    def test_1_the_gpu_moves_and_nobody_is_refused(self):
        done, bodies = self.under_load("quota 1 of 2", "--update-env-vars", "MESSAGE=two")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ocr-00002", bodies[-1])
        self.prepared(2)
        self.assertEqual(HOME.free_gpus(), 1)

    def test_2_a_failing_revision_leaves_a_minimum_as_it_was(self):
        done, _ = self.under_load("a minimum", "--min-instances", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        done, bodies = self.under_load("a minimum, ends at start", "--min-instances", "1", "--update-env-vars", "EXIT_AT_START=3")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("called exit(3)", done.stderr)
        self.assertTrue(all("ocr-00003" in body for body in bodies), set(bodies))
        eventually("the minimum is there", lambda: [i for i in HOME.instances("ocr") if i["state"] == "ready"])
        self.old_one_serves(3)

    def test_3_a_deployment_under_a_traffic_split(self):
        """Two revisions share the traffic and the GPU by turns; a third one, which gets none, is proven meanwhile."""
        old = HOME.describe("ocr")["status"]["latestReadyRevisionName"]
        succeed(HOME.homerun("run", "deploy", "ocr", "--image", HOME.image("hello"), "--gpu", "1", "--max-instances", "1",
                             "--min-instances", "0", "--set-env-vars", "MESSAGE=split"))
        service = HOME.describe("ocr")
        new = service["status"]["latestReadyRevisionName"]
        service["spec"]["traffic"] = [{"revisionName": old, "percent": 50}, {"revisionName": new, "percent": 50}]
        del service["status"]
        succeed(HOME.homerun("run", "services", "replace", "-", text=json.dumps(service)))
        done, bodies = self.under_load("traffic split", "--update-env-vars", "MESSAGE=third", most_idle=3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({name for name in (old, new) if any(name in body for body in bodies)}, {old, new})
        self.assertFalse([body for body in bodies if old not in body and new not in body], "the third one has no traffic")
        self.prepared(int(new.split("-")[1]) + 1)
