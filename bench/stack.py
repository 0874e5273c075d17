"""A homerun for measurements: started on free ports, called over connections that are kept."""

import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = str(ROOT / "target/release/homerun")
SERVICES = "/apis/serving.knative.dev/v1/namespaces/demo/services"


class Client:
    """One connection to the API."""

    def __init__(self, address, token):
        self.connection = http.client.HTTPConnection(*address.rsplit(":", 1), timeout=60)
        self.token = token

    def call(self, method, path, body=None):
        """The answer's bytes and the seconds until the last of them was there."""
        headers = {"Authorization": f"Bearer {self.token}"}
        body = None if body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - begun
        if response.status != 200:
            raise SystemExit(f"{method} {path}: {response.status} {answer[:500]!r}")
        return answer, took

    def get(self, path):
        return json.loads(self.call("GET", path)[0])


class Homerun:
    """A running homerun on a data directory."""

    def __init__(self, binary, data, backend, *options):
        self.binary, self.data = binary, data
        data.mkdir(parents=True, exist_ok=True)
        (data / "server.json").unlink(missing_ok=True)
        self.log = open(data.parent / f"{data.name}-{backend}.log", "a", encoding="utf-8")
        arguments = ["up", "--listen", "127.0.0.1:0", "--ingress-listen", "127.0.0.1:0", "--gpu", "none", "--backend", backend]
        begun = time.perf_counter()
        self.process = subprocess.Popen([binary, *arguments, *options, "--data-dir", data], stdout=self.log, stderr=self.log)
        while not (data / "server.json").exists():
            if self.process.poll() is not None:
                raise SystemExit(f"homerun did not start; see {self.log.name}")
            time.sleep(0.002)
        server = json.loads((data / "server.json").read_text())
        self.control, self.ingress = server["control"], server["ingress"]
        self.token = (data / "token").read_text().strip()
        self.until_answer(self.control, "/readyz", "localhost", lambda status: status == 200)
        self.start_seconds = time.perf_counter() - begun

    def until_answer(self, address, path, host, wanted):
        """Asks again and again until the status is as wanted."""
        while True:
            connection = http.client.HTTPConnection(*address.rsplit(":", 1), timeout=60)
            try:
                connection.request("GET", path, headers={"Host": host})
                if wanted(connection.getresponse().status):
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.005)

    def client(self):
        return Client(self.control, self.token)

    def run(self, *arguments):
        command = [self.binary, *arguments, "--data-dir", self.data]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def memory(self, field):
        """A line of the process's status, in MiB."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def service(name, image, value):
    """A service as a client sends it; another value makes another revision."""
    annotations = {"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/client-version": "528.0.0"}
    container = {
        "image": image,
        "ports": [{"name": "http1", "containerPort": 8080}],
        "env": [{"name": "VALUE", "value": value}, {"name": "DATABASE", "value": f"postgres://{name}.internal/{name}"}],
        "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}},
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "demo", "labels": {"team": "bench"}, "annotations": dict(annotations)},
        "spec": {
            "template": {
                "metadata": {"labels": {"team": "bench"}, "annotations": dict(annotations)},
                "spec": {"containers": [container], "containerConcurrency": 80, "timeoutSeconds": 300},
            }
        },
    }


def settled(found):
    """Whether a service is ready, or has failed, with what was last asked of it."""
    status = found["status"]
    ready = next((c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"), "Unknown")
    return status.get("observedGeneration") == found["metadata"]["generation"] and ready != "Unknown"


def until_settled(client, path, pause):
    while True:
        found = client.get(path)
        if settled(found):
            ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
            if ready["status"] != "True":
                raise SystemExit(f"{path} failed: {ready['message']}")
            return
        time.sleep(pause)


def fill(homerun, services, revisions):
    """Deploys so many services, each so many times, through the API; does nothing if they are there."""
    names = [f"service-{number:05}" for number in range(services)]
    present = len(json.loads(homerun.client().call("GET", f"{SERVICES}")[0]).get("items", []))
    if present == services:
        return names
    if present:
        raise SystemExit(f"{homerun.data} holds {present} services; expected none or {services}")

    def work(mine):
        client = homerun.client()
        for name in mine:
            client.call("POST", SERVICES, service(name, "sim/hello", "1"))
            until_settled(client, f"{SERVICES}/{name}", 0.001)
            for revision in range(2, revisions + 1):
                client.call("PUT", f"{SERVICES}/{name}", service(name, "sim/hello", str(revision)))
                until_settled(client, f"{SERVICES}/{name}", 0.001)

    begun = time.perf_counter()
    for first in range(0, services, 1000):
        block, since = names[first : first + 1000], time.perf_counter()
        threads = [threading.Thread(target=work, args=(block[part::4],)) for part in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        rate = len(block) * revisions / (time.perf_counter() - since)
        print(f"{first + len(block)} services, {rate:.0f} deployments to Ready per second", file=sys.stderr, flush=True)
    print(f"filled in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return names


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def require(binary):
    if not os.access(binary, os.X_OK):
        sys.exit(f"{binary} is missing; run `cargo build --release -p homerun-server`")
    random.seed(1)
