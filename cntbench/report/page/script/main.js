// The page: its state, its controls, and what is drawn anew when one of them changes.

function momentWords(page, everyAblation = false) {
  const { labels, state } = page;
  const by = everyAblation ? "" : ` by ${labels.ablation[state.ablation]}`;
  return `${labels.task[state.task]}${by} at step ${labels.step[state.checkpoint].toLocaleString("en")}`;
}

function control(id) {
  return document.getElementById(id);
}

const MOMENT = [drawFilm, drawHeatmap, drawEffects];
const OVER_TIME = [drawReadouts, drawMetrics, drawRecurrence, drawBump];

function tellMoment(page) {
  const { labels, state } = page;
  const n = labels.step.length;
  control("moment").textContent = `step ${labels.step[state.checkpoint].toLocaleString("en")}`;
  control("checkpoint").setAttribute("aria-valuetext",
    `step ${labels.step[state.checkpoint]}, checkpoint ${state.checkpoint + 1} of ${n}`);
  for (const place of document.querySelectorAll("[data-moment]")) {
    place.textContent = momentWords(page, place.dataset.moment === "task");
  }
  for (const part of document.querySelectorAll("[data-task]")) {
    part.hidden = Number(part.dataset.task) !== state.task;
  }
}

// The line of the moment, in figures that stay as they are otherwise.
function moveLines(page) {
  const { labels, state } = page;
  const x = stepPlaces(labels)(labels.step[state.checkpoint]);
  const move = (id, count, to) => {
    const plot = control(id);
    if (!plot || !plot.data) return;
    const change = {};
    for (let i = 0; i < count; i++) {
      change[`shapes[${i}].x0`] = to;
      change[`shapes[${i}].x1`] = to;
    }
    if (id === "recurrence") change["shapes[1].y0"] = change["shapes[1].y1"] = to;
    Plotly.relayout(plot, change);
  };
  move("readout-figure", 1, x);
  move("metric-figure", page.metricLines, x);
  move("bump", 2, state.checkpoint);
  move("recurrence", 1, state.checkpoint);
  ["metric-figure", "recurrence", "bump"].forEach(fillTable);
}

function drawMoment(page) {
  tellMoment(page);
  MOMENT.forEach((draw) => draw(page));
}

function drawAll(page) {
  drawMoment(page);
  OVER_TIME.forEach((draw) => draw(page));
}

function goTo(page, checkpoint) {
  page.state.checkpoint = checkpoint;
  control("checkpoint").value = checkpoint;
  page.pending ??= requestAnimationFrame(() => {
    page.pending = null;
    drawMoment(page);
    moveLines(page);
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

function themes(page) {
  const button = control("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light colours" : "Dark colours";
    button.setAttribute("aria-pressed", String(dark));
  };
  set(system.matches);
  const redraw = (dark) => {
    set(dark);
    drawAll(page);
  };
  button.addEventListener("click", () => redraw(!look.dark));
  system.addEventListener("change", (event) => redraw(event.matches));
  let before = null;
  addEventListener("beforeprint", () => {
    before = look.dark;
    look.printing = true;
    redraw(false);
  });
  addEventListener("afterprint", () => {
    look.printing = false;
    redraw(before);
  });
}

function listen(page) {
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
  control("all-metrics")?.addEventListener("change", (event) => {
    page.state.allMetrics = event.target.checked;
    drawMetrics(page);
  });
  control("readout-figure").on("plotly_click", ({ points }) => {
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
  const arrays = {};
  await Promise.all(Object.keys(labels.dims).map(async (name) => {
    arrays[name] = await unpackNumbers(`array-${name}`);
  }));
  const page = {
    labels, get: getter(labels, arrays),
    state: { ...labels.start, drawn: Number(control("drawn").value), allMetrics: false },
  };
  control("loading").remove();
  themes(page);
  drawAll(page);
  listen(page);
  document.documentElement.dataset.ready = "yes";
}

open().catch((error) => {
  const note = control("loading");
  if (note) note.textContent = `The figures cannot be drawn by this browser: ${error.message}. It takes one of 2023 or later.`;
  throw error;
});
