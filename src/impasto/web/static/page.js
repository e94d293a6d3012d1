// What every part of the page needs: its elements, values within bounds, and how something is told, saved or gone through.

import { say, sayError } from "/static/text.js";

export const $ = (id) => document.getElementById(id);

export const tell = (text) => ($("status").textContent = text);

export const setBusy = (on) => ($("busy").hidden = !on);

export const within = (value, low, high) => Math.min(high, Math.max(low, value));

export function fail(error) {
  if (error.name === "AbortError") return;
  const line = document.createElement("div");
  const text = Object.assign(document.createElement("span"), { textContent: sayError(error) });
  const close = Object.assign(document.createElement("button"), { type: "button", className: "icon", textContent: "×" });
  close.setAttribute("aria-label", say("close"));
  close.addEventListener("click", () => line.remove());
  line.append(text, close);
  $("alerts").replaceChildren(line);
  setTimeout(() => line.remove(), 12000);
}

export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A list in which the arrow keys go from one to the next, as in every such list.
export function arrows(container, selector) {
  container.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...container.querySelectorAll(selector)];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    event.preventDefault();
    next.click();
    next.focus();
  });
}
