// What heads do over training, by their scores.

const GREY_HEADS = 24; // Of the others, at most so many are drawn.
const COLOURED_HEADS = 7;

// The heads whose best score at the end is at least the threshold, the clearest first.
function foremostHeads(page, heads) {
  const { behaviour, threshold } = page.labels;
  const last = (name, i) => page.get(name, page.state.task, i).findLast(Number.isFinite) ?? -1;
  return heads
    .map((i) => [Math.max(...behaviour.map(({ score }) => last(score, i))), i])
    .filter(([best]) => best >= threshold)
    .sort((one, other) => other[0] - one[0])
    .slice(0, COLOURED_HEADS)
    .map(([, i]) => i);
}

function drawHeads(page) {
  const { labels, state } = page;
  const heads = labels.component.map((_, i) => i).filter((i) => labels.kind[i] === "head");
  const coloured = foremostHeads(page, heads);
  const others = heads.filter((i) => !coloured.includes(i)).slice(0, GREY_HEADS);
  const width = widthOf("head-figure");
  const columns = width < 560 ? 1 : width < 900 ? 2 : 3;
  const rows = Math.ceil(labels.behaviour.length / columns);
  const x = labels.step.map(stepPlaces(labels));
  const gap = 62 / width;
  const wide = (1 - gap * (columns - 1)) / columns;
  const legend = 60;
  const total = rows * 190 + legend;
  const inner = rows / (total - 24) * 190; // The part of the height that has panels.
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  labels.behaviour.forEach(({ score, name }, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const suffix = cell ? String(cell + 1) : "";
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const left = column * (wide + gap);
    const top = inner * (1 - row / rows);
    layout[`xaxis${suffix}`] = stepAxis(labels, true, {
      domain: [left, left + wide],
      anchor: `y${suffix}`,
      tickfont: { size: 11 },
    });
    layout[`yaxis${suffix}`] = look.axis({
      domain: [top - (inner / rows) * 0.8, top - (inner / rows) * 0.12],
      anchor: `x${suffix}`,
      range: [score === "copying" ? -1.05 : -0.04, 1.05],
      nticks: 4,
      tickfont: { size: 11 },
    });
    layout.annotations.push(panelTitle(`<b>${plain(name)}</b>`, left, top - (inner / rows) * 0.11));
    for (const i of [...others, ...coloured]) {
      const place = coloured.indexOf(i);
      const y = Array.from(page.get(score, state.task, i));
      const head = plain(labels.component[i]);
      const looks =
        place < 0
          ? { color: faint(look.dark ? "#b0b5be" : "#565b64", 0.3), width: 1 }
          : { color: look.category(place), width: 2.2, dash: look.dash(place) };
      traces.push(
        line({
          x,
          y,
          ...axes,
          line: looks,
          name: head,
          legendgroup: head,
          showlegend: place >= 0 && cell === 0,
          text: y.map((v, c) => `${head}, step ${labels.step[c]}<br>${plain(name)} ${fixed(v)}`),
          hovertemplate: "%{text}<extra></extra>",
        }),
      );
    }
    layout.shapes.push(momentLine(x[state.checkpoint], { xref: `x${suffix}`, yref: `y${suffix} domain` }));
  });
  page.headLines = layout.shapes.length;
  labels.behaviour.forEach((_, cell) => {
    const suffix = cell ? String(cell + 1) : "";
    layout.shapes.push({
      ...momentLine(0, { xref: `x${suffix} domain`, yref: `y${suffix}` }),
      x0: 0,
      x1: 1,
      y0: labels.threshold,
      y1: labels.threshold,
      line: { color: look.css("--soft"), width: 1, dash: "dot" },
    });
  });
  setTable("head-figure", () => ({
    caption: `Scores of heads, ${momentWords(page, true)}`,
    head: ["Head", ...labels.behaviour.map(({ name }) => name)],
    rows: heads.map((i) => [
      labels.component[i],
      ...labels.behaviour.map(({ score }) => fixed(page.score(score, i))),
    ]),
  }));
  return show(
    "head-figure",
    traces,
    look.layout({
      ...layout,
      height: total,
      showlegend: coloured.length > 0,
      legend: legendAbove(inner + 0.01),
      margin: { l: 46, r: 12, t: 4, b: 20 },
    }),
  );
}
