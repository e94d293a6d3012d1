// What was painted of a photo, one after another: a strip of pictures, to go back to and forth.

import { scaled } from "/static/pictures.js";
import { say } from "/static/text.js";

const KEPT = 40; // pictures
const THUMBNAIL = 160; // long side in the strip
const WHOLE = 8; // of them that are kept as they are; others are painted again where they are wanted

const same = (a, b) => JSON.stringify({ ...a, mask: 0 }) === JSON.stringify({ ...b, mask: 0 }) && a.mask === b.mask;

export class History {
  constructor(strip, undo, redo, restore) {
    Object.assign(this, { strip, undo, redo, restore });
    undo.addEventListener("click", () => this.step(-1));
    redo.addEventListener("click", () => this.step(1));
    this.clear();
  }

  clear() {
    this.keep([]);
    this.place = -1;
    this.show();
  }

  // Keep a painting with what was chosen for it, unless that is what the last one was painted of.
  async add(state, painting, label) {
    if (this.place >= 0 && same(this.entries[this.place].state, state)) return;
    const entry = { state, painting, thumb: "", label };
    this.keep([...this.entries.slice(0, this.place + 1), entry].slice(-KEPT));
    this.place = this.entries.length - 1;
    for (const old of this.entries.slice(0, -WHOLE)) old.painting = null;
    const thumb = await scaled(painting, THUMBNAIL, "image/jpeg", 0.85);
    if (!this.entries.includes(entry)) return;
    entry.thumb = URL.createObjectURL(thumb);
    this.show();
  }

  // Have these entries, and let go of the others' small pictures.
  keep(entries) {
    for (const old of this.entries ?? []) if (!entries.includes(old)) URL.revokeObjectURL(old.thumb);
    this.entries = entries;
  }

  show() {
    this.undo.disabled = this.place <= 0;
    this.redo.disabled = this.place >= this.entries.length - 1;
    this.strip.replaceChildren(...this.entries.map((entry, i) => this.item(entry, i)));
    const current = this.strip.children[this.place];
    if (current) this.strip.scrollLeft = current.offsetLeft - this.strip.clientWidth / 2;
  }

  item(entry, i) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("aria-label", `${say("of_total", { n: i + 1, total: this.entries.length })}: ${entry.label}`);
    button.setAttribute("aria-current", i === this.place);
    button.append(Object.assign(new Image(), { src: entry.thumb, alt: "" }));
    button.addEventListener("click", () => this.goTo(i));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  step(by) {
    this.goTo(this.place + by);
  }

  goTo(i) {
    if (i < 0 || i >= this.entries.length) return;
    this.place = i;
    this.restore(this.entries[i]);
    this.show();
  }
}
