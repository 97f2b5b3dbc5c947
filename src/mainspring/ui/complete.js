// Offers how a filter may go on: names, operators, values. Arrows choose, Enter or Tab takes, Escape closes; without a
// choice Enter sends the filter. Without this file the filter works all the same.
"use strict";
(() => {
  const input = document.querySelector("input[data-complete]");
  if (!input) return;
  const list = document.createElement("ul");
  list.id = "completions";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "What may come next");
  list.hidden = true;
  input.closest("label").after(list);  // inside, its words would be the field's name
  const state = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" };
  for (const [name, value] of Object.entries(state)) input.setAttribute(name, value);
  let chosen = -1, asked = 0, rest = "";

  function close() {
    asked += 1;  // what is still on its way comes too late
    chosen = -1;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function choose(number) {
    const options = [...list.children];
    chosen = (number + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    input.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  }

  function option(found, i) {
    const made = Object.assign(document.createElement("li"), { id: "completion-" + i, textContent: found.shown });
    made.dataset.text = found.text;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", "false");
    const kind = Object.assign(document.createElement("span"), { className: "muted", textContent: " " + found.kind });
    made.append(kind);
    return made;
  }

  async function offer() {
    const number = asked += 1, end = input.selectionEnd;
    const query = new URLSearchParams({ filter: input.value.slice(0, end) });
    const experiment = new URLSearchParams(location.search).get("experiment");
    if (experiment) query.set("experiment", experiment);
    const answer = await fetch(input.dataset.complete + "?" + query);
    const found = answer.ok ? await answer.json() : [];
    if (number !== asked) return;
    if (!found.length) return close();
    rest = input.value.slice(end);
    const held = chosen < 0 ? -1 : found.findIndex((one) => one.text === list.children[chosen].dataset.text);
    chosen = -1;
    list.replaceChildren(...found.map(option));
    list.style.left = input.offsetLeft + "px";
    list.style.top = input.offsetTop + input.offsetHeight + "px";
    list.style.minWidth = Math.min(input.offsetWidth, 420) + "px";
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
    if (held >= 0) choose(held);  // an answer that came late takes no choice away
  }

  function take(option) {
    const text = option.dataset.text;
    chosen = -1;
    input.value = text + rest.trimStart();
    input.setSelectionRange(text.length, text.length);
    input.focus();
    offer().catch(close);
  }

  input.addEventListener("input", () => offer().catch(close));
  input.addEventListener("blur", close);
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();  // the field keeps the focus
    const option = event.target.closest("li");
    if (option) take(option);
  });
  input.addEventListener("keydown", (event) => {
    const down = event.key === "ArrowDown";
    if (list.hidden) {
      if (down) { event.preventDefault(); offer().catch(close); }
    } else if (down || event.key === "ArrowUp") {
      event.preventDefault();
      choose(down ? chosen + 1 : chosen < 0 ? -1 : chosen - 1);
    } else if (event.key === "Escape") {
      event.preventDefault();
      close();
    } else if (chosen >= 0 && (event.key === "Enter" || event.key === "Tab")) {
      event.preventDefault();
      take(list.children[chosen]);
    }
  });
})();
