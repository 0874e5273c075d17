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

  /** Makes the page's content like `html`, and leaves alone what the visitor is busy with. */
  function update(html) {
    const next = document.createElement("template");
    next.innerHTML = html;
    localise(next.content);
    const callbacks = { beforeAttributeUpdated: (name, of) => !(name === "open" && of.tagName === "DETAILS") };
    const options = { morphStyle: "innerHTML", ignoreActiveValue: true, restoreFocus: true, callbacks };
    Idiomorph.morph(main, next.innerHTML, options);
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
    source.addEventListener("content", (event) => update(event.data));
    source.addEventListener("over", () => {
      source.close();
      location.reload();
    });
  }

  /** Has the server show a form again as it is filled in by now. */
  async function refresh(form, button) {
    const body = new URLSearchParams(new FormData(form));
    body.set("do", (button && button.value) || "refresh");
    const answer = await fetch(form.action, { method: "POST", body, redirect: "error" }).catch(() => null);
    if (!answer || !answer.ok) {
      form.requestSubmit(button || form.querySelector("button[value=refresh]"));
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    update(page.getElementById("main").innerHTML);
  }

  document.addEventListener("change", (event) => {
    const field = event.target;
    if ("submit" in field.dataset) field.form.requestSubmit();
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
  follow();
})();
