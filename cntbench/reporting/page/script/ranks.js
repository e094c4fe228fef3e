// Checkpoint by checkpoint: similarity of the graphs, and the order of spreaders and gatherers.

function drawRecurrence(page) {
  const { labels, state } = page;
  if (!("recurrence" in labels.dims)) return null;
  const n = labels.step.length;
  const pairs = page.by("recurrence");
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
  const across = { yref: "y", xref: "paper", x0: 0, x1: 1 };
  setTable("recurrence", () => ({
    caption: `Similarity with the graph of step ${labels.step[state.checkpoint]}, on ${labels.task[state.task]} with ${labels.ablation[state.ablation]} ablation`,
    head: ["Step", "Similarity"],
    rows: labels.step.map((step, i) => [step, number(z[state.checkpoint][i] ?? NaN)]),
  }));
  return show(
    "recurrence",
    [
      {
        type: "heatmap",
        z,
        zmax: 1,
        colorscale: look.scale,
        hoverongaps: false,
        customdata: z.map((row, i) => row.map((_, j) => [labels.step[i], labels.step[j]])),
        hovertemplate: "steps %{customdata[0]} and %{customdata[1]}: %{z:.3g}<extra></extra>",
        colorbar: {
          title: { text: "similarity", side: "top" },
          thickness: 10,
          outlinewidth: 0,
          nticks: 5,
          ...(narrow
            ? { orientation: "h", len: 0.8, y: 1, yanchor: "bottom" }
            : { len: 0.8, xpad: 6 }),
        },
      },
    ],
    look.layout({
      width,
      height: narrow ? width + 75 : width * 0.88,
      margin: { l: 52, r: 8, t: narrow ? 85 : 8, b: 46 },
      xaxis: checkpointAxis(labels, narrow ? 4 : 7, {
        tickangle: 0,
        title: { text: "training step", standoff: 6 },
        showgrid: false,
      }),
      yaxis: checkpointAxis(labels, 7, { showgrid: false }),
      shapes: [
        momentLine(state.checkpoint),
        momentLine(0, { ...across, y0: state.checkpoint, y1: state.checkpoint }),
      ],
    }),
  );
}

// An axis on which every checkpoint is as wide as any other.
function checkpointAxis(labels, count, more) {
  const every = Math.max(1, Math.ceil(labels.step.length / count));
  const ticks = labels.step.map((_, i) => i).filter((i) => i % every === 0);
  return look.axis({
    tickvals: ticks,
    ticktext: ticks.map((i) => labels.step[i].toLocaleString("en")),
    range: [-0.5, labels.step.length - 0.5],
    ...more,
  });
}

// The components with the best mean rank in the second half of the film, where orders settle.
function foremost(page, role, count) {
  const { labels } = page;
  const half = Math.floor(labels.step.length / 2);
  const mean = labels.component.map((_, i) => {
    const ranks = Array.from(page.by(`${role}_rank`, i)).slice(half).filter(Number.isFinite);
    return ranks.length ? ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length : Infinity;
  });
  return mean
    .map((_, i) => i)
    .filter((i) => mean[i] < Infinity)
    .sort((i, j) => mean[i] - mean[j])
    .slice(0, count);
}

function drawBump(page) {
  const { labels, state } = page;
  if (!("spreader_rank" in labels.dims)) return null;
  const width = widthOf("bump");
  const narrow = width < 760;
  const x = labels.step.map((_, i) => i);
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  const named = 4; // Few have colours: more could not be told apart before the order settles.
  const chosen = {
    spreader: foremost(page, "spreader", named),
    gatherer: foremost(page, "gatherer", named),
  };
  const coloured = [...new Set([...chosen.spreader, ...chosen.gatherer])].sort((a, b) => a - b);
  ["spreader", "gatherer"].forEach((role, panel) => {
    const axes = panelAxes(panel);
    const domainX = narrow ? [0, 0.84] : panel ? [0.54, 0.95] : [0, 0.41];
    const domainY = narrow ? (panel ? [0, 0.42] : [0.56, 0.98]) : [0, 0.95];
    const ranks = chosen[role].map((i) => Array.from(page.by(`${role}_rank`, i)));
    for (const i of foremost(page, role, 40).slice(named)) {
      const name = plain(labels.component[i]);
      const y = Array.from(page.by(`${role}_rank`, i));
      const text = y.map((rank, c) => `${name}, step ${labels.step[c]}<br>rank ${number(rank)}`);
      traces.push(line({ x, y, ...axes, line: { color: grey(0.28), width: 1 }, text }));
    }
    const worst = Math.max(...ranks.flat().filter(Number.isFinite), 2);
    const [across, up] = axisNames(panel);
    layout[across] = checkpointAxis(labels, 6, { domain: domainX, anchor: axes.yaxis });
    layout[up] = look.axis({
      domain: domainY,
      anchor: axes.xaxis,
      range: [worst + 0.6, -0.2],
      showgrid: false,
      tickvals: Array.from({ length: Math.ceil(worst) }, (_, i) => i + 1).filter(
        (i) => worst < 16 || i % 5 === 1,
      ),
    });
    layout.annotations.push(panelTitle(`<b>${role}s</b>`, domainX[0], domainY[1]));
    chosen[role].forEach((i, k) => {
      const colour = look.category(coloured.indexOf(i));
      const name = plain(labels.component[i]);
      const [strength, error] = [role, `${role}_error`].map((key) => page.by(key, i));
      traces.push(
        line({
          x,
          y: ranks[k],
          ...axes,
          line: { color: colour, width: 2.2, dash: look.dash(coloured.indexOf(i)) },
          text: ranks[k].map(
            (rank, c) =>
              `${name}, step ${labels.step[c]}<br>rank ${number(rank)}, ` +
              `${withError(strength[c], error[c])} × its layers' share`,
          ),
        }),
      );
      const last = ranks[k].findLastIndex(Number.isFinite);
      layout.annotations.push({
        xref: axes.xaxis,
        yref: axes.yaxis,
        x: x[last],
        y: ranks[k][last],
        xanchor: "left",
        xshift: 6,
        text: name,
        showarrow: false,
        font: { color: colour, size: 12 },
      });
    });
    const change = page.by(`${role}_change`);
    const turns = x.map((_, i) => i).filter((i) => change[i] === 1);
    traces.push({
      x: turns,
      y: turns.map(() => 0.2),
      ...axes,
      mode: "markers",
      marker: { symbol: "triangle-down", size: 10, color: look.css("--ink") },
      text: turns.map((i) => `the order of ${role}s changes around step ${labels.step[i]}`),
      hovertemplate: "%{text}<extra></extra>",
    });
    layout.shapes.push(
      momentLine(x[state.checkpoint], { xref: axes.xaxis, yref: `${axes.yaxis} domain` }),
    );
  });
  setTable("bump", () => ({
    caption: `Layer-corrected strengths, ${momentWords(page)}`,
    head: ["Component", "As spreader", "Rank", "As gatherer", "Rank"],
    rows: labels.component.map((name, i) => [
      name,
      ...["spreader", "gatherer"].flatMap((role) => {
        const [value, error, rank] = ["", "_error", "_rank"].map((end) => page.now(role + end, i));
        return [withError(value, error), number(rank)];
      }),
    ]),
  }));
  return show(
    "bump",
    traces,
    look.layout({ ...layout, height: narrow ? 760 : 430, margin: { l: 34, r: 8, t: 10, b: 36 } }),
  );
}
