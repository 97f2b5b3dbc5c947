// Completes the last word of a filter with the names that runs logged. Without this file the filter works all the same.
"use strict";
(() => {
  const input = document.querySelector("input[data-complete]");
  if (!input) return;
  const list = document.createElement("datalist");
  list.id = "completions";
  input.after(list);
  input.setAttribute("list", list.id);
  let names = null;

  const quoted = (name) => (/^[\w.\-\/:]+$/.test(name) ? name : "`" + name.replaceAll("`", "``") + "`");

  async function load() {
    if (names) return;
    names = ["status", "start_time", "end_time", "created", "duration", "run_name", "user_id"];
    const experiment = new URLSearchParams(location.search).get("experiment");
    const answer = await fetch(input.dataset.complete + (experiment ? "?experiment=" + encodeURIComponent(experiment) : ""));
    if (!answer.ok) return;
    const known = await answer.json();
    for (const entity of ["metrics", "params", "tags"]) for (const name of known[entity] ?? []) names.push(entity + "." + quoted(name));
  }

  function offer() {
    const cut = input.value.search(/[^\s()]*$/), head = input.value.slice(0, cut), word = input.value.slice(cut).toLowerCase();
    const found = word ? names.filter((name) => name.toLowerCase().includes(word)).slice(0, 12) : [];
    list.replaceChildren(...found.map((name) => Object.assign(document.createElement("option"), { value: head + name })));
  }

  input.addEventListener("focus", () => load().catch(() => {}), { once: true });
  input.addEventListener("input", () => { if (names) offer(); });
})();
