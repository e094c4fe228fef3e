// The page: its state, its controls, and what is drawn anew when one of them changes.

function momentWords(page, everyAblation = false) {
  const { labels, state } = page;
  const by = everyAblation ? "" : ` with ${labels.ablation[state.ablation]} ablation`;
  return `${labels.task[state.task]}${by} at step ${labels.step[state.checkpoint].toLocaleString("en")}`;
}

function control(id) {
  return document.getElementById(id);
}

// What shows one moment, and what shows all of them with a line at the chosen one.
const MOMENT = { film: drawFilm, heatmap: drawHeatmap, "effect-figure": drawEffects };
const OVER_TIME = {
  "readout-figure": drawReadouts,
  "head-figure": drawHeads,
  "metric-figure": drawMetrics,
  recurrence: drawRecurrence,
  bump: drawBump,
};
// Figures that depend on neither the chosen task nor the chosen moment.
const STILL = [drawCircuits, drawCosts];
const REST = 250; // Milliseconds after which a moment is taken to stay.

function tellMoment(page) {
  const { labels, state } = page;
  const n = labels.step.length;
  control("moment").textContent = `step ${labels.step[state.checkpoint].toLocaleString("en")}`;
  control("checkpoint").setAttribute(
    "aria-valuetext",
    `step ${labels.step[state.checkpoint]}, checkpoint ${state.checkpoint + 1} of ${n}`,
  );
  for (const place of document.querySelectorAll("[data-moment]")) {
    place.textContent = momentWords(page, place.dataset.moment === "task");
  }
  for (const part of document.querySelectorAll("[data-task]")) {
    part.hidden = Number(part.dataset.task) !== state.task;
  }
}

// The line of the moment, in a figure that stays as it is otherwise.
function moveLine(page, id) {
  const { labels, state } = page;
  const byStep = stepPlaces(labels)(labels.step[state.checkpoint]);
  const [count, to] = {
    "readout-figure": [1, byStep],
    "head-figure": [page.headLines, byStep],
    "metric-figure": [page.metricLines, byStep],
    recurrence: [1, state.checkpoint],
    bump: [2, state.checkpoint],
  }[id];
  const change = {};
  for (let i = 0; i < count; i++) change[`shapes[${i}].x0`] = change[`shapes[${i}].x1`] = to;
  if (id === "recurrence") change["shapes[1].y0"] = change["shapes[1].y1"] = to;
  Plotly.relayout(id, change);
  fillTable(id);
}

function onScreen(id) {
  const { top, bottom } = control(id).getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}

function drawAll(page) {
  clearTimeout(page.rest);
  delete document.documentElement.dataset.behind;
  tellMoment(page);
  drawFirst(page);
  for (const [id, draw] of Object.entries({ ...MOMENT, ...OVER_TIME })) {
    if (control(id)) draw(page); // The film alone has no other figures.
  }
  for (const draw of STILL) draw(page);
}

// While the moment moves, only what can be seen follows at once; the rest does when it rests.
function follow(page) {
  tellMoment(page);
  const show = (id) => (id in MOMENT ? MOMENT[id](page) : moveLine(page, id));
  const there = Object.keys({ ...MOMENT, ...OVER_TIME }).filter((id) => control(id));
  there.filter(onScreen).forEach(show);
  const later = there.filter((id) => !onScreen(id));
  clearTimeout(page.rest);
  page.rest = setTimeout(() => {
    later.forEach(show);
    delete document.documentElement.dataset.behind; // All figures show the moment.
  }, window.cntbench.rest);
}

function goTo(page, checkpoint) {
  page.state.checkpoint = checkpoint;
  control("checkpoint").value = checkpoint;
  document.documentElement.dataset.behind = "yes";
  page.pending ??= requestAnimationFrame(() => {
    page.pending = null;
    follow(page);
  });
}

function player(page) {
  const button = control("play");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;
  const tell = () => {
    button.firstElementChild.textContent = timer ? "❚❚" : "▶";
    control("moment").setAttribute("aria-live", timer ? "off" : "polite");
    control("play-word").textContent = timer ? "Pause" : "Play";
    button.setAttribute("aria-label", timer ? "Pause the film" : "Play the film");
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    tell();
  };
  const advance = () => {
    if (page.pending) return; // The last frame is not drawn yet: rather slow than stuck.
    if (page.state.checkpoint + 1 >= page.labels.step.length) stop();
    else goTo(page, page.state.checkpoint + 1);
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (page.state.checkpoint + 1 >= page.labels.step.length) goTo(page, 0);
    timer = setInterval(advance, calm.matches ? 1000 : 140);
    return tell();
  });
  return stop;
}

function listen(page) {
  playMoments(page);
  const stop = player(page);
  control("checkpoint").addEventListener("input", (event) => {
    stop();
    goTo(page, Number(event.target.value));
  });
  for (const id of ["task", "ablation"]) {
    control(id).addEventListener("change", (event) => {
      page.state[id] = Number(event.target.value);
      drawAll(page);
    });
  }
  control("drawn").addEventListener("change", (event) => {
    page.state.drawn = Number(event.target.value);
    drawFilm(page);
  });
  listenToLayers(page);
  control("all-metrics")?.addEventListener("change", (event) => {
    page.state.allMetrics = event.target.checked;
    drawMetrics(page);
  });
  control("readout-figure")?.on("plotly_click", ({ points }) => {
    stop();
    goTo(page, points[0].pointIndex);
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || look.printing) return; // Phones resize as their bars come and go.
    width = innerWidth;
    clearTimeout(page.resizing);
    page.resizing = setTimeout(() => drawAll(page), 120);
  });
}

async function open() {
  const labels = JSON.parse(control("labels").textContent);
  const source = document.createElement("script");
  source.textContent = await unpackText("plotly");
  document.head.append(source);
  look.scales = labels.scale;
  const arrays = {};
  await Promise.all(
    Object.keys(labels.dims).map(async (name) => {
      arrays[name] = await unpackNumbers(`array-${name}`);
    }),
  );
  const page = {
    labels,
    get: getter(labels, arrays),
    shown: null, // The checkpoint that a small graph of the first screen plays.
    state: { ...labels.start, drawn: Number(control("drawn").value), opened: -1, allMetrics: false },
    // A number of the chosen moment, by component; and one that no ablation changes.
    now: (name, i) => page.by(name, i)[page.state.checkpoint],
    by: (name, ...at) => page.get(name, page.state.task, page.state.ablation, ...at),
    score: (name, i) => page.get(name, page.state.task, i)[page.state.checkpoint],
  };
  window.cntbench = { state: page.state, draw: () => drawFilm(page), rest: REST }; // For tests.
  control("loading").remove();
  themes((printing) => {
    look.printing = printing;
    drawAll(page);
  });
  drawAll(page);
  listen(page);
  document.documentElement.dataset.ready = "yes";
}

open().catch((error) => {
  const note = control("loading");
  if (note)
    note.textContent = `The figures cannot be drawn by this browser: ${error.message}. Use a browser of 2023 or later.`;
  throw error;
});
