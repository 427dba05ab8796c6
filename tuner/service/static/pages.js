"use strict";
// What the pages do beyond their forms: line numbers beside the declaration, charts, and uploads. All of it is extra.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  // The declaration's line numbers, the lines with mistakes marked.
  function number(area) {
    const gutter = area.previousElementSibling;
    const wrong = new Set([...document.querySelectorAll("[data-line]")].map((link) => Number(link.dataset.line)));
    const lines = area.value.split("\n").length;
    gutter.replaceChildren(...Array.from({ length: lines }, (_, place) => {
      const line = document.createElement("i");
      line.textContent = place + 1;
      line.classList.toggle("wrong", wrong.has(place + 1));
      return line;
    }));
    area.setAttribute("aria-invalid", wrong.size > 0);
    gutter.scrollTop = area.scrollTop;
  }

  function goTo(area, line) {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, words) => sum + words.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] || "").length);
    area.scrollTop = Math.max(0, (area.scrollHeight / lines.length) * (line - 4));
  }

  function edit(area) {
    number(area);
    area.addEventListener("input", () => number(area));
    area.addEventListener("scroll", () => { area.previousElementSibling.scrollTop = area.scrollTop; });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-line]");
      if (!link) return;
      event.preventDefault();
      goTo(area, Number(link.dataset.line));
    });
  }

  // Charts: the element's numbers are the server's, what is enlarged stays enlarged.
  const drawn = new Map();
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const KINDS = {
    step: () => ({ stroke: style("--good"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }),
    level: () => ({ stroke: style("--soft"), width: 1, dash: [5, 4], points: { show: false } }),
    dots: () => ({ stroke: style("--mark"), paths: () => null, points: { show: true, size: 6, fill: style("--mark") } }),
    rings: () => ({ stroke: style("--soft"), paths: () => null, points: { show: true, size: 6, fill: style("--paper") } }),
    winner: (few) => ({ stroke: style("--good"), width: 2.5, spanGaps: true, points: { show: few, size: 5 } }),
    curve: (few) => ({ stroke: style("--mark"), width: 1, alpha: 0.75, spanGaps: true, points: { show: few, size: 4 } }),
  };
  const short = (value) => (value == null ? "–" : String(Number(value.toPrecision(4))));

  function options(place, given) {
    const axis = { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 } };
    const few = given.x.length < 2;
    return {
      width: place.clientWidth,
      height: place.clientWidth < 500 ? 240 : 300,
      scales: { x: { time: false, range: few ? [given.x[0] - 1, given.x[0] + 1] : undefined }, y: { distr: given.log ? 3 : 1, range: (plot, low, high) => given.y.length ? given.y : [low, high] } },
      axes: [{ ...axis, label: given.title, labelSize: 22, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }, { ...axis, size: 62, values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : short(tick))) }],
      series: [{ label: given.title }, ...given.series.map((each) => ({ label: each.label, value: (plot, value) => short(value), ...KINDS[each.kind](given.x.length < 12) }))],
      cursor: { drag: { x: true, y: false } },
      legend: { live: true },
    };
  }

  function draw(place, anew) {
    const text = place.dataset.plot;
    const old = drawn.get(place);
    if (old && !anew && old.text === text) return;
    const given = JSON.parse(text);
    const data = [given.x, ...given.series.map((each) => each.values)];
    const labels = given.series.map((each) => each.label + each.kind).join();
    if (old && !anew && old.labels === labels && old.x > 1) {
      const enlarged = old.plot.scales.x.min > old.first || old.plot.scales.x.max < old.last;
      old.given.y = given.y;
      old.plot.setData(data, !enlarged);
      Object.assign(old, { text, x: given.x.length, first: given.x[0], last: given.x[given.x.length - 1] });
      return;
    }
    if (old) old.plot.destroy();
    const plot = new uPlot(options(place, given), data, place);
    drawn.set(place, { plot, text, labels, given, x: given.x.length, first: given.x[0], last: given.x[given.x.length - 1] });
    if (!old) watch.observe(place);
  }

  const watch = new ResizeObserver((changes) => changes.forEach(({ target }) => {
    const known = drawn.get(target);
    if (known && target.clientWidth && known.plot.width !== target.clientWidth) {
      known.plot.setSize({ width: target.clientWidth, height: known.plot.height });
    }
  }));

  function drawAll(anew) {
    for (const [place, known] of drawn) {
      if (!place.isConnected) { known.plot.destroy(); watch.unobserve(place); drawn.delete(place); }
    }
    each(".plot", (place) => draw(place, anew));
  }

  // What is read stays in its place when parts above it grow. Not every browser sees to that by itself, and none does
  // where the element that it held on to was replaced, as a chart's are.
  const topOf = (element) => element.getBoundingClientRect().top;
  let held = null;

  function hold() {
    const named = [...document.querySelectorAll("main [id]")].filter((element) => element.getClientRects().length);
    const element = named.find((each) => topOf(each) >= -1);
    held = element && scrollY > 0 ? { element, top: topOf(element) } : null;
  }

  function keep() {
    const moved = held && held.element.isConnected ? topOf(held.element) - held.top : 0;
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
  }

  // An upload goes as it is, without a form around it; the page shows how far it is.
  function upload(form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const file = form.elements.file.files[0];
      const said = form.querySelector("[role=status]");
      if (file.size > Number(form.dataset.most)) { said.textContent = "The file is larger than this service takes."; return; }
      const [bar, send] = [form.querySelector("progress"), form.querySelector("button")];
      const request = new XMLHttpRequest();
      const ending = file.name.includes(".") ? file.name.slice(file.name.lastIndexOf(".") + 1) : "";
      request.open("PUT", `/api/v1/datasets/${encodeURIComponent(form.elements.name.value)}?type=${encodeURIComponent(ending)}`);
      request.upload.addEventListener("progress", (now) => { bar.hidden = false; bar.max = now.total; bar.value = now.loaded; });
      const end = (words) => { said.textContent = words; bar.hidden = true; send.disabled = false; };
      request.addEventListener("load", () => {
        if (request.status < 300) { location.assign("/datasets"); return; }
        let problem = {};
        try { problem = JSON.parse(request.responseText); } catch { /* an answer without words */ }
        end(problem.detail || problem.title || `The upload was refused (${request.status}).`);
      });
      request.addEventListener("error", () => end("The connection broke; try again."));
      send.disabled = true;
      said.textContent = "Uploading; the data is read before it is registered.";
      request.send(file);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    each("#space", edit);
    each("#upload-form", upload);
    each("#secret", (field) => field.select());
    drawAll();
    document.addEventListener("scroll", hold, { passive: true });
    new ResizeObserver(keep).observe(document.querySelector("main"));
    document.addEventListener("htmx:after:swap", () => {
      each("#space", number);
      drawAll();
    });
    // A stream that broke is said to be broken; a session that ended leads to logging in, but from a declaration.
    const lost = (is) => each("#live-lost", (said) => { said.hidden = !is; });
    document.addEventListener("htmx:sse:error", (event) => (event.detail.status === 401 ? location.reload() : lost(true)));
    document.addEventListener("htmx:sse:after:connection", () => lost(false));
    document.addEventListener("htmx:response:error", (event) => each("#verdict", (said) => {
      const ended = event.detail.ctx.response.status === 401;
      said.textContent = ended ? "Your session ended: log in again in another window, then go on here." : "It could not be checked; go on, or try again.";
    }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  });
})();
