"""One GPU for three services that would all keep it for ten minutes: whoever is idle gives way, with real containers."""

import unittest

import stack
from stack import curl, eventually

HOME: stack.Stack


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", 600, gpus="simulated:nvidia-l4=1")


def tearDownModule():
    HOME.close()


class Sharing(unittest.TestCase):
    def test_b02_each_is_deployed_while_the_one_before_is_warm(self):
        for name in ("one", "two", "three"):
            url = HOME.deploy(name, "--gpu", "1")
            self.assertEqual(curl(url)[0], 200, name)
        self.assertEqual([instance["service"] for instance in HOME.status()["instances"]], ["three"])

    def test_b02_a_request_takes_the_gpu_of_who_is_idle(self):
        for name in ("one", "two", "three", "one"):
            status, body = curl(HOME.service(name)["url"])
            self.assertEqual(status, 200, f"{name}: {body}")
        status, seen = curl(f"{HOME.service('one')['url']}/gpu")
        self.assertIn("SIMULATED GPU", seen)

    def test_b02_a_request_in_flight_keeps_it(self):
        load = stack.Load(f"{HOME.service('one')['url']}/sleep?ms=1000", threads=1)
        eventually("it serves", lambda: any(instance["inFlight"] for instance in HOME.instances("one")))
        status, body = curl(HOME.service("two")["url"])
        answers = [answer[1] for answer in load.end()]
        self.assertEqual(status, 503, body)
        self.assertIn("one (1) since 20", body)
        self.assertEqual(set(answers), {200}, "nobody was cut off")
