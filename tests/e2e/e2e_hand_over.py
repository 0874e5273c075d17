"""One GPU and a new revision under 20 requests a second, with real containers: nobody is refused, and a revision that
fails its probe leaves the one before serving."""

import json
import re
import threading
import time
import unittest
from datetime import datetime

import stack
from stack import curl

HOME: stack.Stack


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", 60, gpus="simulated:nvidia-l4=1")


def tearDownModule():
    HOME.close()


class Rate:
    """Twenty requests a second, every other one of which takes 300 ms; `answers` holds (sent at, answered at, status,
    body) of each."""

    def __init__(self, url):
        self.url, self.answers, self.ended = url, [], threading.Event()
        self.asked = []
        self.clock = threading.Thread(target=self.tick, daemon=True)
        self.clock.start()

    def tick(self):
        count, begun = 0, time.monotonic()
        while not self.ended.is_set():
            thread = threading.Thread(target=self.send, args=("/sleep?ms=300" if count % 2 else "/",), daemon=True)
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


def idle_gpu():
    """Seconds from each end of an instance to the next one's being ready, by the service's log."""
    lines = [line for file in (HOME.data / "logs").glob("*/*/ocr/*.jsonl") for line in file.read_text().splitlines()]
    entries = [json.loads(line) for line in lines]
    told = sorted((entry["timestamp"], entry.get("textPayload", "")) for entry in entries)
    gaps, ended = [], None
    for timestamp, text in told:
        if re.match(r"Instance \S+ has (ended|failed)", text):
            # What failed without having served only lengthens the time.
            ended = ended or datetime.fromisoformat(timestamp)
        elif re.match(r"Instance \S+ is ready", text) and ended:
            gaps.append((datetime.fromisoformat(timestamp) - ended).total_seconds())
            ended = None
    return gaps


class HandOver(unittest.TestCase):
    def under_load(self, what, *flags, most_idle=1):
        """Deploys ocr while requests come; its GPU may be without a serving program for `most_idle` seconds. What deploying printed, its code, and how the requests were answered."""
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

    def test_1_the_gpu_moves_and_nobody_is_refused(self):
        done, bodies = self.under_load("hand-over", "--update-env-vars", "MESSAGE=two")
        self.assertEqual(done.returncode, 0, done.stderr)
        numbers = [2 if "ocr-00002" in body else 1 for body in bodies]
        self.assertEqual(numbers, sorted(numbers), "from one to the next, and never back")
        self.assertEqual(set(numbers), {1, 2})

    def test_2_a_minimum_is_handed_over_too(self):
        done, bodies = self.under_load("with a minimum", "--min-instances", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ocr-00003", bodies[-1])

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
