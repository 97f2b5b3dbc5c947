// Keeps parts of a page fresh: a section with an id and data-live="PREFIX ..." is fetched again when an event of such a
// kind happens ("*" is every kind), and one with data-stream="ADDRESS" when that stream says something. One stream a
// page, closed while the page is not seen. Without this file all works, by reloading.
"use strict";
(() => {
  const parts = () => [...document.querySelectorAll("[data-live][id]")];
  const streaming = document.querySelector("[data-stream][id]");
  if (!(parts().length || streaming) || !window.EventSource) return;
  const due = new Set();
  let source = null, timer = 0, last = "";

  const matches = (part, kind) =>
    part.dataset.live.split(" ").some((prefix) => prefix === "*" || kind.startsWith(prefix));

  // what tells one link or tick from the others, wherever it moves
  const mark = (stop) => [stop.tagName, stop.getAttribute("href"), stop.name, stop.value, stop.textContent].join(" ");

  async function refresh() {
    timer = 0;
    const ids = [...due];
    due.clear();
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ids) {
      const old = document.getElementById(id), next = fresh.getElementById(id);
      if (!old || !next || old.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]),select,textarea")) continue;
      const stops = () => [...old.querySelectorAll("a,button,input,summary,[tabindex]")];
      const place = stops().indexOf(document.activeElement), focused = place >= 0 && mark(document.activeElement);
      const open = [...old.querySelectorAll("details")].map((details) => details.open);
      const ticked = new Set([...old.querySelectorAll("input:checked")].map((input) => input.name + " " + input.value));
      old.replaceChildren(...next.childNodes);
      old.querySelectorAll("input[type=checkbox]").forEach((input) => { input.checked ||= ticked.has(input.name + " " + input.value); });
      old.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? details.open; });
      if (place >= 0) (stops().find((stop) => mark(stop) === focused) ?? stops()[place])?.focus({ preventScroll: true });
    }
  }

  function listen() {
    if (source || document.hidden) return;
    if (streaming) return follow();
    source = new EventSource("/api/v1/events/stream" + (last ? "?after=" + last : ""));
    source.onmessage = (message) => {
      last = message.lastEventId;
      const kind = JSON.parse(message.data).kind;
      for (const part of parts()) if (matches(part, kind)) due.add(part.id);
      if (due.size && !timer) timer = setTimeout(() => refresh().catch(() => {}), 400);
    };
  }

  function follow() {
    let seen = false;
    source = new EventSource(streaming.dataset.stream);
    const moved = () => {
      if (seen) due.add(streaming.id);  // the first message is what the page shows already
      seen = true;
      if (due.size && !timer) timer = setTimeout(() => refresh().catch(() => {}), 1000);
    };
    source.addEventListener("points", moved);
    source.addEventListener("end", () => { rest(); if (seen) location.reload(); });
  }

  function rest() {
    if (source) source.close();
    source = null;
  }

  // data-again="ID": what is under way is looked at again and again, for as long as the page says so
  setInterval(() => {
    const again = document.querySelector("[data-again]");
    if (!again || document.hidden) return;
    due.add(again.dataset.again);
    refresh().catch(() => {});
  }, 2000);

  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", listen);
  listen();
})();
