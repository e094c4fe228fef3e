// The same moment as a matrix, and its strongest edges as a list.

// The foremost edges beside the matrix, as a list that follows the moment.
function tellStrongest(page, edges) {
  const list = control("strongest");
  const items = edges
    .slice(-10)
    .reverse()
    .map((edge) => {
      const item = document.createElement("li");
      const [source, target] = [edge.source, edge.target].map((i) => page.labels.component[i]);
      const value = document.createElement("b");
      value.textContent = withError(edge.weight, edge.error);
      item.append(`${source} → ${target} `, value);
      return item;
    });
  list.replaceChildren(...items);
}

function drawHeatmap(page) {
  const { component } = page.labels;
  const n = component.length;
  const codes = Array.from(page.by("edge"));
  const rows = [...new Set(codes.map((code) => Math.floor(code / n)))].sort((a, b) => a - b);
  const columns = [...new Set(codes.map((code) => code % n))].sort((a, b) => a - b);
  const empty = (value) => rows.map(() => new Array(columns.length).fill(value));
  const [z, text] = [empty(null), empty("")];
  const edges = edgesAt(page, Infinity);
  const [rowOf, columnOf] = [rows, columns].map((ids) => new Map(ids.map((id, at) => [id, at])));
  for (const edge of edges) {
    const [row, column] = [rowOf.get(edge.source), columnOf.get(edge.target)];
    z[row][column] = edge.weight;
    text[row][column] = describeEdge(page, edge);
  }
  const width = Math.min(widthOf("heatmap"), 680);
  const narrow = width < 480;
  const sparse = n > 40;
  const ticks = (members) => {
    const every = sparse ? Math.ceil(members.length / 12) : 1;
    const shown = members.map((_, place) => place).filter((place) => place % every === 0);
    return { tickvals: shown, ticktext: shown.map((place) => plain(component[members[place]])) };
  };
  const word = (text, x, y, more) =>
    paperText(text, x, y, { font: { color: look.css("--soft"), size: 12 }, ...more });
  setTable("heatmap", () => tableOfEdges(page, Infinity));
  tellStrongest(page, edges);
  return show(
    "heatmap",
    [
      {
        type: "heatmap",
        z,
        text,
        hovertemplate: "%{text}<extra></extra>",
        hoverongaps: false,
        zmin: 0,
        zmax: largest(page),
        colorscale: look.scale,
        xgap: sparse ? 0 : 1,
        ygap: sparse ? 0 : 1,
        showscale: !narrow, // The film above has the same scale.
        colorbar: {
          title: { text: "influence" },
          thickness: 10,
          outlinewidth: 0,
          len: 0.9,
          nticks: 5,
          xpad: 8,
        },
      },
    ],
    look.layout({
      width,
      height: (width - (narrow ? 80 : 150)) * Math.min(1, rows.length / columns.length) + 94,
      margin: { l: 72, r: narrow ? 8 : 80, t: 84, b: 10 },
      annotations: [
        word("target", 0.5, 1, { yshift: 68, yanchor: "middle" }),
        word("source", 0, 0.5, { xshift: -64, textangle: -90, xanchor: "center" }),
      ],
      xaxis: look.axis({ side: "top", tickangle: -90, showgrid: false, ...ticks(columns) }),
      yaxis: look.axis({ autorange: "reversed", showgrid: false, ...ticks(rows) }),
    }),
  );
}
