// Puts a button before each block with data-copy="WHAT" that copies its text. Without this file the text can be selected.
"use strict";
(() => {
  if (!navigator.clipboard) return;
  for (const block of document.querySelectorAll("pre[data-copy]")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy " + block.dataset.copy });
    button.className = "copy";
    button.addEventListener("click", async () => {
      const before = button.textContent;
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Could not copy";
      }
      setTimeout(() => { button.textContent = before; }, 1500);
    });
    block.before(button);
  }
})();
