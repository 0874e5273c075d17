"""Rows S09 and S10: real clients through ingress, and changes under load that lose no request.

HOMERUN_E2E_LONG=1 makes the loops as long as the issue has them: 50 deployments, 1000 requests per second, a stream of
5 minutes past the idle timeout.
"""

import collections
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import browser
import stack
from stack import Stack, clean_env, curl, eventually, run, succeed

LONG = os.environ.get("HOMERUN_E2E_LONG") == "1"
RATE = 1000 if LONG else 300


# Sends a text and so many bytes, and says what came back and how the connection was closed.
ECHOED_IN_A_BROWSER = """
const [size, done] = arguments;
const got = {};
const socket = new WebSocket(`ws://${location.host}/`);
socket.binaryType = "arraybuffer";
socket.onopen = () => socket.send("こんにちは");
socket.onmessage = ({ data }) => {
  if (typeof data === "string") {
    got.text = data;
    socket.send(new Uint8Array(size).fill(7));
  } else {
    got.bytes = new Uint8Array(data).filter((byte) => byte === 7).length;
    socket.close(1000);
  }
};
socket.onclose = ({ code }) => done({ ...got, code });
"""


def service(name, image, port="http1", template=None, annotations=None, traffic=None, **spec):
    """A public service as YAML has it."""
    public = {"run.googleapis.com/invoker-iam-disabled": "true", **(annotations or {})}
    container = {"image": image, "ports": [{"name": port, "containerPort": 8080}], **spec}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": public},
        "spec": {
            "template": {"metadata": {"annotations": template or {}}, "spec": {"containers": [container]}},
            **({"traffic": traffic} if traffic else {}),
        },
    }


def client(kind, url, address):
    authority = url.split("://")[1].rstrip("/")
    env = clean_env(PYTHONPATH=str(stack.CLIENTS), PYTHONDONTWRITEBYTECODE="1")
    done = run([sys.executable, Path(__file__).with_name("clients.py"), kind, address, authority], env)
    return json.loads(succeed(done).stdout)


class Steady:
    """So many requests per second over a few connections that are kept; `answers` holds (status, body) of each."""

    THREADS = 32 if LONG else 8

    def __init__(self, url, address, rate, path="/"):
        self.path = path
        self.host, self.address, self.rate = url.split("://")[1].rstrip("/"), address, rate
        self.answers, self.ended = [], threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(number,), daemon=True) for number in range(self.THREADS)]
        self.begun = time.monotonic()
        for thread in self.threads:
            thread.start()

    def send(self, number):
        request = f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        due, connection = self.begun + number / self.rate, None
        while not self.ended.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            due += self.THREADS / self.rate
            try:
                connection = connection or self.open()
                connection.sendall(request)
                answer, closes = self.read(connection)
            except OSError as error:
                answer, closes = (0, repr(error)), True
            self.answers.append(answer)
            if closes:
                connection = None

    def open(self):
        host, port = self.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @staticmethod
    def read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536) or fail("the connection was closed")
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)^content-length: (\d+)", head, re.M)[1])
        while len(body) < length:
            body += connection.recv(65536) or fail("a response that ends early")
        return (int(head.split()[1]), body.decode()), re.search(rb"(?i)^connection: close", head, re.M)

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(40)
        rate = len(self.answers) / (time.monotonic() - self.begun)
        assert rate > self.rate * 0.8, f"only {rate:.0f} requests per second were sent"
        return self.answers


def fail(message):
    raise ConnectionError(message)


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack("--idle-timeout", "1", gpus="none", images=("hello", "echo"))
        cls.hello = cls.stack.replace(service("hello", cls.stack.image("hello")))

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    @unittest.skipIf(stack.NO_CLIENTS, str(stack.NO_CLIENTS))
    def test_s09_grpc_of_all_four_kinds_with_trailers(self):
        url = self.stack.replace(service("grpc", self.stack.image("echo"), port="h2c"))
        got = client("grpc", url, self.stack.ingress)
        print(f"        grpcio: {json.dumps(got)}")
        trailers = {"echo-calls": "1"}
        self.assertEqual(got["unary"], ["hello", trailers])
        self.assertEqual(got["server stream"], [500, trailers])
        self.assertEqual(got["client stream"], ["300 300000", {"echo-calls": "300"}])
        self.assertEqual(got["bidi"], [[True] * 3, [], {"echo-calls": "3"}])
        self.assertEqual(got["fail"], ["FAILED_PRECONDITION", "not now"])
        self.assertEqual(got["deadline"], ["DEADLINE_EXCEEDED"])

    @unittest.skipIf(stack.NO_CLIENTS, str(stack.NO_CLIENTS))
    def test_s09_websocket_with_pythons_own_library(self):
        url = self.stack.replace(service("websocket", self.stack.image("echo")))
        got = client("websocket", url, self.stack.ingress)
        print(f"        websockets: {json.dumps(got)}")
        self.assertEqual(got, {"echoed": [True] * 4, "closed": 1000})

    @unittest.skipUnless(browser.DRIVER, "chromium and chromium-driver are not installed")
    def test_s09_websocket_of_a_browser(self):
        url = self.stack.replace(service("browsed", self.stack.image("echo")))
        visitor = browser.Browser(url.split("://")[1].rstrip("/"))
        try:
            visitor.open("/")
            got = visitor.call("POST", "/execute/async", {"script": ECHOED_IN_A_BROWSER, "args": [256 << 10]})
        finally:
            visitor.close()
        print(f"        a browser's WebSocket: {json.dumps(got)}")
        self.assertEqual(got, {"text": "こんにちは", "bytes": 256 << 10, "code": 1000})

    def test_s09_curl_on_http1_and_http2(self):
        for flag, version in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")]:
            done = succeed(run(["curl", "-sS", flag, "-w", " %{http_version} %{http_code}", f"{self.hello}/headers"], clean_env()))
            self.assertTrue(done.stdout.endswith(f" {version} 200"), done.stdout)
            headers = {name.lower(): value for name, value in json.loads(done.stdout.rsplit(" ", 2)[0]).items()}
            self.assertEqual(headers["x-forwarded-proto"], "http")
            self.assertEqual(headers["x-forwarded-for"], "127.0.0.1")
            host = self.hello.split("://")[1]
            self.assertEqual((headers["host"], headers["x-forwarded-host"]), (host, host))
        # 64 MiB through and back, more than any buffer.
        command = ["curl", "-sS", "-T", "-", f"{self.hello}/echo", "-o", "/dev/null", "-w", "%{size_download} %{http_code}"]
        done = subprocess.run(command, input=b"x" * (64 << 20), capture_output=True, env=clean_env(), timeout=60)
        self.assertEqual(done.stdout.decode(), f"{64 << 20} 200")

    def test_s09_a_stream_outlives_the_idle_timeout_and_its_instance_stays(self):
        seconds = 301 if LONG else 5
        events = service("events", self.stack.image("hello"))
        events["spec"]["template"]["spec"]["timeoutSeconds"] = 600
        url = self.stack.replace(events)
        command = ["curl", "-sSN", "--max-time", "400", f"{url}/stream?chunks={seconds}&ms=1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_env()) as stream:
            seen = set()
            while stream.poll() is None:
                seen |= {instance["id"] for instance in self.stack.instances("events")}
                time.sleep(0.5)
            lines = stream.stdout.read().splitlines()
        self.assertEqual(stream.returncode, 0)
        self.assertGreaterEqual(len(lines), seconds)
        self.assertEqual(len(seen), 1, "one instance served it all")
        eventually("the instance is stopped once it is idle", lambda: not self.stack.instances("events"))

    def test_s10_who_is_not_let_in_finds_nothing(self):
        restricted = service("inner", self.stack.image("hello"), annotations={"run.googleapis.com/ingress": "internal"})
        url = self.stack.replace(restricted)
        self.assertEqual(curl(url)[0], 200, "this machine is inside")
        # An address of this machine that is not its loopback network's.
        succeed(run(["ip", "address", "add", "198.51.100.7/32", "dev", "lo"], clean_env()))
        try:
            outside = ("--interface", "198.51.100.7", "--resolve", url.split("://")[1] + ":127.0.0.1")
            self.assertEqual(curl(url, *outside)[0], 404)
            self.assertEqual(curl(self.hello, "--interface", "198.51.100.7")[0], 200, "others take everybody")
        finally:
            succeed(run(["ip", "address", "del", "198.51.100.7/32", "dev", "lo"], clean_env()))

    def test_s09_a_client_with_its_cookie_comes_back_to_its_instance(self):
        sticky = {"run.googleapis.com/sessionAffinity": "true", "autoscaling.knative.dev/minScale": "2"}
        url = self.stack.replace(service("sticky", self.stack.image("hello"), template=sticky))
        eventually("both instances are there", lambda: len(self.stack.instances("sticky")) == 2)
        jar = str(self.stack.folder / "cookies")
        cookies = ("--cookie", jar, "--cookie-jar", jar)
        first = json.loads(curl(f"{url}/instance", *cookies)[1])["id"]
        again = {json.loads(curl(f"{url}/instance", *cookies)[1])["id"] for _ in range(20)}
        self.assertEqual(again, {first})


class Tls(unittest.TestCase):
    def test_s09_https_with_a_certificate_made_here(self):
        homerun = Stack("--tls-self-made", gpus="none", images=("hello",))
        try:
            url = homerun.replace(service("hello", homerun.image("hello")))
            self.assertTrue(url.startswith("https://"), url)
            trust = ("--cacert", str(homerun.data / "tls/certificate.pem"))
            for flag, version in [("--http1.1", "1.1"), ("--http2", "2")]:
                done = succeed(run(["curl", "-sS", *trust, flag, "-w", " %{http_version}", f"{url}/headers"], clean_env()))
                self.assertTrue(done.stdout.endswith(f" {version}"), done.stdout)
                headers = {name.lower(): value for name, value in json.loads(done.stdout.rsplit(" ", 1)[0]).items()}
                self.assertEqual(headers["x-forwarded-proto"], "https")
                self.assertIn("proto=https", headers["forwarded"])
            status, why = curl(url)
            self.assertEqual(status, 0, "nobody else signed it")
            self.assertIn("certificate", why)
            status, body = curl(url.replace("https://", "http://"))
            self.assertEqual((status, "HTTPS" in body), (400, True), body)
            before = (homerun.data / "tls/certificate.pem").read_text()
            homerun.terminate()
            homerun.start()
            self.assertEqual((homerun.data / "tls/certificate.pem").read_text(), before, "who trusts it need not do so again")
            key = homerun.data / "tls/key.pem"
            self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        finally:
            homerun.close()

    def test_s09_wrong_certificate_files_are_named(self):
        folder = Path(self.enterContext(Temporary()))
        good, other, text = folder / "good", folder / "other", folder / "text"
        for name in (good, other):
            subject = ["-subj", "/CN=a", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
            succeed(run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject], clean_env()))
        text.write_text("not PEM")
        cases = [
            (f"{good}.pem", folder / "none", "cannot read", "none", "[ingress] key"),
            (text, f"{good}.key", "there is no certificate", "-----BEGIN CERTIFICATE-----", str(text)),
            (f"{good}.pem", text, "PEM key", "-----BEGIN PRIVATE KEY-----", str(text)),
            (f"{good}.pem", f"{other}.key", "cannot be used together", "good.pem", "other.key"),
        ]
        for certificate, key, *words in cases:
            flags = ["--tls-certificate", certificate, "--tls-key", key, "--backend", "sim", "--gpu", "none"]
            listen = ["--listen", "127.0.0.1:0", "--ingress-listen", "127.0.0.1:0"]
            done = run([stack.BINARY, "up", "--data-dir", folder / "data", *listen, *flags], clean_env())
            self.assertEqual(done.returncode, 1)
            for word in words:
                self.assertIn(word, done.stderr)


class Temporary:
    """A folder that goes with the test."""

    def __enter__(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory(prefix="homerun-e2e-")
        return self.folder.name

    def __exit__(self, *_):
        self.folder.cleanup()


class Changes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(gpus="none")

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def deploy(self, name, message, traffic=None, revision=None, template=None):
        variables = [{"name": "MESSAGE", "value": message}]
        spec = service(name, self.stack.image("hello"), template=template, traffic=traffic, env=variables)
        if revision:
            spec["spec"]["template"]["metadata"]["name"] = revision
        return self.stack.replace(spec)

    def test_s09_deployments_under_load_lose_no_request(self):
        url = self.deploy("rolling", "0")
        load = Steady(url, self.stack.ingress, RATE)
        for number in range(1, 51 if LONG else 6):
            self.deploy("rolling", str(number))
        answers = load.end()
        failed = [answer for answer in answers if answer[0] != 200]
        print(f"        {number} deployments under {RATE} requests/s: {len(answers)} answers, {len(failed)} failed")
        self.assertEqual(failed[:5], [])

    def test_s09_a_traffic_split_that_changes_under_load_loses_no_request_and_is_exact(self):
        one, two = "split-one", "split-two"
        self.deploy("split", "one", revision=one)
        url = self.deploy("split", "two", revision=two)
        load = Steady(url, self.stack.ingress, RATE)
        for number in range(30 if LONG else 6):
            share = (number * 37) % 101
            parts = [{"revisionName": one, "percent": share}, {"revisionName": two, "percent": 100 - share}]
            self.deploy("split", "two", [part for part in parts if part["percent"]], revision=two)
        answers = load.end()
        failed = [answer for answer in answers if answer[0] != 200]
        print(f"        {number + 1} splits under {RATE} requests/s: {len(answers)} answers, {len(failed)} failed")
        self.assertEqual(failed[:5], [])
        parts = [{"revisionName": one, "percent": 37}, {"revisionName": two, "percent": 63}]
        self.deploy("split", "two", parts, revision=two)
        load = Steady(url, self.stack.ingress, RATE)
        eventually("2000 requests", lambda: len(load.answers) >= 2000)
        answers = load.end()
        whole = len(answers) - len(answers) % 100
        ones = sum("one" in body for _, body in answers)
        self.assertTrue(whole * 0.37 - 0.5 <= ones <= whole * 0.37 + 37.5, f"{ones} of {len(answers)}")

    def test_s08_killed_instances_lose_only_the_requests_inside_them(self):
        url = self.deploy("killed", "x", template={"autoscaling.knative.dev/minScale": "3"})
        eventually("three instances", lambda: len(self.stack.instances("killed")) == 3)
        # Each takes so long that instances have some inside them.
        load = Steady(url, self.stack.ingress, RATE, "/sleep?ms=15")
        # Instances that end by themselves one soon after the other are taken for a program that crashes, and started
        # again after growing pauses; one that has served for 10 s is forgiven.
        kills, pause = (20, 12) if LONG else (4, 3)
        for _ in range(kills):
            time.sleep(pause)
            instance = random.choice(eventually("an instance", lambda: self.stack.instances("killed")))
            # These are the processes of all the revision's instances, one each.
            os.kill(random.choice(self.stack.processes(instance)), signal.SIGKILL)
        time.sleep(1)
        answers = load.end()
        failed = [answer for answer in answers if answer[0] != 200]
        print(f"        {kills} instances killed under {RATE} requests/s: {len(answers)} answers, {len(failed)} failed")
        self.assertEqual({status for status, _ in failed} - {503}, set(), failed[:5])
        told = collections.Counter(body for _, body in failed)
        self.assertTrue(1 <= len(failed) <= kills * Steady.THREADS, told)
