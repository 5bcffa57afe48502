"use strict";
// A click on a column name sorts its table; rows without a number go last.
for (const table of document.querySelectorAll("table")) {
  const rows = table.tBodies[0].rows;
  if (rows.length < 3) continue;
  table.querySelectorAll("thead th").forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const words = header.classList.contains("words");
      const key = (row) => {
        const text = row.cells[column].textContent.trim();
        return words ? text : parseFloat(text.replace("−", "-"));
      };
      const compare = (a, b) => {
        const [left, right] = [key(a), key(b)];
        if (words) return left.localeCompare(right, undefined, { numeric: true });
        if (Number.isNaN(left) || Number.isNaN(right)) return 0;
        return left - right;
      };
      const missing = (row) => !words && Number.isNaN(key(row));
      const known = [...rows].filter((row) => !missing(row)).sort(compare);
      if (down) known.reverse();
      table.tBodies[0].append(...known, ...[...rows].filter(missing));
    });
  });
}
// Folded parts open for a link that leads into them, and for printing.
const open = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  const fold = target && target.querySelector(":scope > details");
  if (fold) fold.open = true;
};
window.addEventListener("hashchange", open);
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
open();
