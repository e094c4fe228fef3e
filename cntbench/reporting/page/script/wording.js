// Numbers as people write them, and text that Plotly must not take for markup.

const MINUS = "\u2212";

function number(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size === 0 || (size >= 0.001 && size < 1e5)
      ? Number(value.toPrecision(digits)).toString()
      : value.toExponential(digits - 1);
  return text.replace("-", MINUS);
}

// Scores from 0 to 1.
function fixed(value) {
  return Number.isFinite(value) ? value.toFixed(2) : "–";
}

// 0.62 ± 0.03: both with two decimals, or as many as show the error's first digit.
function withError(value, error) {
  if (!Number.isFinite(value)) return "–";
  if (!(error > 0)) return number(value);
  const decimals = Math.min(8, Math.max(2, Math.ceil(-Math.log10(error))));
  return `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`.replace("-", MINUS);
}

function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function spaced(name) {
  return plain(name).replace(/_/g, " ");
}
