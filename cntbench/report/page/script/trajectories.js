// What changes over training: readouts and metrics.

// A line; where a checkpoint stands alone between gaps, a point, for a line would not show it.
function line(trace) {
  const there = (i) => Number.isFinite(trace.y[i]);
  const size = trace.y.map((_, i) => (there(i) && !there(i - 1) && !there(i + 1) ? 7 : 0));
  return {
    ...trace, type: "scatter", mode: "lines+markers", connectgaps: false,
    marker: { size, opacity: 1, color: trace.line.color, line: { width: 0 } },
  };
}

function band(x, low, high, colour, axes) {
  const common = { x, type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, ...axes };
  return [
    { ...common, y: low },
    { ...common, y: high, fill: "tonexty", fillcolor: colour },
  ];
}

// A band is drawn piece by piece, because a filled curve would run across its gaps.
function bands(x, low, high, colour, axes) {
  const traces = [];
  let start = null;
  for (let i = 0; i <= x.length; i++) {
    const there = i < x.length && Number.isFinite(low[i]) && Number.isFinite(high[i]);
    if (there && start === null) start = i;
    if (!there && start !== null) {
      const piece = [x, low, high].map((values) => values.slice(start, i));
      traces.push(...band(...piece, colour, axes));
      start = null;
    }
  }
  return traces;
}

function faint(colour, share) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return `rgba(${r},${g},${b},${share})`;
}

function phaseShapes(page) {
  const { labels, state } = page;
  const found = labels.phases[state.task * labels.ablation.length + state.ablation];
  if (!found) return [];
  const place = stepPlaces(labels);
  return found.boundary.flatMap(([low, step, high]) => [
    {
      type: "rect", yref: "paper", y0: 0, y1: 1, x0: place(low), x1: place(high),
      fillcolor: look.css("--soft"), opacity: 0.16, line: { width: 0 }, layer: "below",
    },
    momentLine(place(step), { line: { color: look.css("--soft"), width: 1.6, dash: "dash" } }),
  ]);
}

function readoutOrder(labels) {
  const wanted = ["accuracy", "cross_entropy", "logit_difference"];
  const known = wanted.map((name) => labels.readout.indexOf(name)).filter((i) => i >= 0);
  return [...known, ...labels.readout.map((_, i) => i).filter((i) => !known.includes(i))];
}

function drawReadouts(page) {
  const { labels, state } = page;
  const narrow = widthOf("readout-figure") < 620;
  const x = labels.step.map(stepPlaces(labels));
  const order = readoutOrder(labels);
  const traces = [];
  const layout = { annotations: [] };
  const share = 1 / order.length;
  order.forEach((readout, row) => {
    const suffix = row ? String(row + 1) : "";
    const axes = { xaxis: "x", yaxis: `y${suffix}` };
    const top = 1 - row * share;
    const unit = labels.unit[readout] === "1" ? "" : ` [${plain(labels.unit[readout])}]`;
    layout[`yaxis${suffix}`] = look.axis({ domain: [top - share + 0.045, top - 0.045], nticks: 5 });
    layout.annotations.push({
      xref: "paper", yref: "paper", x: 0, y: top - 0.04, xanchor: "left", yanchor: "bottom",
      text: `<b>${spaced(labels.readout[readout])}</b>${unit}`, showarrow: false,
    });
    labels.task.forEach((name, task) => {
      const chosen = task === state.task;
      const value = Array.from(page.get("readout", task, readout));
      const error = page.get("readout_error", task, readout);
      const colour = look.category(task);
      if (chosen) {
        const edge = (sign) => value.map((v, i) => v + sign * 2 * error[i]);
        traces.push(...bands(x, edge(-1), edge(1), faint(colour, 0.2), axes));
      }
      traces.push(line({
        x, y: value, ...axes, name: plain(name), legendgroup: name, showlegend: row === 0, opacity: chosen ? 1 : 0.6,
        line: { color: colour, width: chosen ? 3 : 1.4, dash: look.dash(task) },
        text: value.map((v, i) => `${plain(name)}, step ${labels.step[i]}<br>`
          + `${spaced(labels.readout[readout])} ${withError(v, error[i])}`),
        hovertemplate: "%{text}<extra></extra>",
      }));
    });
  });
  tellPhases(page);
  setTable("readout-figure", () => ({
    caption: `Readouts on ${labels.task[state.task]}, ± standard error`,
    head: ["Step", ...order.map((readout) => labels.readout[readout])],
    rows: labels.step.map((step, i) => [step, ...order.map((readout) => withError(
      page.get("readout", state.task, readout)[i], page.get("readout_error", state.task, readout)[i]))]),
  }));
  return show("readout-figure", traces, look.layout({
    ...layout, height: 180 * order.length + 90, showlegend: true,
    margin: { l: 48, r: 14, t: narrow ? 118 : 56, b: 42 },
    legend: { orientation: "h", x: 0, y: 1.005, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
    xaxis: stepAxis(labels, narrow, { anchor: `y${order.length > 1 ? order.length : ""}`, title: { text: "training step", standoff: 6 } }),
    shapes: [momentLine(x[state.checkpoint]), ...phaseShapes(page)],
  }));
}

function tellPhases(page) {
  const { labels, state } = page;
  const place = document.getElementById("phase-words");
  const found = labels.phases[state.task * labels.ablation.length + state.ablation];
  if (!place || !found) return;
  const where = `on ${labels.task[state.task]} by ${labels.ablation[state.ablation]}`;
  const p = found.p === null ? "" : ` (p = ${number(found.p, 2)})`;
  const steps = found.boundary.map(([low, step, high]) => `${step} [${low}, ${high}]`).join(", ");
  const names = found.name.filter(Boolean).join(", ");
  const moments = Object.entries(found.readout_step).filter(([, step]) => step !== null)
    .map(([name, step]) => `${name.replace(/_/g, " ")} near step ${step}`).join(", ");
  place.textContent = (found.count > 1
    ? `${found.count} phases ${where}${p}, with change points at steps ${steps}${names ? `; named ${names}` : ""}.`
    : found.p === null ? `Too few checkpoints to tell phases ${where}.`
      : `No change points ${where}: the metrics' course is no better told by phases than by drift${p}.`)
    + (moments ? ` The readouts change most: ${moments}.` : "");
}

function drawMetrics(page) {
  const { labels, state } = page;
  if (!labels.metric.length) return null;
  const chosen = state.allMetrics ? labels.metric.map((_, i) => i) : labels.foremost;
  const width = widthOf("metric-figure");
  const columns = width < 560 ? 1 : width < 900 ? 2 : 3;
  const rows = Math.ceil(chosen.length / columns);
  const x = labels.step.map(stepPlaces(labels));
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  const gap = 62 / width; // Room for the numbers of the next axis.
  const wide = (1 - gap * (columns - 1)) / columns;
  const heightOf = 190;
  const total = rows * heightOf + 40;
  chosen.forEach((metric, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const suffix = cell ? String(cell + 1) : "";
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const left = column * (wide + gap);
    const top = 1 - row / rows;
    const [value, mean, deviation] = ["metric", "null_mean", "null_deviation"].map(
      (name) => Array.from(page.get(name, state.task, state.ablation, metric)));
    const about = labels.metric[metric];
    layout[`xaxis${suffix}`] = stepAxis(labels, true, {
      domain: [left, left + wide], anchor: `y${suffix}`, tickfont: { size: 11 },
    });
    layout[`yaxis${suffix}`] = look.axis({
      domain: [top - 1 / rows + 34 / total, top - 30 / total], anchor: `x${suffix}`, nticks: 4, tickfont: { size: 11 },
    });
    layout.annotations.push({
      xref: "paper", yref: "paper", x: left, y: top - 28 / total, xanchor: "left", yanchor: "bottom",
      text: `<b>${spaced(about.name)}</b>${about.unit === "1" ? "" : ` [${plain(about.unit)}]`}`, showarrow: false,
    });
    const edge = (sign) => mean.map((m, i) => m + sign * 2 * deviation[i]);
    traces.push(...bands(x, edge(-1), edge(1), faint(look.dark ? "#b0b5be" : "#565b64", 0.25), axes));
    traces.push(line({
      x, y: value, ...axes,
      line: { color: look.category(0), width: 2 },
      text: value.map((v, i) => `step ${labels.step[i]}: ${number(v)}`
        + (Number.isFinite(mean[i]) ? `<br>null model ${withError(mean[i], deviation[i])} sd` : "")),
      hovertemplate: "%{text}<extra></extra>",
    }));
    if (row === 0) {
      layout.shapes.push(momentLine(x[state.checkpoint], { xref: `x${suffix}` }));
    }
  });
  page.metricLines = layout.shapes.length;
  setTable("metric-figure", () => ({
    caption: `Metrics, ${momentWords(page)}`,
    head: ["Metric", "Value", "Null model's mean", "Its standard deviation"],
    rows: chosen.map((metric) => [labels.metric[metric].name.replace(/_/g, " "),
      ...["metric", "null_mean", "null_deviation"].map((name) => number(
        page.get(name, state.task, state.ablation, metric)[state.checkpoint]))]),
  }));
  return show("metric-figure", traces, look.layout({
    ...layout, height: total, margin: { l: 46, r: 12, t: 4, b: 20 },
  }));
}
