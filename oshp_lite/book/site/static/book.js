// What the pages do without a server: set formulas, cut long code cells, hide code on request, search from files.
"use strict";

document.querySelectorAll(".math").forEach((place) => {
  const display = place.classList.contains("display");
  katex.render(place.textContent, place, { displayMode: display, throwOnError: false, trust: false });
});

// a page opened as a file may not fetch others, so the search lists titles without excerpts there
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

const LONGEST = 14;
document.querySelectorAll(".cell_input").forEach((cell) => {
  const lines = cell.textContent.trimEnd().split("\n").length;
  if (lines <= LONGEST + 2) return;
  const button = document.createElement("button");
  const label = () => {
    const cut = cell.classList.contains("cut");
    button.textContent = cut ? `Show all ${lines} lines` : "Show less";
    button.setAttribute("aria-expanded", String(!cut));
  };
  button.type = "button";
  button.className = "more";
  button.addEventListener("click", () => { cell.classList.toggle("cut"); label(); });
  cell.classList.add("cut");
  cell.append(button);
  label();
});

const heading = document.querySelector("article h1");
if (heading && document.querySelector(".cell_input")) {
  const bar = document.createElement("div");
  const button = document.createElement("button");
  const label = () => {
    const hidden = document.documentElement.classList.contains("no-code");
    button.textContent = hidden ? "Show code" : "Hide code";
    button.setAttribute("aria-pressed", String(hidden));
  };
  button.type = "button";
  button.addEventListener("click", () => {
    const hidden = document.documentElement.classList.toggle("no-code");
    try { localStorage.setItem("book-code", hidden ? "hidden" : "shown"); } catch { /* private window: this page only */ }
    label();
  });
  try { document.documentElement.classList.toggle("no-code", localStorage.getItem("book-code") === "hidden"); } catch { /* as above */ }
  bar.className = "code-switch";
  bar.append(button);
  heading.after(bar);
  label();
}
