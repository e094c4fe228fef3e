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
    .sort(([best], [other]) => other - best)
    .slice(0, COLOURED_HEADS)
    .map(([, i]) => i);
}

function drawHeads(page) {
  const { labels, state } = page;
  const heads = labels.component.map((_, i) => i).filter((i) => labels.kind[i] === "head");
  const coloured = foremostHeads(page, heads);
  const others = heads.filter((i) => !coloured.includes(i)).slice(0, GREY_HEADS);
  const { rows, cells } = stepGrid("head-figure", labels.behaviour.length);
  const x = labels.step.map(stepPlaces(labels));
  const legend = 60;
  const total = rows * 190 + legend;
  const inner = rows / (total - 24) * 190; // The part of the height that has panels.
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  labels.behaviour.forEach(({ score, name }, cell) => {
    const axes = panelAxes(cell);
    const { row, across } = cells[cell];
    const top = inner * (1 - row / rows);
    addStepPanel(layout, labels, cell, {
      across,
      up: [top - (inner / rows) * 0.8, top - (inner / rows) * 0.12],
      title: `<b>${plain(name)}</b>`,
      titleAt: top - (inner / rows) * 0.11,
      range: [score === "copying" ? -1.05 : -0.04, 1.05],
    });
    for (const i of [...others, ...coloured]) {
      const place = coloured.indexOf(i);
      const y = Array.from(page.get(score, state.task, i));
      const head = plain(labels.component[i]);
      const looks =
        place < 0
          ? { color: grey(0.3), width: 1 }
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
        }),
      );
    }
    layout.shapes.push(momentLine(x[state.checkpoint], { xref: axes.xaxis, yref: `${axes.yaxis} domain` }));
  });
  page.headLines = layout.shapes.length;
  labels.behaviour.forEach((_, cell) => {
    const { xaxis, yaxis } = panelAxes(cell);
    layout.shapes.push(rule(labels.threshold, { xref: `${xaxis} domain`, yref: yaxis }));
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
