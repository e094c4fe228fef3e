// The component graph at one moment.

const BINS = 10;
const WIDEST = 7;
const CURVE = 24; // Pieces of a curve.

// What is drawn of a moment: the strongest edges, weakest first, so that strong ones lie on top.
// Between nodes that stand for several components, their strongest edge.
function edgesAt(page, count, { nodes, of } = everyComponent(page), state = page.state) {
  const { checkpoint, task, ablation } = state;
  const n = page.labels.component.length;
  const codes = page.get("edge", task, ablation);
  const weights = page.get("weight", task, ablation);
  const checkpoints = page.labels.step.length;
  const best = new Map();
  for (let edge = 0, at = checkpoint; edge < codes.length; edge++, at += checkpoints) {
    const weight = weights[at];
    if (!(weight === weight)) continue; // NaN
    const [from, to] = [of[Math.floor(codes[edge] / n)], of[codes[edge] % n]];
    if (from === to) continue;
    const pair = from * nodes.length + to;
    const other = best.get(pair);
    if (other === undefined || weight > weights[other * checkpoints + checkpoint]) best.set(pair, edge);
  }
  return [...best.values()]
    .map((edge) => [weights[edge * checkpoints + checkpoint], edge])
    .sort(([weight], [other]) => other - weight)
    .slice(0, count)
    .reverse()
    .map(([weight, edge]) => {
      const [source, target] = [Math.floor(codes[edge] / n), codes[edge] % n];
      const error = page.get("error", task, ablation, edge)[checkpoint];
      return { source, target, from: of[source], to: of[target], weight, error };
    });
}

// Every component as itself.
function everyComponent(page) {
  page.every ??= {
    nodes: page.labels.component,
    of: Int32Array.from(page.labels.component, (_, i) => i),
  };
  return page.every;
}

// The largest influence of a cell: the end of its colour scale.
function largest(page, { task, ablation } = page.state) {
  const key = `${task} ${ablation}`;
  page.largest ??= {};
  page.largest[key] ??=
    page.get("weight", task, ablation).reduce((most, value) => (value > most ? value : most), 0) || 1;
  return page.largest[key];
}

function describeEdge(page, edge) {
  const [source, target] = [edge.source, edge.target].map((i) => page.labels.component[i]);
  return `${plain(source)} → ${plain(target)} ${withError(edge.weight, edge.error)}`;
}

function places(page, narrow) {
  const { depth, height } = page.labels;
  return narrow
    ? depth.map((d, i) => ({ x: -height[i], y: -d * 2 }))
    : depth.map((d, i) => ({ x: d * 3, y: height[i] }));
}

// A curve that leaves and arrives along the flow; longer ones bow out around what lies between.
function curve(from, to, narrow, columns) {
  const bow =
    Math.min(0.9, 0.32 * Math.max(0, columns - 1)) *
    ((narrow ? from.x + to.x : from.y + to.y) < 0 ? -1 : 1);
  const points = [];
  for (let i = 0; i <= CURVE; i++) {
    const t = i / CURVE;
    const [a, b, c, d] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
    const along = (p, q) => a * p + b * (p + 0.45 * (q - p)) + c * (q - 0.45 * (q - p)) + d * q;
    const across = (p, q) => a * p + b * (p + bow) + c * (q + bow) + d * q;
    points.push(
      narrow
        ? { x: across(from.x, to.x), y: along(from.y, to.y) }
        : { x: along(from.x, to.x), y: across(from.y, to.y) },
    );
  }
  return points;
}

function edgeTraces(page, edges, at, narrow) {
  const most = largest(page);
  const bins = Array.from({ length: BINS }, () => ({ x: [], y: [] }));
  const spots = { x: [], y: [], text: [] };
  for (const edge of edges) {
    const columns = Math.round(page.labels.depth[edge.target] - page.labels.depth[edge.source]);
    const points = curve(at[edge.source], at[edge.target], narrow, columns);
    const bin = bins[Math.min(BINS - 1, Math.floor((edge.weight / most) * BINS))];
    for (const point of [...points, { x: null, y: null }]) {
      bin.x.push(point.x);
      bin.y.push(point.y);
    }
    for (const i of [0.3, 0.5, 0.7].map((t) => Math.round(t * CURVE))) {
      spots.x.push(points[i].x);
      spots.y.push(points[i].y);
      spots.text.push(describeEdge(page, edge));
    }
  }
  const lines = bins.map((bin, i) => ({
    ...bin,
    mode: "lines",
    hoverinfo: "skip",
    line: {
      color: look.colour((i + 0.5) / BINS),
      width: (narrow ? 0.7 : 1) * (0.6 + (WIDEST - 0.6) * (i / (BINS - 1))),
    },
    opacity: 0.35 + 0.6 * Math.sqrt(i / (BINS - 1)),
  }));
  const hover = {
    ...spots,
    mode: "markers",
    hovertemplate: "%{text}<extra></extra>",
    marker: { size: 13, opacity: 0 },
  };
  return [...lines, hover];
}

function describeComponent(page, i) {
  const at = (name) => (name in page.labels.dims ? page.now(name, i) : NaN);
  const lines = [`<b>${plain(page.labels.component[i])}</b>`];
  for (const [role, does] of Object.entries({ spreader: "sends", gatherer: "receives" })) {
    if (!Number.isFinite(at(role))) continue;
    const of = page.labels.roles ? " × its layers' share" : " per edge";
    const rank = at(`${role}_rank`);
    const place = Number.isFinite(rank) ? `, rank ${number(rank)}` : "";
    lines.push(`${does} ${withError(at(role), at(`${role}_error`))}${of}${place}`);
  }
  if (Number.isFinite(at("effect"))) {
    lines.push(`ablated: logit difference ${withError(at("effect"), at("effect_error"))}`);
  }
  const scores = page.labels.behaviour
    .map(({ score, name }) => [name, page.score(score, i)])
    .filter(([, value]) => Number.isFinite(value));
  if (scores.length) {
    lines.push(`scores: ${scores.map(([name, value]) => `${name} ${fixed(value)}`).join(", ")}`);
  }
  return lines.join("<br>");
}

function nodeTraces(page, at, narrow) {
  const { component } = page.labels;
  const strength = (role) => component.map((_, i) => page.now(role, i));
  const most = (values) => Math.max(...values.filter(Number.isFinite), 1e-12);
  const unit = narrow ? 20 : 26;
  const [sent, received] = ["spreader", "gatherer"].map(strength);
  const size = (values) =>
    values.map((v) => (Number.isFinite(v) ? 5 + unit * Math.sqrt(v / most(values)) : 0));
  const x = at.map((place) => place.x);
  const y = at.map((place) => place.y);
  const paper = look.css("--paper");
  const dots = (size, color, more) => ({
    x,
    y,
    mode: "markers",
    hoverinfo: "skip",
    marker: { size, color: look.css(color), ...more },
  });
  const circles = { symbol: "circle-open", line: { width: narrow ? 2.5 : 3.2 } };
  return [
    dots(8, "--soft", { line: { width: 2, color: paper } }),
    dots(size(sent), "--disc", { opacity: 1, line: { width: 1.5, color: paper } }),
    dots(size(received), "--ring", { opacity: 1, ...circles }),
    {
      x,
      y,
      mode: "markers+text",
      text: component.map((name, i) => plain(narrow ? name.replace(/^L\d+\./, "") : name)),
      textposition: "bottom center",
      textfont: {
        size: narrow ? 11 : 12.5,
        color: look.css("--ink"),
        shadow: `0 0 3px ${paper}, 0 0 3px ${paper}, 0 0 2px ${paper}`,
      },
      customdata: component.map((_, i) => describeComponent(page, i)),
      hovertemplate: "%{customdata}<extra></extra>",
      marker: { size: unit + 8, opacity: 0 },
    },
  ];
}

function drawFilm(page) {
  if (grouped(page)) return drawLargeFilm(page);
  const narrow = widthOf("film") < 620;
  const at = places(page, narrow);
  const edges = edgesAt(page, page.state.drawn);
  const most = largest(page);
  const depths = [...new Set(page.labels.layer)];
  const spread = (key) => {
    const values = at.map((place) => place[key]);
    return [Math.min(...values), Math.max(...values)];
  };
  const [xs, ys] = [spread("x"), spread("y")];
  const scale = {
    x: [null],
    y: [null],
    mode: "markers",
    hoverinfo: "skip",
    marker: {
      color: [0],
      cmin: 0,
      cmax: most,
      colorscale: look.scale,
      showscale: true,
      colorbar: {
        title: { text: "influence", side: "top" },
        orientation: "h",
        thickness: 10,
        len: narrow ? 0.8 : 0.4,
        x: narrow ? 0.5 : 1,
        xanchor: narrow ? "center" : "right",
        y: 1,
        yanchor: "bottom",
        ypad: 12,
        outlinewidth: 0,
        nticks: 5,
      },
    },
  };
  const every = Math.ceil(depths.length / 12); // Further layers' names would run into each other.
  const layers = depths
    .filter((_, i) => i % every === 0)
    .map((layer) => {
      const members = at.filter((_, i) => page.labels.layer[i] === layer);
      const place = narrow
        ? { x: xs[0] - 0.62, y: members[0].y, textangle: -90 }
        : { x: members[0].x, y: ys[1] + 0.62 };
      const font = { color: look.css("--soft"), size: 12 };
      return { ...place, text: `layer ${layer}`, xanchor: "center", showarrow: false, font };
    });
  const rows = narrow ? depths.length * 150 : Math.max(...page.labels.height) * 2 * 104;
  const lost = edges.length
    ? []
    : [
        paperText(lostWords(page), 0.5, 0.5, {
          font: { size: 15, color: look.css("--mark") },
          bgcolor: look.css("--paper"),
        }),
      ];
  setTable("film", () => tableOfEdges(page));
  return show(
    "film",
    [...edgeTraces(page, edges, at, narrow), ...nodeTraces(page, at, narrow), scale],
    look.layout({
      height: Math.min(Math.max(rows + 130, 380), 1000),
      margin: { l: 10, r: 10, t: 62, b: 12 },
      annotations: [...layers, ...lost],
      xaxis: look.axis({ visible: false, range: [xs[0] - (narrow ? 0.8 : 0.5), xs[1] + 0.5] }),
      yaxis: look.axis({
        visible: false,
        range: [ys[0] - (narrow ? 0.75 : 0.6), ys[1] + (narrow ? 0.5 : 0.85)],
      }),
    }),
  );
}

function lostWords(page) {
  const { task, ablation, checkpoint } = page.state;
  return page.labels.lost[page.labels.status[task][ablation][checkpoint]];
}

function tableOfEdges(page, count = page.state.drawn) {
  return {
    caption: `Influence ± standard error, ${momentWords(page)}, strongest first`,
    head: ["Source", "Target", "Influence"],
    rows: edgesAt(page, count)
      .reverse()
      .map((edge) => [
        page.labels.component[edge.source],
        page.labels.component[edge.target],
        withError(edge.weight, edge.error),
      ]),
  };
}
