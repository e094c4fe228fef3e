// What ablating each component does at one moment.

// What a head does now, by its scores; "positional" only if nothing more telling.
function does(page, i) {
  const { behaviour, threshold } = page.labels;
  return behaviour
    .map(({ score, name }) => [name, page.score(score, i)])
    .filter(([, value]) => value >= threshold)
    .filter(([name], _, all) => name !== "positional" || all[0][0] === name);
}

function drawEffects(page) {
  const { labels, state } = page;
  const value = (ablation, i, name = "effect") =>
    page.get(name, state.task, ablation, i)[state.checkpoint];
  const size = labels.component.map((_, i) =>
    Math.max(0, ...labels.ablation.map((_, a) => Math.abs(value(a, i)) || 0)),
  );
  const chosen = size
    .map((_, i) => i)
    .filter((i) => size[i] > 0)
    .sort((a, b) => size[b] - size[a])
    .slice(0, 12);
  const shift = (a) =>
    ((a - (labels.ablation.length - 1) / 2) * 0.62) / Math.max(labels.ablation.length, 3);
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
  const score = (i) => does(page, i).map(([name, value]) => `${name} ${fixed(value)}`).join(", ");
  const traces = labels.ablation.map((name, a) => ({
    mode: "markers",
    name: plain(name),
    x: chosen.map((i) => value(a, i)),
    y: chosen.map((_, row) => row + shift(a)),
    error_x: {
      type: "data",
      array: chosen.map((i) => 2 * value(a, i, "effect_error")),
      color: look.category(a),
      thickness: 1.5,
      width: 0,
    },
    marker: { color: look.category(a), size: 9, symbol: symbols[a % symbols.length] },
    text: chosen.map(
      (i) =>
        `${plain(labels.component[i])}, ${plain(name)} ablation: ${withError(value(a, i), value(a, i, "effect_error"))}`,
    ),
    hovertemplate: "%{text}<extra></extra>",
  }));
  setTable("effect-figure", () => ({
    caption: `Change of the logit difference ± standard error, ${momentWords(page, true)}`,
    head: ["Component", ...labels.ablation, ...labels.behaviour.map(({ name }) => name)],
    rows: chosen.map((i) => [
      labels.component[i],
      ...labels.ablation.map((_, a) => withError(value(a, i), value(a, i, "effect_error"))),
      ...labels.behaviour.map((behaviour) => fixed(page.score(behaviour.score, i))),
    ]),
  }));
  const narrow = widthOf("effect-figure") < 480;
  const lost = chosen.length ? [] : [paperText("No effects were measured here", 0.5, 0.5)];
  const tick = (i) =>
    plain(labels.component[i]) +
    (score(i)
      ? `<br><span style="font-size:11px;color:${look.css("--soft")}">${score(i)}</span>`
      : "");
  return show(
    "effect-figure",
    traces,
    look.layout({
      height: Math.max(chosen.length, 3) * 36 + 110,
      showlegend: labels.ablation.length > 1,
      legend: legendAbove(1.01),
      margin: { l: 122, r: 14, t: narrow ? 70 : 34, b: 44 },
      annotations: lost,
      xaxis: look.axis({
        title: {
          text: narrow ? "change [nat]" : "change of the logit difference [nat]",
          standoff: 6,
        },
        zeroline: true,
        zerolinecolor: look.css("--soft"),
        zerolinewidth: 1,
      }),
      yaxis: look.axis({
        range: [Math.max(chosen.length, 1) - 0.4, -0.6],
        tickvals: chosen.map((_, row) => row),
        ticktext: chosen.map(tick),
      }),
    }),
  );
}
