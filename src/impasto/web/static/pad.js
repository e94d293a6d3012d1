// The blend pad: four styles in its corners, and a point whose nearness to each is its weight.

import { within } from "/static/page.js";
import { say, styleName } from "/static/text.js";

export class Pad {
  constructor(element, corners, shares, changed) {
    Object.assign(this, { element, corners, shares, changed });
    this.x = this.y = 0.5;
    this.names = [];
    this.images = [0, 1, 2, 3].map(() => element.insertBefore(new Image(), element.lastElementChild));
    for (const image of this.images) Object.assign(image, { alt: "", draggable: false });
    this.selects = [0, 1, 2, 3].map((i) => {
      const select = corners.appendChild(document.createElement("select"));
      select.addEventListener("change", () => {
        this.names[i] = select.value;
        this.show();
        this.changed();
      });
      return select;
    });
    const move = (event) => {
      const box = element.getBoundingClientRect();
      this.move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.dragging = true;
      move(event);
    });
    element.addEventListener("pointermove", (event) => this.dragging && move(event));
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => (this.dragging = false));
    element.addEventListener("keydown", (event) => {
      const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      this.move(this.x + dx * 0.05, this.y + dy * 0.05);
    });
  }

  // Styles to choose from, with their thumbnails.
  setStyles(styles, thumbnails) {
    this.styles = styles.filter((style) => !style.own);
    this.thumbnails = thumbnails;
    if (!this.names.length) this.names = ["starry_night", "the_scream", "great_wave", "rain_princess"];
    for (const [i, select] of this.selects.entries()) {
      select.replaceChildren(...this.styles.map((style) => new Option(styleName(style), style.name)));
      select.setAttribute("aria-label", say("corner", { n: i + 1 }));
    }
    this.show();
  }

  move(x, y) {
    this.x = within(x, 0, 1);
    this.y = within(y, 0, 1);
    this.show();
    this.changed();
  }

  get weights() {
    const { x, y } = this;
    const found = {};
    for (const [i, weight] of [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y].entries()) {
      found[this.names[i]] = (found[this.names[i]] ?? 0) + weight;
    }
    return Object.entries(found).filter(([, weight]) => weight >= 0.005);
  }

  // As the API writes it.
  get style() {
    return this.weights.map(([name, weight]) => `${name}:${weight.toFixed(3)}`).join(",");
  }

  get state() {
    return { x: this.x, y: this.y, names: [...this.names] };
  }

  set state(state) {
    Object.assign(this, { x: state.x, y: state.y, names: [...state.names] });
    this.show();
  }

  show() {
    this.element.style.setProperty("--x", `${100 * this.x}%`);
    this.element.style.setProperty("--y", `${100 * this.y}%`);
    for (const [i, name] of this.names.entries()) {
      this.selects[i].value = name;
      const source = this.thumbnails?.get(name);
      if (source && this.images[i].getAttribute("src") !== source) this.images[i].src = source;
    }
    const named = (name) => styleName(this.styles.find((style) => style.name === name));
    this.shares.textContent = this.weights
      .sort((a, b) => b[1] - a[1])
      .map(([name, weight]) => `${named(name)} ${say("percent", { n: Math.round(100 * weight) })}`)
      .join("  ·  ");
  }
}
