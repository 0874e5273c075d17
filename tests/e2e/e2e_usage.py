"""A bill worked by hand beside homerun's, with real containers (rows G21, B05).

Four services: a GPU service with a minimum of one; one that fell to zero; one that ran on while homerun was killed; one
without a GPU, which has CPU only while it serves. What each instance was billed for is taken from its record, compared
with how long its process was seen to live, multiplied by hand, and compared with homerun's report, digit by digit.

HOMERUN_BILL_SECONDS=3600 makes it an hour; docs/usage.md has such a run.
"""

import json
import os
import threading
import time
import unittest
from decimal import ROUND_HALF_UP, Decimal

import stack
from stack import curl, eventually, pids, read, succeed

SECONDS = float(os.environ.get("HOMERUN_BILL_SECONDS", 62))
HOME: stack.Stack

# Of prices/cloud-run.toml, for us-central1.
PRICE = {
    "cpu-instance": Decimal("0.000018"), "memory-instance": Decimal("0.000002"), "gpu/nvidia-l4": Decimal("0.0001867"),
    "cpu-request": Decimal("0.000024"), "memory-request": Decimal("0.0000025"), "requests": Decimal("0.0000004"),
}
TICK = os.sysconf("SC_CLK_TCK")


def stat(pid):
    """The fields of a process's state from the third on; those of a zombie for one that has ended."""
    return read(f"/proc/{pid}/stat").rsplit(")", 1)[-1].split() or ["Z"] + ["0"] * 20


class Lives(threading.Thread):
    """When processes of services began and ended, as /proc shows it, by a clock that is never set."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.names, self.ended = {}, {}, threading.Event()

    def run(self):
        while not self.ended.is_set():
            self.look()
            time.sleep(0.02)
        self.look()

    def look(self):
        present = set(pids())
        for pid in present - self.names.keys():
            try:
                words = read(f"/proc/{pid}/environ").split("\0")
            except PermissionError:
                continue
            revision = [word.split("=")[1] for word in words if word.startswith("K_REVISION=")]
            # What has not come to its program yet is looked at again.
            if revision:
                self.names[pid] = revision[0]
                began = int(stat(pid)[19])
                self.seen[(pid, began)] = [revision[0], began / TICK, None]
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        for (pid, _), life in self.seen.items():
            # One whose homerun was killed is a zombie until the machine's first process takes notice.
            if life[2] is None and (pid not in present or stat(pid)[0] == "Z"):
                life[2] = now
        self.names = {pid: name for pid, name in self.names.items() if pid in present}

    def of(self, revision):
        return [end - begin for name, begin, end in self.seen.values() if name == revision]


def setUpModule():
    global HOME
    HOME = stack.Stack("--idle-timeout", 2, gpus="simulated:nvidia-l4=3")


def tearDownModule():
    HOME.close()


def usage(*words):
    return json.loads(succeed(HOME.homerun("usage", *words, "--format", "json")).stdout)


def cents(amount):
    """To the nearest billionth, as homerun's bill has it."""
    return amount.quantize(Decimal("1e-9"), ROUND_HALF_UP)


def by_hand(instances):
    """The items of a service's bill from the records of its instances."""
    units = {}

    def add(sku, amount):
        if amount:
            units[sku] = units.get(sku, Decimal(0)) + amount

    for one in instances:
        seconds, boosted = Decimal(one["billedSeconds"]), Decimal(one["boostedSeconds"])
        kind = one["billing"]
        add(f"cpu-{kind}", seconds * one["cpuMillis"] / 1000 + boosted * one["boostCpuMillis"] / 1000)
        add(f"memory-{kind}", seconds * one["memoryBytes"] / 2**30)
        if one["gpus"]:
            add(f"gpu/{one['gpuType']}", seconds * one["gpus"])
        if kind == "request":
            add("requests", Decimal(one["requests"]))
    return {sku: (amount, cents(amount * PRICE[sku])) for sku, amount in units.items()}


class Usage(unittest.TestCase):
    def test_b05_a_bill_by_hand_is_homerun_s_to_the_last_unit(self):
        lives = Lives()
        lives.start()
        begun = time.monotonic()
        HOME.deploy("always", "--gpu", "1", "--min-instances", "1")
        HOME.deploy("killed", "--gpu", "1", "--min-instances", "1")
        zero = HOME.deploy("zero", "--gpu", "1")
        throttled = HOME.deploy("throttled")
        for url in (zero, throttled):
            self.assertEqual(curl(f"{url}/sleep?ms=700")[0], 200)
        eventually("both are at zero", lambda: not (HOME.instances("zero") or HOME.instances("throttled")))
        time.sleep(max(0.0, SECONDS / 2 - (time.monotonic() - begun)))
        HOME.kill()
        time.sleep(5)
        HOME.start()
        time.sleep(max(0.0, SECONDS - (time.monotonic() - begun)))
        for name in ("always", "killed"):
            succeed(HOME.homerun("run", "services", "delete", name, "--quiet"))
        eventually("nothing runs", lambda: not HOME.status()["instances"])
        lives.ended.set()
        lives.join()
        time.sleep(1.5)

        records = usage("instances")["instances"]
        report = usage("--by", "service")
        lines = {line["key"][0]: line for line in report["lines"]}
        print(f"\n{'service':10} {'instances':>9} {'what':16} {'units by hand':>16} {'homerun':>16} {'by hand, USD':>14} {'homerun, USD':>14}")
        for name in ("always", "zero", "killed", "throttled"):
            own = [record for record in records if record["service"] == name]
            line, hand = lines[name], by_hand(own)
            self.assertEqual(len(own), line["starts"])
            for item in line["items"]:
                amount, cost = hand[item["sku"]]
                print(f"{name:10} {len(own):9} {item['sku']:16} {amount.normalize():>16f} {item['quantity']:>16} {cost.normalize():>14f} {item['cost']:>14}")
                self.assertEqual(Decimal(item["quantity"]), amount)
                self.assertEqual(Decimal(item["cost"]), cost)
            self.assertEqual({item["sku"] for item in line["items"]}, set(hand))
            self.assertEqual(Decimal(line["cost"]), sum(cost for _, cost in hand.values()))
            self.compare_with_processes(name, own, lives)
        self.assertEqual(Decimal(report["cost"]), sum(Decimal(line["cost"]) for line in report["lines"]))
        print(f"{'total':10} {'':9} {'':16} {'':>16} {'':>16} {'':>14} {report['cost']:>14}")

    def test_b05_a_budget_that_is_spent_starts_no_instance_until_it_is_raised(self):
        url = HOME.service("zero")["url"]
        succeed(HOME.homerun("budget", "set", "little", "--service", "zero", "--amount", "0.001", "--stop"))
        shown = succeed(HOME.homerun("budget", "list")).stdout
        self.assertRegex(shown, r"little +service zero .* 100 % +stopped")
        eventually("it is stopped", lambda: "budget 'little' of 0.001 USD" in curl(url)[1])
        self.assertEqual(curl(url)[0], 503)
        succeed(HOME.homerun("budget", "set", "little", "--amount", "5"))
        eventually("it starts again", lambda: curl(url)[0] == 200)
        wrong = HOME.homerun("budget", "set", "little", "--amount", "many")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("amount", wrong.stderr)

    def compare_with_processes(self, name, records, lives):
        """A record begins when its process does, and ends when all of it is gone, a moment after its process."""
        for revision in {record["revision"] for record in records}:
            own = sorted(float(record["billedSeconds"]) for record in records if record["revision"] == revision)
            seen = sorted(lives.of(revision))
            self.assertEqual(len(own), len(seen), f"{name}: {own} {seen}")
            if name == "throttled":
                # Its start, the request of 0.7 s and its end; the rest of its life is free.
                self.assertTrue(all(billed < life for billed, life in zip(own, seen)), f"{own} {seen}")
                self.assertGreater(sum(own), 0.7)
                continue
            for billed, life in zip(own, seen):
                self.assertGreaterEqual(billed, max(60, life) - 0.15)
                self.assertLess(billed, max(60, life) + 1.5)
