"""Falling to zero, coming back, and sharing two GPUs among three services."""

import re
import shutil
import tempfile
import threading
import time
import unittest
from pathlib import Path

import stack
from stack import curl, eventually

HOME: stack.Stack
IDLE = 2


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", IDLE)


def tearDownModule():
    HOME.close()


def at_zero(service):
    return HOME.service(service)["instances"] == 0


class Zero(unittest.TestCase):
    def test_g19_an_idle_service_falls_to_zero_and_frees_its_gpu(self):
        url = HOME.deploy("one", "--gpu", "1")
        self.assertEqual(curl(url)[0], 200)
        answered = time.monotonic()
        self.assertEqual((HOME.service("one")["instances"], HOME.free_gpus()), (1, 1))
        eventually("it is at zero", lambda: at_zero("one"))
        idle = time.monotonic() - answered
        self.assertTrue(IDLE - 0.5 <= idle <= IDLE + 8, f"it fell to zero after {idle:.1f} s")
        self.assertEqual(HOME.free_gpus(), 2)

    def test_g18_the_next_request_brings_it_back(self):
        url = HOME.service("one")["url"]
        self.assertEqual(HOME.instances("one"), [])
        begun = time.monotonic()
        status, body = curl(url)
        took = time.monotonic() - begun
        self.assertEqual(status, 200, body)
        self.assertLess(took, 5, "an instance whose image is present starts in well under 5 s")
        print(f"        from zero to an answer: {took * 1000:.0f} ms", flush=True)
        self.assertEqual(HOME.free_gpus(), 1)

    def test_b03_a_service_that_was_used_wakes_from_a_sandbox(self):
        url = HOME.service("one")["url"]
        eventually("it is at zero", lambda: at_zero("one"))
        time.sleep(1)  # a sandbox stands by; it shows nowhere and holds no GPU
        self.assertEqual((HOME.instances("one"), HOME.free_gpus()), ([], 2))
        self.assertEqual(curl(url)[0], 200)
        self.assertIn("wake ", HOME.homerun("status").stdout)
        self.assertIn("(simulated)", curl(f"{url}/gpu")[1])

    def test_b03_a_sandbox_ends_where_memory_runs_short(self):
        """With a reading of the machine's memory that says so: its own file over /proc/meminfo, for homerun alone."""
        reading = Path(tempfile.mkdtemp(prefix="homerun-e2e-memory-")) / "meminfo"

        def available(percent):
            total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]
            # In place: what is bound is the file, not its name.
            reading.write_text(f"MemTotal: {total} kB\nMemAvailable: {int(total) * percent // 100} kB\n")

        available(50)
        # The kernel lets containers have a /proc of their own only while a whole one can be seen.
        whole = reading.with_name("proc")
        whole.mkdir()
        bind = f'mount -t proc proc {whole} && mount --bind {reading} /proc/meminfo && exec "$@"'
        bound = ["unshare", "--mount", "sh", "-c", bind, "sh"]
        home = stack.Stack("--idle-timeout", 1, through=bound)
        try:
            url = home.deploy("one", "--gpu", "1")
            eventually("a sandbox stands by", home.standbys)
            for percent in (9, 12):
                available(percent)
                eventually(f"{percent} % available", lambda: not home.standbys(), 5)
                eventually(lambda: home.disorder([]), lambda: not home.disorder([]), 5)
                time.sleep(1.5)
                self.assertEqual(home.standbys(), [], f"{percent} %")
            self.assertEqual(curl(url)[0], 200, "it is made as if there had been none")
            self.assertNotIn("wake ", home.homerun("status").stdout)
            available(16)
            eventually("another one is made", home.standbys)
        finally:
            home.close()
            shutil.rmtree(reading.parent)

    def test_s07_many_requests_at_zero_are_all_answered(self):
        url = HOME.service("one")["url"]
        eventually("it is at zero", lambda: at_zero("one"))
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(curl(url)[0])) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(answers, [200] * 20)
        self.assertEqual(len(HOME.instances("one")), 1, "twenty requests fit into one instance")

    def test_s07_a_crash_costs_who_comes_next_a_start_and_no_refusal(self):
        url = HOME.deploy("crash")
        self.assertIn(curl(f"{url}/exit?code=3")[0], (500, 502, 503), "the request that the container died of")
        self.assertEqual([curl(f"{url}/")[0] for _ in range(5)], [200] * 5)

    def test_s07_a_long_request_keeps_its_instance(self):
        url = HOME.service("one")["url"]
        status, body = curl(f"{url}/sleep?ms={(IDLE + 3) * 1000}")
        self.assertEqual(status, 200, body)

    def test_g08_a_third_service_gets_the_quotas_503(self):
        urls = {}
        for name in ("one", "two", "three"):
            urls[name] = HOME.deploy(name, "--gpu", "1")
            eventually(f"{name} is at zero", lambda name=name: at_zero(name))
        self.assertEqual(HOME.free_gpus(), 2)
        held = []
        threads = [
            threading.Thread(target=lambda name=name: held.append(curl(f"{urls[name]}/sleep?ms=16000")))
            for name in ("one", "two")
        ]
        for thread in threads:
            thread.start()
        eventually("both GPUs are held", lambda: HOME.free_gpus() == 0)
        status, body = curl(urls["three"])
        self.assertEqual(status, 503, body)
        self.assertIn("the project exceeded its quota limit", body)
        self.assertIn("one", body, "it says who holds the quota")
        for thread in threads:
            thread.join(60)
        self.assertEqual([status for status, _ in held], [200, 200])
        # Once the others are idle their GPUs go to whoever asks.
        eventually("the third service answers", lambda: curl(urls["three"])[0] == 200)
