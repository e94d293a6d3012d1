// Strength, strokes, colours and the size of the brush: what their controls say, and what they change.

import { $ } from "/static/page.js";
import { say } from "/static/text.js";

export class Sliders {
  constructor({ state, gallery, brush, changed }) {
    Object.assign(this, { state, gallery, brush });
    const on = (id, kind, set) =>
      $(id).addEventListener(kind, () => {
        set($(id).value);
        this.show();
        if (id !== "brush-size") changed();
      });
    on("strength", "input", (value) => (state.strength = Number(value)));
    on("stroke", "input", (value) => (state.stroke = Number((2 ** value).toFixed(3))));
    on("colors", "change", (value) => (state.colors = value));
    on("stroke-auto", "click", () => (state.stroke = state.stroke === null ? 1 : null));
    on("brush-size", "input", (value) => (brush.size = Number(value)));
  }

  show() {
    const { strength, stroke, colors } = this.state;
    const share = strength ?? this.gallery.chosen?.strength ?? 1;
    const size = stroke === null ? say("sharpest_told") : `× ${stroke.toFixed(2)}`;
    $("strength").value = share;
    $("strength-told").textContent = say("percent", { n: Math.round(100 * share) });
    $("strength").setAttribute("aria-valuetext", $("strength-told").textContent);
    $("stroke").value = stroke === null ? 0 : Math.log2(stroke);
    $("stroke-told").textContent = size;
    $("stroke").setAttribute("aria-valuetext", size);
    $("stroke").classList.toggle("resting", stroke === null);
    $("stroke-auto").setAttribute("aria-pressed", stroke === null);
    $("colors").value = colors;
    $("brush-size").value = this.brush.size;
    $("brush-size-told").textContent = say("percent", { n: this.brush.size });
    for (const slider of document.querySelectorAll("input[type=range]")) {
      const filled = (slider.value - slider.min) / (slider.max - slider.min);
      slider.style.setProperty("--fill", `${100 * filled}%`);
    }
  }
}
