// Keeps the page up to date, and saves reloading it. Everything works without this script, only less smoothly.
"use strict";
(() => {
  const main = document.getElementById("main");

  /** Shows times in the browser's own zone and language. */
  function localise(root) {
    const form = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.title = time.textContent;
      time.textContent = form.format(new Date(time.dateTime));
    }
  }

  const isField = (element) => element.matches?.("input, select, textarea");

  /** What is in a field, as a text. */
  function content(field) {
    if (field.type === "checkbox" || field.type === "radio") return String(field.checked);
    return field.value;
  }

  /** Whether a field has been filled in since the page was made. */
  function isTouched(field) {
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
    const chosen = [...field.options].find((option) => option.defaultSelected) || field.options[0];
    return field.value !== (chosen ? chosen.value : "");
  }

  /** Makes the page's content like `html`, but for the fields that `keeps` says are the visitor's. */
  function update(html, keeps) {
    const next = document.createElement("template");
    next.innerHTML = html;
    localise(next.content);
    const callbacks = {
      beforeNodeMorphed: (old) => !(isField(old) && keeps(old)),
      beforeAttributeUpdated: (name, of) => !(name === "open" && of.tagName === "DETAILS"),
    };
    Idiomorph.morph(main, next.innerHTML, { morphStyle: "innerHTML", restoreFocus: true, callbacks });
  }

  /** Follows the page's changes while it is looked at. */
  let source = null;
  function follow() {
    if (!main || !("live" in main.dataset)) return;
    if (document.hidden) {
      if (source) source.close();
      source = null;
      return;
    }
    if (source) return;
    source = new EventSource(location.href);
    source.addEventListener("content", (event) => update(event.data, (field) => field === document.activeElement || isTouched(field)));
    source.addEventListener("over", () => {
      source.close();
      location.reload();
    });
  }

  /** Has the server show a form again as it is filled in by now. What is filled in meanwhile stays. */
  let refreshing = new AbortController();
  async function refresh(form, button) {
    refreshing.abort();
    refreshing = new AbortController();
    const sent = new Map([...form.elements].filter(isField).map((field) => [field, content(field)]));
    const body = new URLSearchParams(new FormData(form));
    body.set("do", (button && button.value) || "refresh");
    let page;
    try {
      const answer = await fetch(form.action, { method: "POST", body, redirect: "error", signal: refreshing.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch (error) {
      // A newer one goes on instead.
      if (error.name !== "AbortError") form.requestSubmit(button || form.querySelector("button[value=refresh]"));
      return;
    }
    const before = new Set([...form.elements].map((field) => field.id));
    update(page.getElementById("main").innerHTML, (field) => sent.has(field) && sent.get(field) !== content(field));
    const added = [...form.elements].find((field) => isField(field) && field.type !== "hidden" && !before.has(field.id));
    if (button && added) added.focus();
  }

  // A menu is sent as soon as something is chosen in it, but not while its choices are gone through by keyboard: then
  // the button beside it sends it.
  let byKeyboard = false;
  document.addEventListener("keydown", () => (byKeyboard = true), true);
  document.addEventListener("pointerdown", () => (byKeyboard = false), true);
  document.addEventListener("change", (event) => {
    const field = event.target;
    if ("submit" in field.dataset && !byKeyboard) field.form.requestSubmit();
    else if ("refresh" in field.dataset) refresh(field.form, null);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[name=do][formnovalidate]");
    if (!button) return;
    event.preventDefault();
    refresh(button.form, button);
  });
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => source && source.close());

  // What the server draws with times on it: it knows the browser's zone from the next page on.
  const offset = `homerun_offset=${-new Date().getTimezoneOffset()}`;
  if (!document.cookie.split("; ").includes(offset)) document.cookie = `${offset}; path=/console; max-age=31536000; samesite=lax`;

  localise(document);
  // What is wrong with a form is what its visitor wants to know first.
  const wrong = document.querySelector(".message.error[role=alert]");
  if (wrong) {
    wrong.tabIndex = -1;
    wrong.focus();
  }
  follow();
})();
