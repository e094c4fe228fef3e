// What changes over training: readouts, metrics, ranks; and effects at one moment.

function band(x, low, high, colour, axes) {
  const line = { width: 0 };
  const common = { x, type: "scatter", mode: "lines", line, hoverinfo: "skip", showlegend: false, ...axes };
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
      traces.push({
        x, y: value, ...axes, type: "scatter", mode: "lines", name: plain(name), legendgroup: name,
        showlegend: row === 0, connectgaps: false, opacity: chosen ? 1 : 0.6,
        line: { color: colour, width: chosen ? 3 : 1.4, dash: look.dash(task) },
        text: value.map((v, i) => `${plain(name)}, step ${labels.step[i]}<br>`
          + `${spaced(labels.readout[readout])} ${withError(v, error[i])}`),
        hovertemplate: "%{text}<extra></extra>",
      });
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
    traces.push({
      x, y: value, ...axes, type: "scatter", mode: "lines", connectgaps: false,
      line: { color: look.category(0), width: 2 },
      text: value.map((v, i) => `step ${labels.step[i]}: ${number(v)}`
        + (Number.isFinite(mean[i]) ? `<br>null model ${withError(mean[i], deviation[i])} sd` : "")),
      hovertemplate: "%{text}<extra></extra>",
    });
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

function drawRecurrence(page) {
  const { labels, state } = page;
  if (!("recurrence" in labels.dims)) return null;
  const n = labels.step.length;
  const pairs = page.get("recurrence", state.task, state.ablation);
  const z = Array.from({ length: n }, () => new Array(n).fill(null));
  let at = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++, at++) {
      if (!Number.isFinite(pairs[at])) continue;
      z[i][j] = z[j][i] = pairs[at];
      z[i][i] = z[j][j] = 1;
    }
  }
  const width = Math.min(widthOf("recurrence"), 640);
  const narrow = width < 480;
  setTable("recurrence", () => ({
    caption: `Similarity with the graph of step ${labels.step[state.checkpoint]}, on ${labels.task[state.task]} by ${labels.ablation[state.ablation]}`,
    head: ["Step", "Similarity"],
    rows: labels.step.map((step, i) => [step, number(z[state.checkpoint][i] ?? NaN)]),
  }));
  return Plotly.react("recurrence", [{
    type: "heatmap", z, zmax: 1, colorscale: look.scale, hoverongaps: false,
    customdata: z.map((row, i) => row.map((_, j) => [labels.step[i], labels.step[j]])),
    hovertemplate: "steps %{customdata[0]} and %{customdata[1]}: %{z:.3g}<extra></extra>",
    colorbar: {
      title: { text: "similarity", side: "top" }, thickness: 10, outlinewidth: 0, nticks: 5,
      ...(narrow ? { orientation: "h", len: 0.8, y: 1, yanchor: "bottom" } : { len: 0.8, xpad: 6 }),
    },
  }], look.layout({
    width, height: narrow ? width + 75 : width * 0.88, margin: { l: 52, r: 8, t: narrow ? 85 : 8, b: 46 },
    xaxis: checkpointAxis(labels, narrow ? 4 : 7, { tickangle: 0, title: { text: "training step", standoff: 6 }, showgrid: false }),
    yaxis: checkpointAxis(labels, 7, { showgrid: false }),
    shapes: [momentLine(state.checkpoint), {
      ...momentLine(0), yref: "y", xref: "paper", x0: 0, x1: 1, y0: state.checkpoint, y1: state.checkpoint,
    }],
  }), CONFIG);
}

// An axis on which every checkpoint is as wide as any other.
function checkpointAxis(labels, count, more) {
  const every = Math.max(1, Math.ceil(labels.step.length / count));
  const ticks = labels.step.map((_, i) => i).filter((i) => i % every === 0);
  return look.axis({
    tickvals: ticks, ticktext: ticks.map((i) => labels.step[i].toLocaleString("en")),
    range: [-0.5, labels.step.length - 0.5], ...more,
  });
}

function foremost(page, role, count) {
  const { labels, state } = page;
  const mean = labels.component.map((_, i) => {
    const ranks = Array.from(page.get(`${role}_rank`, state.task, state.ablation, i)).filter(Number.isFinite);
    return ranks.length ? ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length : Infinity;
  });
  return mean.map((_, i) => i).filter((i) => mean[i] < Infinity)
    .sort((one, other) => mean[one] - mean[other]).slice(0, count);
}

function drawBump(page) {
  const { labels, state } = page;
  if (!("spreader_rank" in labels.dims)) return null;
  const width = widthOf("bump");
  const narrow = width < 760;
  const x = labels.step.map((_, i) => i);
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  const chosen = { spreader: foremost(page, "spreader", 6), gatherer: foremost(page, "gatherer", 6) };
  const coloured = [...new Set([...chosen.spreader, ...chosen.gatherer])].sort((a, b) => a - b);
  ["spreader", "gatherer"].forEach((role, panel) => {
    const suffix = panel ? "2" : "";
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const domainX = narrow ? [0, 0.84] : panel ? [0.54, 0.95] : [0, 0.41];
    const domainY = narrow ? (panel ? [0, 0.42] : [0.56, 0.98]) : [0, 0.95];
    const ranks = chosen[role].map((i) => Array.from(page.get(`${role}_rank`, state.task, state.ablation, i)));
    const worst = Math.max(...ranks.flat().filter(Number.isFinite), 2);
    layout[`xaxis${suffix}`] = checkpointAxis(labels, 6, { domain: domainX, anchor: `y${suffix}` });
    layout[`yaxis${suffix}`] = look.axis({
      domain: domainY, anchor: `x${suffix}`, range: [worst + 0.6, -0.2], showgrid: false,
      tickvals: Array.from({ length: Math.ceil(worst) }, (_, i) => i + 1).filter((i) => worst < 16 || i % 5 === 1),
    });
    layout.annotations.push({
      xref: "paper", yref: "paper", x: domainX[0], y: domainY[1], xanchor: "left", yanchor: "bottom",
      text: `<b>${role}s</b>`, showarrow: false,
    });
    chosen[role].forEach((i, k) => {
      const colour = look.category(coloured.indexOf(i));
      const name = plain(labels.component[i]);
      const [strength, error] = [role, `${role}_error`].map((key) => page.get(key, state.task, state.ablation, i));
      traces.push({
        x, y: ranks[k], ...axes, type: "scatter", mode: "lines", connectgaps: false,
        line: { color: colour, width: 2.2, dash: look.dash(coloured.indexOf(i)) },
        text: ranks[k].map((rank, c) => `${name}, step ${labels.step[c]}<br>rank ${number(rank)}, `
          + `${withError(strength[c], error[c])} × its layers' share`),
        hovertemplate: "%{text}<extra></extra>",
      });
      const last = ranks[k].findLastIndex(Number.isFinite);
      layout.annotations.push({
        xref: `x${suffix}`, yref: `y${suffix}`, x: x[last], y: ranks[k][last], xanchor: "left", xshift: 6,
        text: name, showarrow: false, font: { color: colour, size: 12 },
      });
    });
    const change = page.get(`${role}_change`, state.task, state.ablation);
    const turns = x.map((_, i) => i).filter((i) => change[i] === 1);
    traces.push({
      x: turns.map((i) => x[i]), y: turns.map(() => 0.2), ...axes, type: "scatter", mode: "markers",
      marker: { symbol: "triangle-down", size: 10, color: look.css("--ink") },
      text: turns.map((i) => `the order of ${role}s changes around step ${labels.step[i]}`),
      hovertemplate: "%{text}<extra></extra>",
    });
    layout.shapes.push(momentLine(x[state.checkpoint], { xref: `x${suffix}`, yref: `y${suffix} domain` }));
  });
  setTable("bump", () => ({
    caption: `Layer-corrected strengths, ${momentWords(page)}`,
    head: ["Component", "As spreader", "Rank", "As gatherer", "Rank"],
    rows: labels.component.map((name, i) => [name, ...["spreader", "gatherer"].flatMap((role) => {
      const [value, error, rank] = ["", "_error", "_rank"].map((end) => page.get(role + end, state.task, state.ablation, i)[state.checkpoint]);
      return [withError(value, error), number(rank)];
    })]),
  }));
  return show("bump", traces, look.layout({ ...layout, height: narrow ? 760 : 430, margin: { l: 34, r: 8, t: 10, b: 36 } }));
}

function drawEffects(page) {
  const { labels, state } = page;
  const value = (ablation, i, name = "effect") => page.get(name, state.task, ablation, i)[state.checkpoint];
  const size = labels.component.map((_, i) => Math.max(0, ...labels.ablation.map((_, a) => Math.abs(value(a, i)) || 0)));
  const chosen = size.map((_, i) => i).filter((i) => size[i] > 0).sort((a, b) => size[b] - size[a]).slice(0, 12);
  const shift = (a) => ((a - (labels.ablation.length - 1) / 2) * 0.62) / Math.max(labels.ablation.length, 3);
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
  const score = (i) => [["previous_token", "previous token"], ["prefix_matching", "prefix"]]
    .filter(([name]) => page.get(name, state.task, i)[state.checkpoint] >= 0.5)
    .map(([name, words]) => `${words} ${number(page.get(name, state.task, i)[state.checkpoint], 2)}`).join(", ");
  const traces = labels.ablation.map((name, a) => ({
    type: "scatter", mode: "markers", name: plain(name),
    x: chosen.map((i) => value(a, i)), y: chosen.map((_, row) => row + shift(a)),
    error_x: { type: "data", array: chosen.map((i) => 2 * value(a, i, "effect_error")), color: look.category(a), thickness: 1.5, width: 0 },
    marker: { color: look.category(a), size: 9, symbol: symbols[a % symbols.length] },
    text: chosen.map((i) => `${plain(labels.component[i])} by ${plain(name)}: ${withError(value(a, i), value(a, i, "effect_error"))}`),
    hovertemplate: "%{text}<extra></extra>",
  }));
  setTable("effect-figure", () => ({
    caption: `Change of the logit difference ± standard error, ${momentWords(page, true)}`,
    head: ["Component", ...labels.ablation, "Previous token", "Prefix"],
    rows: chosen.map((i) => [labels.component[i],
      ...labels.ablation.map((_, a) => withError(value(a, i), value(a, i, "effect_error"))),
      ...["previous_token", "prefix_matching"].map((name) => number(page.get(name, state.task, i)[state.checkpoint]))]),
  }));
  const lost = chosen.length ? [] : [{
    text: "No effects were measured here", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false,
  }];
  const tick = (i) => plain(labels.component[i])
    + (score(i) ? `<br><span style="font-size:11px;color:${look.css("--soft")}">${score(i)}</span>` : "");
  return show("effect-figure", traces, look.layout({
    height: Math.max(chosen.length, 3) * 36 + 110, showlegend: labels.ablation.length > 1,
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
    margin: { l: 122, r: 14, t: widthOf("effect-figure") < 480 ? 70 : 34, b: 44 }, annotations: lost,
    xaxis: look.axis({ title: { text: widthOf("effect-figure") < 480 ? "change [nat]" : "change of the logit difference [nat]", standoff: 6 }, zeroline: true, zerolinecolor: look.css("--soft"), zerolinewidth: 1 }),
    yaxis: look.axis({ range: [Math.max(chosen.length, 1) - 0.4, -0.6], tickvals: chosen.map((_, row) => row), ticktext: chosen.map(tick) }),
  }));
}
