"""A headless Chromium, driven over the WebDriver protocol, which is JSON over HTTP (https://www.w3.org/TR/webdriver2/).

Beside the standard: chromedriver's `goog/cdp/execute` passes on commands of Chromium's own protocol, and `se/log` gives
what the browser has logged since it was last asked.
"""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import stack
from stack import eventually

AXE = Path(__file__).resolve().parent / "vendor/axe-core/axe.min.js"
DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
# How the protocol marks an element among other values.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Shift": "\ue008", "End": "\ue010", "Backspace": "\ue003"}
WIDE, NARROW = (1280, 800), (360, 740)

FLAGS = [
    # Chromium's own sandbox does not start as root. Only this test's pages are opened.
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--no-default-browser-check", "--hide-scrollbars", "--force-device-scale-factor=1",
    # A click goes where an element is, which is not yet known while the page scrolls smoothly.
    "--force-prefers-reduced-motion",
]

# The first visible element that people know by a name: its label's or its own text.
FIND = """
const [selector, name, exact, group] = arguments;
const plain = (text) => (text || "").replace(/\\s+/g, " ").trim();
const named = (e) => [e.getAttribute("aria-label"), ...[...(e.labels || [])].map((l) => l.textContent), e.textContent].map(plain);
const fits = (text) => exact ? text === name : text.includes(name);
const within = (e) => !group || (typeof group === "number"
  ? e.closest(".row") === document.querySelectorAll(".row")[group - 1]
  : plain(e.closest("fieldset")?.querySelector("legend")?.textContent) === group);
return [...document.querySelectorAll(selector)].find((e) => e.checkVisibility() && within(e) && named(e).some(fits)) || null;
"""

# Which rules of axe-core the page breaks, with the elements that break them, as lines of text.
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document).then((result) => done(result.violations.flatMap((rule) => rule.nodes.map(
  (node) => `${rule.id} (${rule.impact}): ${node.html.slice(0, 160)}: ${node.failureSummary.replace(/\\s+/g, " ")}`
))), (error) => done([`axe-core: ${error}`]));
"""


# Starts a program whose end, or this one's, however it comes, is the end of all that it has started: Chromium would
# outlive its driver.
TIED = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
if os.geteuid() != 0:
    TIED[5:5] = ["--user", "--map-current-user"]


class Refused(Exception):
    """The browser could not do as it was told. `kind` is the protocol's word for why."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message.splitlines()[0] if message else ''}")
        self.kind = kind


class Browser:
    """A browser with a profile of its own. Nothing of it is left when it is closed."""

    def __init__(self, address, language="en"):
        """`address` is the only host that pages may ask anything of; `language` is what the browser prefers."""
        self.address = address
        # Complaints that a test provokes: words of each.
        self.expected = []
        self.folder = Path(tempfile.mkdtemp(prefix="homerun-e2e-browser-"))
        self.driver = self.session = None
        stack.RUNNING.append(self)
        try:
            # It takes one free port for two addresses, and ends where that is not free at the other.
            while not (port := self.start_driver()):
                self.driver.wait(20)
                self.driver.stdout.close()
            self.begin(port, language)
        except BaseException:
            self.close()
            raise

    def start_driver(self):
        """The port of a chromedriver that was started; None if it has ended because another took the port meanwhile."""
        self.driver = subprocess.Popen(
            [*TIED, DRIVER, "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=stack.clean_env(HOME=str(self.folder), TMPDIR=str(self.folder)), start_new_session=True,
        )
        said = []
        for line in self.driver.stdout:
            if port := re.search(r"started successfully on port (\d+)", line):
                return int(port[1])
            said.append(line)
        assert "Address already in use" in "".join(said), "chromedriver has ended: " + "".join(said)
        return None

    def begin(self, port, language):
        self.port, self.session = port, ""
        options = {
            "binary": CHROMIUM,
            "args": [*FLAGS, f"--user-data-dir={self.folder / 'profile'}", f"--lang={language}"],
            "prefs": {"intl.accept_languages": language},
            "perfLoggingPrefs": {"enableNetwork": True, "enablePage": False},
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        begun = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{begun['sessionId']}"
        self.size(WIDE)
        # What it asked for on its own first page is not this console's doing.
        self.call("POST", "/url", {"url": "about:blank"})
        self.requested()

    def call(self, method, path, body=None):
        """A command of the protocol; `path` is what comes after the session's."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=stack.LONGEST)
        try:
            text = None if method == "GET" else json.dumps(body or {})
            connection.request(method, self.session + path, text, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Refused(value["error"], value["message"])
        return value

    def cdp(self, command, **parameters):
        """A command of Chromium's own protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self):
        """Ends the browser and its driver, and proves that neither is left."""
        stack.RUNNING.remove(self)
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.driver.kill()
            self.driver.wait(20)
            self.driver.stdout.close()
            mark = str(self.folder)
            eventually(
                "the browser has ended",
                lambda: not any(mark in stack.read(f"/proc/{pid}/cmdline") and stack.lives(pid) for pid in stack.pids()),
            )
            shutil.rmtree(self.folder)

    # --- where it is and how it looks ---

    def open(self, path):
        self.call("POST", "/url", {"url": f"http://{self.address}{path}"})

    def script(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    @property
    def path(self):
        """The page's path and query."""
        return self.script("return location.pathname + location.search")

    def text(self, selector="body"):
        """What can be read in an element; empty if there is none."""
        return self.script("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)

    def size(self, size):
        width, height = size
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        scheme = "dark" if on else "light"
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self):
        """The page as it is shown, as a PNG."""
        return base64.b64decode(self.call("GET", "/screenshot"))

    # --- what a person does ---

    def find(self, selector, name, exact=True, group=""):
        """The visible element that people know by this name; None if there is none. `group` is the legend of the fields
        or the number of the row that it is within, where that matters."""
        return self.script(FIND, selector, name, exact, group)

    def sees(self, selector, name, exact=True, group=""):
        """Like `find`, but waits for it."""
        return eventually(
            lambda: f"{selector} {name!r} on {self.path}:\n{self.text()}", lambda: self.find(selector, name, exact, group)
        )

    def reads(self, text, selector="main", seconds=30.0):
        """Waits until something can be read."""
        eventually(
            lambda: f"{text!r} on {self.path}:\n{self.text(selector)}", lambda: text in self.text(selector), seconds
        )

    def act(self, look, what, body=None):
        """Does something to what `look` finds, again should the page be made anew meanwhile."""
        refusals = []

        def attempt():
            element = look()
            try:
                self.call("POST", f"/element/{element[ELEMENT]}/{what}", body)
                return True
            except Refused as refused:
                if refused.kind not in ("stale element reference", "element click intercepted"):
                    raise
                refusals.append(str(refused))
                return False

        eventually(lambda: f"{what} on {self.path}: {refusals}", attempt)

    def click(self, name, selector="a, button, summary"):
        self.act(lambda: self.sees(selector, name), "click")

    def field(self, label, group=""):
        """The field of a form by what its label says."""
        return self.sees("input, select, textarea", label, group=group)

    def value(self, label, group=""):
        """What a field holds; of a box or a button of several whether it is chosen."""
        script = "const [e] = arguments; return ['checkbox', 'radio'].includes(e.type) ? e.checked : e.value"
        return self.script(script, self.field(label, group))

    def fill(self, label, value, group=""):
        """Writes into a field what it is to hold."""
        self.act(lambda: self.field(label, group), "clear")
        self.act(lambda: self.field(label, group), "value", {"text": value})

    def tick(self, label):
        self.act(lambda: self.field(label), "click")

    def choose(self, label, words, group=""):
        """Chooses from a menu the first option in which the words are."""
        self.act(lambda: eventually(f"{words} can be chosen", lambda: self.script(
            "const [menu, words] = arguments; return [...menu.options].find((o) => o.textContent.includes(words))",
            self.field(label, group), words,
        )), "click")

    def press(self, *keys, held=None):
        """Presses keys one after the other, wherever the focus is, while another is held down."""
        def strokes(kind, *names):
            return [{"type": kind, "value": KEYS.get(name, name)} for name in names if name]

        actions = strokes("keyDown", held)
        for key in keys:
            actions += strokes("keyDown", key) + strokes("keyUp", key)
        actions += strokes("keyUp", held)
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    # --- how quick it is ---

    def load_cold(self, path, watched=3):
        """Opens a page with nothing in the cache: milliseconds to its first contentful paint, bytes over the wire for the
        page and its files, and at most how many for the events that follow within `watched` seconds."""
        self.call("POST", "/url", {"url": "about:blank"})
        self.cdp("Network.clearBrowserCache")
        self.events()
        self.open(path)
        painted = eventually("the page is painted", lambda: self.script(
            "const [paint] = performance.getEntriesByName('first-contentful-paint'); return paint ? paint.startTime : 0"
        ))
        time.sleep(watched)
        streams, received = set(), {"page": 0, "events": 0}
        for method, told in self.events():
            if method == "Network.responseReceived" and told["type"] == "EventSource":
                streams.add(told["requestId"])
                received["events"] += told["response"]["encodedDataLength"]
            elif method == "Network.dataReceived" and told["requestId"] in streams:
                # Of a stream that goes on, Chromium often tells only how much it is when unpacked: no less than on the wire.
                received["events"] += max(told["encodedDataLength"], told["dataLength"])
            elif method == "Network.loadingFinished" and told["requestId"] not in streams:
                # With its headers. A stream does not finish.
                received["page"] += told["encodedDataLength"]
        return painted, received["page"], received["events"]

    # --- what may not be ---

    def violations(self):
        """What axe-core finds wrong with the page."""
        if not self.script("return 'axe' in window"):
            self.script(AXE.read_text())
        return self.call("POST", "/execute/async", {"script": RUN_AXE, "args": []})

    def complaints(self):
        """What the browser has complained about since it was last asked, but for what was expected, and which other
        hosts the pages have asked something of."""
        entries = self.call("POST", "/se/log", {"type": "browser"})
        found = [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]
        found = [message for message in found if not any(words in message for words in self.expected)]
        for url in self.requested():
            if url.split(":", 1)[0] not in ("data", "about") and not url.startswith(f"http://{self.address}/"):
                found.append(f"a request to {url}")
        return found

    def requested(self):
        """The URL of every request since it was last asked."""
        return [told["request"]["url"] for method, told in self.events() if method == "Network.requestWillBeSent"]

    def events(self):
        """What Chromium has told about the network since it was last asked: methods and their parameters."""
        messages = [json.loads(entry["message"])["message"] for entry in self.call("POST", "/se/log", {"type": "performance"})]
        return [(message["method"], message["params"]) for message in messages]
