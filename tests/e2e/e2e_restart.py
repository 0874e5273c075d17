"""homerun dies, comes back and serves on; homerun ends and leaves nothing, or leaves what it was told to leave."""

import json
import time
import unittest

import stack
from stack import Load, curl


class Restart(unittest.TestCase):
    def setUp(self):
        self.home = stack.Stack()

    def tearDown(self):
        self.home.close()

    def state(self):
        """What an instance says of itself: a restarted one would have another id."""
        return {name: json.loads(curl(f"{url}/instance")[1])["id"] for name, url in self.urls.items()}

    def instances(self):
        return sorted(self.home.status()["instances"], key=lambda instance: instance["id"])

    def ids(self):
        return [instance["id"] for instance in self.instances()]

    def begin(self):
        self.urls = {name: self.home.deploy(name, "--gpu", "1") for name in ("one", "two")}
        instances = self.instances()
        self.assertEqual(len(instances), 2)
        self.assertTrue(all(map(self.home.processes, instances)))
        return instances, [instance["id"] for instance in instances], self.state()

    def test_killed_under_load_it_adopts_its_instances(self):
        instances, ids, state = self.begin()
        loads = [Load(url) for url in self.urls.values()]
        time.sleep(1)
        self.home.kill()
        self.assertTrue(all(map(self.home.processes, instances)), "instances outlive homerun")
        self.assertTrue(self.home.leftovers(), "what finds leftovers finds these")
        time.sleep(1)
        self.home.start(self.home.control, self.home.ingress)
        ready = time.monotonic()
        time.sleep(2)
        for load in loads:
            answers = load.end()
            self.assertTrue([a for a in answers if a[1] == 200 and a[0] < ready], "it answered before")
            after = [a for a in answers if a[0] >= ready]
            self.assertTrue(after, "it was asked after the restart")
            self.assertEqual([a for a in after if a[1] != 200], [])
        self.assertEqual(self.ids(), ids)
        self.assertEqual(self.state(), state)
        self.assertEqual(self.home.free_gpus(), 0)

    def test_killed_twice_nothing_is_counted_twice(self):
        _, ids, state = self.begin()
        for _ in range(2):
            self.home.kill()
            self.home.start(self.home.control, self.home.ingress)
        self.assertEqual((self.ids(), self.state()), (ids, state))
        # Freed once, not leaked and not given away twice.
        self.home.homerun("run", "services", "delete", "one", "--quiet")
        self.assertEqual(self.home.free_gpus(), 1)

    def test_sigterm_leaves_nothing(self):
        instances, _, _ = self.begin()
        took = self.home.terminate()
        self.assertLess(took, 15, "containers get 10 s to end")
        self.assertEqual(self.home.leftovers(), [])
        self.assertEqual(list(map(self.home.processes, instances)), [[], []])
        # Services are remembered; instances start anew.
        self.home.start(self.home.control, self.home.ingress)
        self.assertEqual(curl(self.urls["one"])[0], 200)

    def test_sigterm_leaves_instances_running_where_asked(self):
        self.home.terminate()
        self.home.flags.append("--leave-running")
        self.home.start()
        instances, ids, state = self.begin()
        self.home.terminate()
        self.assertTrue(all(map(self.home.processes, instances)))
        self.home.flags.remove("--leave-running")
        self.home.start(self.home.control, self.home.ingress)
        self.assertEqual((self.ids(), self.state()), (ids, state))

    def test_a_second_homerun_on_the_same_data_is_refused(self):
        done = self.home.homerun("up", "--data-dir", str(self.home.data), "--listen", "127.0.0.1:0", "--ingress-listen", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("another homerun", done.stderr)
