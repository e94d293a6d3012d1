// The visitor's language and light, which the browser keeps.

import { $ } from "/static/page.js";

function remembered(key, fallback) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback; // a browser that keeps nothing
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // a browser that keeps nothing
  }
}

export const languageWanted = () => remembered("impasto-language", navigator.language.startsWith("zh") ? "zh" : "en");

export function listenToTaste(translate) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => (document.documentElement.dataset.theme = name);
  const themeWanted = () => remembered("impasto-theme", dark.matches ? "dark" : "light");
  setTheme(themeWanted());
  dark.addEventListener("change", () => setTheme(themeWanted()));
  $("theme").addEventListener("click", () => {
    const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    setTheme(name);
    keep("impasto-theme", name);
  });
  $("language").addEventListener("change", () => {
    translate($("language").value);
    keep("impasto-language", $("language").value);
  });
}
