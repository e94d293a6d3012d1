// The ways in for photos, videos and paintings: chosen, taken, pasted, or dropped on the page.

import { isVideo } from "/static/clips.js";
import { $ } from "/static/page.js";

// Have a button open a file chooser, and give on what is chosen.
function chooser(input, buttons, take) {
  for (const button of buttons) button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = "";
  });
}

export function openDoors({ open, addPainting }) {
  chooser($("file"), [$("choose"), $("open")], open);
  chooser($("file-camera"), [$("camera")], open);
  chooser($("file-painting"), [$("painting-add")], addPainting);
  document.addEventListener("paste", (event) => {
    open([...event.clipboardData.files].find((file) => file.type.startsWith("image/") || isVideo(file)));
  });
  let inside = 0;
  const dragged = (step) => (event) => {
    event.preventDefault();
    inside = step ? Math.max(0, inside + step) : inside;
    $("drop").classList.toggle("there", inside > 0);
  };
  document.addEventListener("dragenter", dragged(1));
  document.addEventListener("dragleave", dragged(-1));
  document.addEventListener("dragover", dragged(0));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    $("drop").classList.remove("there");
    const [file] = event.dataTransfer.files;
    if (event.target.closest?.("#painting-add")) addPainting(file);
    else open(file);
  });
}
