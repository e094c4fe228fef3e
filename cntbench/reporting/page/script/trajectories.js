// Lines over training, and bands around them.

// A line with a text at each point; where a checkpoint stands alone between gaps, a point, for a
// line would not show it.
function line(trace) {
  const there = (i) => Number.isFinite(trace.y[i]);
  const size = trace.y.map((_, i) => (there(i) && !there(i - 1) && !there(i + 1) ? 7 : 0));
  return {
    ...trace,
    mode: "lines+markers",
    hovertemplate: "%{text}<extra></extra>",
    marker: { size, opacity: 1, color: trace.line.color, line: { width: 0 } },
  };
}

function band(x, low, high, colour, axes) {
  const looks = { mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  const common = { x, ...looks, ...axes };
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

// A band of two standard errors, or standard deviations, on either side.
function errorBand(x, value, error, colour, axes) {
  const edge = (sign) => value.map((v, i) => v + sign * 2 * error[i]);
  return bands(x, edge(-1), edge(1), colour, axes);
}

function faint(colour, share) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return `rgba(${r},${g},${b},${share})`;
}

// The colour of secondary text, for what is in the background.
function grey(share) {
  return faint(look.css("--soft"), share);
}
