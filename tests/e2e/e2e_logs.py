"""Logs of real containers, read with the real gcloud and with homerun's own commands."""

import json
import re
import subprocess
import threading
import time
import unittest
from urllib.parse import quote

import stack
from stack import clean_env, curl, eventually, succeed

HOME: stack.Stack
URL: str
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
BROKEN = {"severity": "ERROR", "message": "it broke", "part": 7}


def setUpModule():
    global HOME, URL
    HOME = stack.Stack()
    URL = HOME.deploy("hello")
    for line, stream in (("first line", "stdout"), ("a warning", "stderr"), (json.dumps(BROKEN), "stdout")):
        status, body = curl(f"{URL}/log?line={quote(line)}&stream={stream}")
        assert status == 200, body
    assert curl(f"{URL}/nowhere")[0] == 404
    eventually("the last request is in the log", lambda: "/nowhere" in logged())


def tearDownModule():
    HOME.close()


def logged():
    return succeed(HOME.homerun("run", "services", "logs", "read", "hello")).stdout


def told(line):
    """How a request that wrote a line is printed."""
    return rf"{TIME} GET 200 {re.escape(URL)}/log\?line={re.escape(quote(line))}&stream=\w+"


class Logs(unittest.TestCase):
    def lines_in_order(self, output, patterns):
        """Each pattern is one whole line of the output, one after the other."""
        lines = output.splitlines()
        at = -1
        for pattern in patterns:
            found = [index for index, line in enumerate(lines) if re.fullmatch(pattern, line)]
            self.assertEqual(len(found), 1, f"{pattern} in\n{output}")
            self.assertGreater(found[0], at, f"{pattern} is too early in\n{output}")
            at = found[0]

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_s12_gcloud_reads_a_services_log(self):
        done = succeed(HOME.gcloud("run", "services", "logs", "read", "hello"))
        self.lines_in_order(done.stdout, [
            rf"{TIME} hello: listening on 0.0.0.0:8080",
            told("first line"), rf"{TIME} first line", told("a warning"), rf"{TIME} a warning",
            told(json.dumps(BROKEN)), rf"{TIME} it broke", rf"{TIME} GET 404 {re.escape(URL)}/nowhere",
        ])
        newest = succeed(HOME.gcloud("run", "services", "logs", "read", "hello", "--limit", "1"))
        self.assertRegex(newest.stdout, rf"\A{TIME} GET 404 \S+/nowhere\n\Z")
        wrong = succeed(HOME.gcloud("run", "services", "logs", "read", "hello", "--log-filter", "severity>=ERROR"))
        self.assertRegex(wrong.stdout, rf"\A{TIME} it broke\n\Z")
        for flags in (["--freshness", "0s"], ["--region", "europe-west1"]):
            self.assertEqual(succeed(HOME.gcloud("run", "services", "logs", "read", "hello", *flags)).stdout, "", flags)
        self.assertEqual(succeed(HOME.gcloud("run", "services", "logs", "read", "other")).stdout, "")

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_s12_gcloud_reads_a_revisions_log(self):
        revision = HOME.describe("hello")["status"]["latestReadyRevisionName"]
        done = succeed(HOME.gcloud("beta", "run", "revisions", "logs", "read", revision, "--log-filter", "textPayload:*"))
        self.lines_in_order(done.stdout, [
            rf"{TIME} hello: listening on 0.0.0.0:8080", rf"{TIME} first line", rf"{TIME} a warning",
        ])
        self.assertNotIn("GET", done.stdout)
        other = succeed(HOME.gcloud("beta", "run", "revisions", "logs", "read", "hello-00099-zzz"))
        self.assertEqual(other.stdout, "")

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_s12_gcloud_reads_entries_by_any_filter(self):
        read = ["logging", "read"]
        service = 'resource.type="cloud_run_revision" AND resource.labels.service_name="hello"'
        done = succeed(HOME.gcloud(*read, f"{service} AND logName:requests AND httpRequest.status>=400", "--format",
            "table[no-heading](timestamp.date('%Y'),severity,httpRequest.requestMethod,httpRequest.status,"
            "httpRequest.requestUrl,httpRequest.protocol,resource.labels.location)"))
        self.assertRegex(done.stdout, rf"\A\d{{4}} +WARNING +GET +404 +{re.escape(URL)}/nowhere +HTTP/1.1 +us-central1\n\Z")
        entry, = json.loads(succeed(HOME.gcloud(*read, f"{service} AND jsonPayload.part>6", "--format", "json")).stdout)
        self.assertEqual(entry["jsonPayload"], {"message": "it broke", "part": 7})
        self.assertEqual(entry["severity"], "ERROR")
        self.assertEqual(entry["logName"], "projects/demo/logs/run.googleapis.com%2Fstdout")
        self.assertNotIn("textPayload", entry)
        self.assertEqual(entry["labels"]["instanceId"], HOME.instances("hello")[0]["id"])
        first = succeed(HOME.gcloud(*read, f'{service} AND log_id("run.googleapis.com/stderr")', "--order", "asc",
            "--limit", "5", "--format", "value(textPayload)"))
        self.assertEqual(first.stdout, "a warning\n")
        latency = succeed(HOME.gcloud(*read, 'httpRequest.requestUrl:"/nowhere" AND httpRequest.latency<"60s"',
            "--freshness", "1h", "--format", "value(httpRequest.latency)"))
        self.assertRegex(latency.stdout, r"\A\d+\.\d+s\n\Z")

    @unittest.skipUnless(stack.HAS_GCLOUD, "gcloud is not installed")
    def test_s12_gcloud_shows_what_is_wrong_with_a_filter(self):
        done = HOME.gcloud("logging", "read", "severity>=LOUD", "--order", "asc")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('at character 11: "LOUD" is no severity', done.stderr)

    def test_s12_homerun_reads_the_log_without_gcloud(self):
        read = ["run", "services", "logs", "read", "hello"]
        self.lines_in_order(succeed(HOME.homerun(*read)).stdout, [
            rf"{TIME} hello: listening on 0.0.0.0:8080", told("first line"), rf"{TIME} first line", rf"{TIME} a warning",
            rf"{TIME} it broke", rf"{TIME} GET 404 {re.escape(URL)}/nowhere",
        ])
        newest = succeed(HOME.homerun(*read, "--limit", "1", "--log-filter", "NOT severity=ERROR -- the rest"))
        self.assertRegex(newest.stdout, rf"\A{TIME} GET 404 \S+/nowhere\n\Z")
        oldest = succeed(HOME.homerun(*read, "--limit", "1", "--order", "asc", "--log-filter", "severity=ERROR"))
        self.assertRegex(oldest.stdout, rf"\A{TIME} it broke\n\Z")
        wrong = HOME.homerun(*read, "--log-filter", "thud=1")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn('filter: at character 1: there is no field "thud"', wrong.stderr)

    def test_s12_a_container_that_logs_all_it_can_harms_nobody(self):
        flood = HOME.deploy("flood")
        line = "z" * 990
        # 300 MB; homerun takes at most 64 MiB per second from a container.
        writer = subprocess.Popen(
            ["curl", "-sS", "--max-time", "120", "-o", "/dev/null", "-w", "%{http_code}", f"{flood}/log?line={line}&times=300000"],
            stdout=subprocess.PIPE, text=True, env=clean_env(),
        )
        sent, slowest = 0, 0.0
        while writer.poll() is None:
            begun = time.monotonic()
            self.assertEqual(curl(f"{URL}/log?line=beside-{sent}")[0], 200)
            slowest = max(slowest, time.monotonic() - begun)
            sent += 1
            time.sleep(0.02)
        self.assertEqual(writer.communicate()[0], "200", "the container itself goes on too")
        self.assertGreater(sent, 20)
        self.assertLess(slowest, 5, "requests to another service")
        beside = ["run", "services", "logs", "read", "hello", "--log-filter"]
        beside += ['log_id("run.googleapis.com/stdout") AND textPayload:"beside-"']
        eventually("the other service has lost no line",
            lambda: len(succeed(HOME.homerun(*beside)).stdout.splitlines()) == sent)
        told = ["run", "services", "logs", "read", "flood", "--log-filter", '"were dropped" AND severity=WARNING']
        eventually("an entry counts what was dropped", lambda: "log entries" in succeed(HOME.homerun(*told)).stdout)
        size = sum(file.stat().st_size for file in (HOME.data / "logs").glob("*/*/flood/*"))
        self.assertLessEqual(size, 64 << 20, "no more than a service may keep")

    def test_s12_homerun_tails_the_log(self):
        command = [stack.BINARY, "run", "services", "logs", "tail", "hello", "--log-filter", "NOT httpRequest:*"]
        tail = subprocess.Popen(
            [*stack.TIED, *command], stdout=subprocess.PIPE, text=True, env=clean_env(HOMERUN_DATA_DIR=str(HOME.data)),
        )
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(iter(tail.stdout.readline, "")), daemon=True)
        reader.start()
        try:
            # Until it listens, what is written is not for it.
            number = 0

            def heard():
                nonlocal number
                number += 1
                curl(f"{URL}/log?line=tailed-{number}")
                return any("tailed-" in line for line in lines)

            eventually("a new line is printed", heard)
            curl(f"{URL}/log?line=the-last")
            eventually("the last line is printed", lambda: any("the-last" in line for line in lines))
        finally:
            tail.terminate()
            tail.wait(10)
            reader.join(10)
            tail.stdout.close()
        tailed = [int(match[1]) for line in lines if (match := re.fullmatch(rf"{TIME} tailed-(\d+)\n", line))]
        self.assertEqual(tailed, list(range(tailed[0], number + 1)), "each line once, in order")
        self.assertNotIn("first line", "".join(lines))
