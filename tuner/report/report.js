"use strict";
// A trial under the pointer is told in words, and lit up in every chart at once.
const known = JSON.parse(document.getElementById("trials").textContent);
const hint = document.getElementById("hint");
let lit = [];
function leave() {
  lit.forEach((mark) => mark.classList.remove("lit"));
  lit = [];
  hint.hidden = true;
}
document.addEventListener("pointerover", (event) => {
  leave();
  const mark = event.target.closest("[data-n], [data-t]");
  if (!mark) return;
  if (mark.dataset.n) lit = [...document.querySelectorAll(`[data-n="${CSS.escape(mark.dataset.n)}"]`)];
  lit.forEach((each) => each.classList.add("lit"));
  hint.textContent = mark.dataset.t || known[mark.dataset.n] || "";
  hint.hidden = !hint.textContent;
  hint.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - hint.offsetWidth - 8))}px`;
  hint.style.top = `${Math.max(8, Math.min(event.clientY + 14, innerHeight - hint.offsetHeight - 8))}px`;
});
document.addEventListener("keydown", (event) => event.key === "Escape" && leave());
