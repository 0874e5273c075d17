"""The page's ways through the console, walked in a real browser with real containers: a service gets a GPU, is changed
and loses the GPU again, in English and in Japanese, by the words that the page has for what is clicked."""

import json
import re
import unittest

import browser
import stack
from stack import curl, eventually, succeed

HOME: stack.Stack
BROWSER: browser.Browser
SERVICES = "/console/demo/services"
# What is clicked and what is filled in, by language. The Japanese of the first lines is the page's own.
WORDS = {
    "en": {
        "deploy container": "Deploy container", "edit": "Edit & deploy new revision", "more": "Container(s), Volumes, Networking, Security",
        "containers": "Containers", "gpu": "GPU", "gpu type": "GPU type", "gpu count": "Number of GPUs", "create": "Create", "deploy": "Deploy",
        "revisions": "Revisions", "cpu always": "CPU is always allocated", "most": "Maximum number of instances",
        "image": "Container image URL", "name": "Service name", "public": "Allow unauthenticated invocations", "cpu": "CPU",
        "memory": "Memory", "of the revision": "Revision scaling", "ready": "Ready", "none": "None", "token": "Access token", "sign in": "Sign in",
        "sign out": "Sign out",
    },
    "ja": {
        "deploy container": "コンテナをデプロイ", "edit": "新しいリビジョンの編集とデプロイ", "more": "コンテナ、ボリューム、ネットワーキング、セキュリティ",
        "containers": "コンテナ", "gpu": "GPU", "gpu type": "GPU のタイプ", "gpu count": "GPU の数", "create": "作成", "deploy": "デプロイ",
        "revisions": "変更内容", "cpu always": "CPU を常に割り当てる", "most": "最大インスタンス数",
        "image": "コンテナ イメージの URL", "name": "サービス名", "public": "未認証の呼び出しを許可", "cpu": "CPU",
        "memory": "メモリ", "of the revision": "リビジョンのスケーリング", "ready": "準備完了", "none": "なし", "token": "アクセス トークン", "sign in": "ログイン",
        "sign out": "ログアウト",
    },
}


def setUpModule():
    global HOME, BROWSER
    if not browser.DRIVER:
        raise unittest.SkipTest("chromium and chromium-driver are not installed")
    HOME = stack.Stack("--idle-timeout", 600)
    BROWSER = browser.Browser(HOME.control)


def tearDownModule():
    if browser.DRIVER:
        BROWSER.close()
        HOME.close()


def page(service, tab=""):
    return f"{SERVICES}/us-central1/{service}{tab and f'/{tab}'}"


def sign_in(words, token):
    BROWSER.fill(words["token"], token)
    BROWSER.click(words["sign in"])
    BROWSER.sees("button", words["sign out"])


def own_token():
    return (HOME.data / "token").read_text().strip()


def grant(role, member):
    """Gives a role on the project."""
    def call(verb, body):
        url = f"http://{HOME.control}/v1/projects/demo:{verb}IamPolicy"
        status, answer = curl(url, "-H", f"Authorization: Bearer {own_token()}", "--json", json.dumps(body))
        assert status == 200, answer
        return json.loads(answer)

    policy = call("get", {})
    policy["bindings"] = [*policy.get("bindings", []), {"role": role, "members": [member]}]
    call("set", {"policy": policy})


def until_ready(words):
    """Waits until the service's page says that it is ready, on the page as it was loaded."""
    BROWSER.sees("a", words["edit"])
    BROWSER.script("window.loaded = 'once'")
    BROWSER.sees("h1", words["ready"], exact=False)
    assert BROWSER.script("return window.loaded") == "once", "the page was loaded again"


def create(words, service, **env):
    """Deploy container, with the GPU."""
    BROWSER.open(SERVICES)
    BROWSER.click(words["deploy container"])
    BROWSER.fill(words["image"], HOME.image("hello"))
    BROWSER.fill(words["name"], service)
    BROWSER.tick(words["public"])
    BROWSER.click(words["more"], "summary")
    BROWSER.click(words["containers"])
    BROWSER.tick(words["gpu"])
    BROWSER.choose(words["gpu type"], "nvidia-l4")
    BROWSER.choose(words["gpu count"], "1")


class Case(unittest.TestCase):
    """The owner is signed in. After each test nothing has been asked of another host, and the browser has nothing to
    complain about."""

    language = "en"

    def setUp(self):
        BROWSER.open(f"/console/-/language?to={self.language}&next={SERVICES}")
        if BROWSER.find("button", WORDS[self.language]["sign in"]):
            sign_in(WORDS[self.language], own_token())

    def tearDown(self):
        self.assertEqual(BROWSER.complaints(), [])
        BROWSER.expected = []

    def assert_gpu_in_panel(self, words, type_, count):
        """The right-hand panel of the Revisions tab, in its Containers tab."""
        BROWSER.click(words["revisions"])
        BROWSER.click(words["containers"])
        facts = BROWSER.script(
            "return Object.fromEntries([...document.querySelectorAll('aside dl > div')]"
            ".map((fact) => [fact.querySelector('dt').innerText, fact.querySelector('dd').innerText]))"
        )
        self.assertEqual(facts.get(words["gpu type"], "").split(" ")[0], type_, facts)
        self.assertEqual(facts.get(words["gpu count"], ""), count, facts)

    def assert_gpu(self, service, words, there):
        """Whether the program in the container sees a GPU."""
        status, body = curl(HOME.service(service)["url"] + "/gpu")
        self.assertEqual(status, 200, body)
        self.assertEqual(re.search(r"nvidia\d", body) is not None, there, body)


class Walk(Case):
    def test_g24_only_a_good_token_opens_the_console(self):
        BROWSER.expected = ["403 (Forbidden)"]
        BROWSER.click("Sign out")
        BROWSER.fill("Access token", "wrong")
        BROWSER.click("Sign in")
        BROWSER.reads("not valid", "[role=alert]")
        sign_in(WORDS["en"], own_token())
        eventually("the services are shown", lambda: BROWSER.path == SERVICES)
        BROWSER.reads("There is no service yet")

    def test_g24_a_service_is_created_with_a_gpu(self):
        words = WORDS["en"]
        create(words, "llm")
        self.assertEqual(BROWSER.value("CPU"), "4", "the least that a GPU needs is filled in")
        self.assertEqual(BROWSER.value("Memory"), "16Gi")
        self.assertTrue(BROWSER.value("CPU is always allocated"))
        BROWSER.reads("nvidia-l4 needs at least 4 CPU and 16Gi")
        BROWSER.fill("Maximum number of instances", "2", "Revision scaling")
        BROWSER.click("Command, arguments, variables")
        BROWSER.click("Add a variable")
        BROWSER.fill("Name, row 1", "START_DELAY_MS")
        BROWSER.fill("Value, row 1", "2500")
        BROWSER.click("Create")
        BROWSER.sees("h1", "Deploying", exact=False)
        BROWSER.sees("ol", "Steps of the deployment")
        until_ready(words)
        self.assertTrue(BROWSER.path.startswith(page("llm")), BROWSER.path)
        self.assert_gpu("llm", words, True)

    def test_g24_the_revisions_panel_shows_the_gpu(self):
        BROWSER.open(SERVICES)
        BROWSER.click("llm")
        self.assert_gpu_in_panel(WORDS["en"], "nvidia-l4", "1")

    def test_g24_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(self):
        """The API's own words: they come from the same rules."""
        BROWSER.expected = ["400 (Bad Request)"]
        BROWSER.open(page("llm"))
        BROWSER.click("Edit & deploy new revision")
        for label, group, typed, right in [("CPU", "", "2", "4"), ("Maximum number of instances", "Revision scaling", "many", "2")]:
            BROWSER.fill(label, typed, group)
            BROWSER.click("Deploy")
            BROWSER.reads("Nothing was deployed", "[role=alert]")
            self.assertEqual(BROWSER.value(label, group), typed)
            self.assert_told_at(label, group)
            BROWSER.fill(label, right, group)
        self.assertEqual(BROWSER.value("Value, row 1"), "2500", "the rest is as it was")

    def assert_told_at(self, label, group):
        """The field says what is wrong with it, to screen readers too, and the summary on top leads to it."""
        field = BROWSER.field(label, group)
        told = BROWSER.script(
            "const [e] = arguments; return e.getAttribute('aria-invalid') === 'true' && e.getAttribute('aria-describedby').split(' ')"
            ".map((id) => document.getElementById(id)).filter((p) => p.classList.contains('wrong')).map((p) => p.innerText).join()",
            field,
        )
        self.assertTrue(told, f"{label}: {BROWSER.text('[role=alert]')}")
        BROWSER.click(told)
        self.assertEqual(BROWSER.script("return location.hash"), "#" + BROWSER.script("return arguments[0].id", field))

    def test_g24_a_new_revision_is_deployed(self):
        BROWSER.open(page("llm"))
        BROWSER.click("Edit & deploy new revision")
        BROWSER.fill("Maximum number of instances", "1", "Revision scaling")
        BROWSER.fill("Name, row 1", "MESSAGE")
        BROWSER.fill("Value, row 1", "from the console")
        BROWSER.click("Deploy")
        until_ready(WORDS["en"])
        self.assertIn("from the console", curl(HOME.service("llm")["url"])[1])
        annotations = HOME.describe("llm")["spec"]["template"]["metadata"]["annotations"]
        self.assertEqual(annotations["autoscaling.knative.dev/maxScale"], "1")
        self.assert_gpu("llm", WORDS["en"], True)

    def test_g24_instances_say_how_they_started(self):
        BROWSER.open(page("llm"))
        BROWSER.click("Instances")
        instance = HOME.instances("llm")[0]
        BROWSER.reads(instance["id"])
        for words in (" ms", "simulated", *instance["gpus"]):
            BROWSER.reads(words)

    def test_g24_logs_come_by_themselves(self):
        BROWSER.open(page("llm"))
        BROWSER.click("Logs")
        BROWSER.reads("listening on")
        BROWSER.script("window.loaded = 'once'")
        curl(HOME.service("llm")["url"] + "/log?line=seen+at+once")
        BROWSER.reads("seen at once", ".log", 10)
        self.assertEqual(BROWSER.script("return window.loaded"), "once")

    def test_g24_the_gpu_is_taken_away_by_its_box(self):
        BROWSER.open(page("llm"))
        BROWSER.click("Edit & deploy new revision")
        self.assertTrue(BROWSER.value("GPU"))
        BROWSER.tick("GPU")
        eventually("the menus go with the box", lambda: not BROWSER.find("select", "GPU type"))
        BROWSER.click("Deploy")
        until_ready(WORDS["en"])
        template = HOME.describe("llm")["spec"]["template"]["spec"]
        self.assertNotIn("nvidia.com/gpu", template["containers"][0]["resources"]["limits"])
        self.assertNotIn("nodeSelector", template)
        self.assert_gpu("llm", WORDS["en"], False)
        eventually("the GPU is free", lambda: HOME.free_gpus() == 2)

    def test_g24_traffic_is_split_and_tagged(self):
        BROWSER.open(page("llm"))
        BROWSER.click("Manage traffic")
        BROWSER.fill("Traffic (%)", "60")
        BROWSER.click("Add a target")
        BROWSER.choose("Revision", "llm-00002", 2)
        BROWSER.fill("Traffic (%)", "40", 2)
        BROWSER.fill("URL tag", "before", 2)
        BROWSER.click("Save")
        BROWSER.click("Revisions")
        BROWSER.reads("40 %")
        BROWSER.reads("60 %")
        BROWSER.sees("a", "before")
        status, body = curl(HOME.service("llm")["url"].replace("://", "://before---"))
        self.assertEqual(status, 200, body)

    def test_g24_yaml_is_edited_after_a_look_at_what_changes(self):
        BROWSER.open(page("llm", "yaml"))
        BROWSER.click("Edit YAML")
        text = BROWSER.value("YAML")
        self.assertIn("from the console", text)
        BROWSER.fill("YAML", text.replace("from the console", "from YAML"))
        BROWSER.click("Review changes")
        BROWSER.reads("from YAML", "ins")
        BROWSER.reads("from the console", "del")
        BROWSER.click("Deploy")
        until_ready(WORDS["en"])
        self.assertIn("from YAML", str(HOME.describe("llm")["spec"]["template"]))

    def test_g24_more_quota_is_requested_and_approved(self):
        BROWSER.open("/console/demo/quotas")
        before = BROWSER.text("main")
        self.assertIn("of", before)
        BROWSER.click("Request increase", "a.primary")
        BROWSER.choose("Region", "us-central1")
        BROWSER.fill("New value", "3")
        BROWSER.fill("Justification", "for the walk")
        BROWSER.click("Submit request")
        BROWSER.reads("for the walk")
        BROWSER.reads("Pending")
        BROWSER.click("Decide")
        BROWSER.click("Approve", "button")
        BROWSER.reads("Granted")
        self.assertIn('"limit": 3', succeed(HOME.homerun("quota", "list", "--format", "json")).stdout)

    def test_g24_a_viewer_is_offered_nothing_and_refused(self):
        url = f"http://{HOME.control}{page('llm', 'delete')}"
        grant("roles/run.viewer", "user:ann@example.com")
        ann = succeed(HOME.homerun("auth", "print-access-token", "--account", "ann@example.com")).stdout.strip()
        BROWSER.click("Sign out")
        sign_in(WORDS["en"], ann)
        BROWSER.open(SERVICES)
        BROWSER.sees("a", "llm")
        for path in (SERVICES, page("llm", "revisions"), page("llm", "yaml")):
            BROWSER.open(path)
            BROWSER.sees("h1", "", exact=False)
            for name in ("Deploy container", "Edit & deploy new revision", "Manage traffic", "Delete", "Edit YAML"):
                self.assertIsNone(BROWSER.find("a, button", name), f"{name} on {path}")
        cookie = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in BROWSER.call("GET", "/cookie"))
        secret = BROWSER.script("return document.querySelector('[name=form-secret]').value")
        status, body = curl(url, "-H", f"Cookie: {cookie}", "--data-urlencode", f"form-secret={secret}", "--data", "name=llm")
        self.assertEqual(status, 403, body)
        self.assertIn("run.services.delete", body)
        BROWSER.click("Sign out")

    def test_g24_a_service_is_deleted_by_its_name(self):
        BROWSER.expected = ["400 (Bad Request)"]
        BROWSER.open(page("llm"))
        BROWSER.click("Delete")
        BROWSER.fill("Type llm to confirm", "lln")
        BROWSER.click("Delete", "button")
        BROWSER.reads("Nothing was deleted")
        self.assertIsNotNone(HOME.service("llm"))
        BROWSER.fill("Type llm to confirm", "llm")
        BROWSER.click("Delete", "button")
        eventually("the service is gone", lambda: HOME.service("llm") is None)
        BROWSER.reads("There is no service yet")


class Keyboard(Case):
    def test_g24_a_service_is_deployed_by_keyboard_alone(self):
        """Tab, Space, Enter and the letters; nothing is clicked, and where the focus is can always be seen."""
        BROWSER.open(SERVICES)
        self.go_to("Deploy container")
        BROWSER.press("Enter")
        BROWSER.sees("h1", "Deploy container")
        for label, text in [("Container image URL", HOME.image("hello")), ("Service name", "keys")]:
            self.go_to(label)
            BROWSER.press(*text)
        self.go_to("Container(s), Volumes, Networking, Security")
        BROWSER.press("Enter")
        self.go_to("GPU")
        BROWSER.press("Space")
        BROWSER.sees("select", "GPU type")
        self.assertEqual(self.focused(), "GPU", "the focus stays where it was while the form is made anew")
        self.go_to("GPU type")
        for chosen in ("nvidia-rtx-pro-6000", "nvidia-l4"):
            BROWSER.press("n")
            eventually(f"the next type with this letter is {chosen}", lambda: BROWSER.value("GPU type") == chosen)
        for label, text in [("CPU", "4"), ("Memory", "16Gi")]:
            # The other type needed more, and what was filled in stays.
            self.go_to(label, backwards=True)
            BROWSER.press("End", *["Backspace"] * 6, *text)
        self.go_to("Command, arguments, variables")
        BROWSER.press("Enter")
        self.go_to("Add a variable")
        BROWSER.press("Enter")
        BROWSER.sees("textarea", "Name, row 1")
        for label, text in [("Name, row 1", "MESSAGE"), ("Value, row 1", "by keys")]:
            self.go_to(label)
            BROWSER.press(*text)
        self.go_to("Create")
        BROWSER.press("Enter")
        until_ready(WORDS["en"])
        container = HOME.describe("keys")["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["env"], [{"name": "MESSAGE", "value": "by keys"}])
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], "1")
        succeed(HOME.homerun("run", "services", "delete", "keys", "--quiet"))

    def focused(self):
        return BROWSER.script(
            "const e = document.activeElement; return (e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent).trim()"
        )

    def go_to(self, name, backwards=False):
        """Presses Tab, or Shift and Tab, until the focus is on what people know by this name."""
        seen = []
        while self.focused() != name:
            self.assertLess(len(seen), 120, f"{name} is not reached: {seen}")
            BROWSER.press("Tab", held="Shift" if backwards else None)
            seen.append(self.focused())
            ring = BROWSER.script("return document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle")
            self.assertIn(ring, (True, "solid", "auto"), f"no ring around {seen[-1]}")


class Japanese(Case):
    language = "ja"

    def test_g24_the_page_is_walked_by_its_japanese_words(self):
        """Create with a GPU, look at it, take it away."""
        words = WORDS["ja"]
        create(words, "ocr")
        BROWSER.fill(words["most"], "2", words["of the revision"])
        self.assertTrue(BROWSER.value(words["cpu always"]))
        BROWSER.click(words["create"])
        until_ready(words)
        self.assert_gpu("ocr", words, True)
        self.assert_gpu_in_panel(words, "nvidia-l4", "1")
        BROWSER.click(words["edit"])
        BROWSER.tick(words["gpu"])
        eventually("the menus go with the box", lambda: not BROWSER.find("select", words["gpu type"]))
        BROWSER.click(words["deploy"])
        until_ready(words)
        self.assert_gpu("ocr", words, False)
        eventually("the GPU is free", lambda: HOME.free_gpus() == 2)
        BROWSER.click("削除")
        BROWSER.fill("確認のため ocr と入力してください", "ocr")
        BROWSER.click("削除", "button")
        eventually("the service is gone", lambda: HOME.service("ocr") is None)
