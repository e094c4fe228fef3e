// What Python packed (write.py): base64 of deflated bytes, those of numbers in order of their
// significance.

async function inflate(id) {
  const text = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream);
}

async function unpackText(id) {
  return (await inflate(id)).text();
}

async function unpackNumbers(id) {
  const planes = new Uint8Array(await (await inflate(id)).arrayBuffer());
  const count = planes.length / 4;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < 4; plane++) {
    for (let i = 0; i < count; i++) bytes[4 * i + plane] = planes[plane * count + i];
  }
  return new Float32Array(bytes.buffer);
}

// The numbers of one cell: get("weight", task, ablation, edge)[checkpoint].
function getter(labels, arrays) {
  return (name, ...at) => {
    const dims = labels.dims[name];
    let start = 0;
    let size = dims.reduce((product, dim) => product * dim, 1);
    at.forEach((index, place) => {
      size /= dims[place];
      start += index * size;
    });
    return arrays[name].subarray(start, start + size);
  };
}
