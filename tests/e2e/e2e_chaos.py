"""homerun, its helper processes, their children and containers are killed at random under load; after each kill all
is as it must be: what homerun says, and what is on the machine. Every fifth kill is two, the second in the middle of
what the first one has caused, and is looked at after both.

HOMERUN_CHAOS_KILLS and HOMERUN_CHAOS_SEED choose another run than the short one: 200 kills take some three minutes.
"""

import collections
import http.client
import os
import random
import re
import signal
import threading
import time
import unittest

import stack
from stack import eventually, read

KILLS = int(os.environ.get("HOMERUN_CHAOS_KILLS", 50))
SEED = int(os.environ.get("HOMERUN_CHAOS_SEED", 1))
# Requests at a time; one homerun and all containers share two processors with them.
CLIENTS = 6
# How long the same services are asked, and how long an instance without requests is kept. In seconds.
TURN = 3
IDLE = 2
# A service whose containers end twice, with none in between that has run for so long, is left alone for a while, which
# has tests of its own. In seconds.
FORGIVEN = 12


class Answer(collections.namedtuple("Answer", "service sent answered status text")):
    def __str__(self):
        return f"{self.service}: sent {self.sent:.3f}, answered {self.answered:.3f}: {self.status} {self.text}"


class Clients:
    """Threads that ask random services until they are told to end; `answers` holds what they got. For some seconds at a
    time they ask the same few, so that the others fall to zero."""

    def __init__(self, home, hosts, seed):
        self.home, self.hosts, self.answers, self.ended = home, hosts, [], threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(seed + n,), daemon=True) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def ask(self, seed):
        chosen = random.Random(seed)
        while not self.ended.is_set():
            turn = int(time.monotonic() / TURN) * 3
            service, host = self.hosts[(turn + chosen.randrange(4)) % len(self.hosts)]
            path = chosen.choice(["/", "/", "/sleep?ms=30"])
            sent, status, text = time.monotonic(), 0, ""
            address, port = self.home.ingress.split(":")
            connection = http.client.HTTPConnection(address, int(port), timeout=60)
            try:
                connection.request("GET", path, headers={"Host": host})
                response = connection.getresponse()
                status, text = response.status, response.read().decode(errors="replace")[:200]
            except OSError as error:
                text = repr(error)
            except http.client.HTTPException as error:
                text = repr(error)
            finally:
                connection.close()
            self.answers.append(Answer(service, sent, time.monotonic(), status, text))
            time.sleep(0.02)

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(70)
        return self.answers


class Death(collections.namedtuple("Death", "what service killed over")):
    """Something was killed at one time, and whoever asks after another one must not notice it."""

    def excuses(self, answer):
        mine = self.service in (None, answer.service)
        return mine and answer.sent <= self.over and answer.answered >= self.killed


def first_processes(key):
    """(pid, revision) of each container's first process."""
    found = []
    for pid in stack.pids():
        if f"/{key}/" not in read(f"/proc/{pid}/cgroup") or not stack.lives(pid):
            continue
        revision = re.search(r"\0K_REVISION=([^\0]*)", "\0" + read(f"/proc/{pid}/environ"))
        inner = re.search(r"^NSpid:.*\s(\d+)$", read(f"/proc/{pid}/status"), re.MULTILINE)
        if revision and inner and inner[1] == "1":
            found.append((pid, revision[1]))
    return found


def claimed_services(instances):
    return {instance["service"] for instance in instances}


class Chaos(unittest.TestCase):
    def setUp(self):
        self.home = stack.Stack("--idle-timeout", IDLE)
        self.random = random.Random(SEED)
        self.deaths = []

    def tearDown(self):
        self.home.close()

    def faults(self):
        """What is not as it must be: instances, processes, GPUs, the quota, and what else is on the machine."""
        status = self.home.status()
        instances, faults = status["instances"], []
        unsettled = [i["id"] for i in instances if i["state"] != "ready"]
        if unsettled:
            faults.append(f"not ready: {unsettled}")
        claimed = collections.Counter(instance["revision"] for instance in instances)
        running = collections.Counter(revision for _, revision in first_processes(self.home.key))
        if claimed != running:
            faults.append(f"homerun knows {dict(claimed)}, there run {dict(running)}")
        if "a" not in claimed_services(instances):
            faults.append("the service with a minimum has no instance")
        held = [gpu for instance in instances for gpu in instance["gpus"]]
        shown = {gpu["id"]: gpu["instance"] for gpu in status["gpus"]}
        if len(held) != len(set(held)) or len(held) > 2:
            faults.append(f"GPUs are held twice or beyond the quota: {held}")
        owners = {gpu: instance["id"] for instance in instances for gpu in instance["gpus"]}
        if owners != {gpu: owner for gpu, owner in shown.items() if owner}:
            faults.append(f"GPUs: instances hold {owners}, shown are {shown}")
        revisions = {instance["id"]: instance["revision"] for instance in instances}
        given = {(index, revisions[gpu["instance"]]) for index, gpu in enumerate(status["gpus"]) if gpu["instance"]}
        if self.home.devices() != given:
            faults.append(f"GPUs: containers see {self.home.devices()}, given are {given}")
        return faults + self.home.disorder(instances)

    def settle(self, after):
        """Waits until nothing is wrong."""
        deadline = time.monotonic() + 30
        while faults := self.faults():
            if time.monotonic() > deadline:
                self.fail(f"30 s after {after}: {'; '.join(faults)}\n{self.home.tail()}")
            time.sleep(0.1)

    def kill_homerun(self):
        killed = time.monotonic()
        self.home.kill()
        self.home.start(self.home.control, self.home.ingress)
        return Death("homerun", None, killed, time.monotonic())

    def kill_helper(self):
        """One of the processes that make containers, while it waits or works."""
        return self.kill_unnoticed("helper", self.home.helpers())

    def kill_child(self):
        """A container that stands by, or one that is being made."""
        return self.kill_unnoticed("child", [pid for helper in self.home.helpers() for pid in stack.children(helper)])

    def kill_unnoticed(self, what, processes):
        # A container's first process is a helper's child until its program runs.
        processes = [pid for pid in processes if "__container-helper" in read(f"/proc/{pid}/cmdline") and stack.lives(pid)]
        if not processes:
            return None
        killed = time.monotonic()
        try:
            os.kill(self.random.choice(processes), signal.SIGKILL)
        except ProcessLookupError:
            return None
        # It excuses nothing: nobody may notice.
        return Death(what, "nobody", killed, killed)

    def kill_container(self):
        # homerun counts in memory, and finds what ended just before it was killed.
        begun = max((death.killed for death in self.deaths if death.what == "homerun"), default=0) - 1
        counted = {death.service for death in self.deaths if death.what == "container" and death.killed > begun}
        choice = [
            (pid, name) for pid, name in first_processes(self.home.key)
            if name.rsplit("-", 2)[0] not in counted or stack.age(pid) > FORGIVEN
        ]
        if not choice:
            return None
        pid, revision = self.random.choice(choice)
        killed = time.monotonic()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        eventually("the container has ended", lambda: not stack.lives(pid), 5)
        # Its threads and sockets end a moment after its first thread, and homerun hears of it.
        return Death("container", revision.rsplit("-", 2)[0], killed, time.monotonic() + 0.05)

    def test_whatever_dies_all_is_as_it_must_be(self):
        names = ["ocr", "chat", "a", "b", "c", "d", "e", "f"]
        flags = {"ocr": ["--gpu", "1"], "chat": ["--gpu", "1"], "a": ["--min-instances", "1"], "b": ["--concurrency", "1"]}
        urls = {name: self.home.deploy(name, "--max-instances", "1", *flags.get(name, [])) for name in names}
        hosts = [(name, url.removeprefix("http://").split(":")[0]) for name, url in urls.items()]
        self.settle("deploying")
        clients = Clients(self.home, hosts, SEED)
        kinds = [self.kill_homerun, self.kill_helper, self.kill_child, self.kill_container, self.kill_container]
        begun, checks = time.monotonic(), 0
        while checks < KILLS:
            deaths = [death for _ in range(2 if checks % 5 == 4 else 1) if (death := self.kill(kinds))]
            if deaths:
                checks += 1
                what = " and a ".join(death.what for death in deaths)
                self.settle(f"a {what} was killed ({checks} of {KILLS}, seed {SEED})")
            time.sleep(self.random.uniform(0, 0.3))
        answers = clients.end()
        lost = [a for a in answers if a.status != 200 and not any(d.excuses(a) for d in self.deaths)]
        caught = [a for a in answers if a.status != 200]
        counts = collections.Counter(death.what for death in self.deaths)
        print(f"chaos: seed {SEED}: {dict(counts)} killed and {checks} times all was as it must be after it, in "
              f"{time.monotonic() - begun:.0f} s; {len(answers)} requests, "
              f"{len(caught)} of them caught in flight, {len(lost)} lost", flush=True)
        near = [d for d in self.deaths if any(a.sent - 10 < d.killed < a.answered for a in lost)]
        told = [f"{d.killed:.3f} to {d.over:.3f}: {d.what} of {d.service or 'all'}" for d in near]
        self.assertFalse(lost, "\n".join(["", *map(str, lost), "killed around that time:", *told]))
        self.assertGreater(len(answers), KILLS * 5)
        self.assertEqual({"homerun", "helper", "child", "container"}, set(counts), "each kind was killed")

    def kill(self, kinds):
        if death := self.random.choice(kinds)():
            self.deaths.append(death)
        return death
