"use strict";
// One image: every method's heatmap, and deletion and insertion step by step.

/** Say which cells of a map of steps show the image at a point of a curve: 1 or 0 each. */
function shownAt(steps, point, insertion) {
  return Float32Array.from(steps, (step) => Number((step <= point) === insertion));
}

/** Enlarge a square mask bilinearly, corners on corners. */
function enlarged(mask, res, size) {
  if (res === size) return mask;
  const wide = new Float32Array(size * size);
  if (mask.every((each) => each === 1)) return wide.fill(1); // weights add up to 1 but for rounding
  const near = new Int32Array(size);
  const far = new Int32Array(size);
  const weight = new Float32Array(size);
  for (let at = 0; at < size; at++) {
    const place = size > 1 ? (at * (res - 1)) / (size - 1) : 0;
    near[at] = Math.min(Math.floor(place), res - 1);
    far[at] = Math.min(near[at] + 1, res - 1);
    weight[at] = place - near[at];
  }
  for (let y = 0; y < size; y++) {
    const [above, below, down] = [near[y] * res, far[y] * res, weight[y]];
    for (let x = 0; x < size; x++) {
      const [left, right, across] = [near[x], far[x], weight[x]];
      const upper = mask[above + left] * (1 - across) + mask[above + right] * across;
      const lower = mask[below + left] * (1 - across) + mask[below + right] * across;
      wide[y * size + x] = upper * (1 - down) + lower * down;
    }
  }
  return wide;
}

/** Mix two pictures, four bytes a pixel: a mask of 1 shows the image, of 0 what hides it. */
function composite(image, hidden, mask) {
  const mixed = new Uint8ClampedArray(image.length);
  for (let at = 0; at < image.length; at++) {
    const kept = mask[at >> 2];
    mixed[at] = hidden[at] + kept * (image[at] - hidden[at]);
  }
  return mixed;
}

/** Lay a heatmap of bytes over a picture, its cells enlarged without smoothing. */
function overlaid(image, size, heatmap, res, strength, colours) {
  const mixed = new Uint8ClampedArray(image.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const cell = Math.floor((y * res) / size) * res + Math.floor((x * res) / size);
      const [to, from] = [4 * (y * size + x), 3 * heatmap[cell]];
      for (let part = 0; part < 3; part++) {
        mixed[to + part] = (1 - strength) * image[to + part] + strength * colours[from + part];
      }
      mixed[to + 3] = 255;
    }
  }
  return mixed;
}

/** Read a picture: four bytes a pixel, and how many pixels its side has. */
async function pixels(url) {
  const picture = new Image();
  await new Promise((resolve, reject) => {
    picture.onload = resolve;
    picture.onerror = () => reject(new Error("a picture cannot be read"));
    picture.src = url;
  });
  const canvas = document.createElement("canvas");
  const size = (canvas.width = canvas.height = picture.naturalWidth);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return { data: context.getImageData(0, 0, size, size).data, size };
}

function paint(canvas, data, size) {
  if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(new ImageData(data, size, size), 0, 0);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Show one method; returns what paints its heatmap, and its curve at a step. */
async function card(label, method, image) {
  const made = document.getElementById("card").content.cloneNode(true).firstElementChild;
  const find = (selector) => made.querySelector(selector);
  const kept = async (number) => pixels(await load(`pictures/${number}`));
  const heatmap = await pixels(method.heatmap);
  const levels = heatmap.data.filter((_, at) => at % 4 === 0);
  const curves = {};
  for (const metric of ["deletion", "insertion"]) {
    if (!method[metric]) continue;
    curves[metric] = { ...method[metric] };
    if (method[metric].without !== undefined) continue;
    const [hidden, steps] = [await kept(method[metric].substrate), await kept(method[metric].steps)];
    const order = new Uint16Array(steps.size * steps.size);
    for (let at = 0; at < order.length; at++) order[at] = steps.data[4 * at] * 256 + steps.data[4 * at + 1];
    Object.assign(curves[metric], { hidden: hidden.data, order, res: steps.size });
  }
  find("h2").textContent = label;
  find(".overlay").setAttribute("aria-label", `Heatmap of ${label}`);
  const [, under, beside] = made.querySelectorAll("figcaption");
  const [, shown, drawn] = made.querySelectorAll("figure");

  const x = (share) => 22 + 304 * share;
  const y = (score) => 102 - 96 * score;
  return {
    made,
    curves,
    paintOverlay(strength, colours) {
      paint(find(".overlay"), overlaid(image.data, image.size, levels, heatmap.size, strength, colours), image.size);
    },
    paintStep(metric, step) {
      const curve = curves[metric];
      shown.hidden = drawn.hidden = !curve;
      if (!curve) return;
      const point = Math.min(step, curve.scores.length - 1);
      const [score, share] = [curve.scores[point], curve.fractions[point]];
      const done = `${percent(share)} of the cells ${metric === "deletion" ? "removed" : "shown"}`;
      const words = `score ${score.toFixed(4)} with ${done}`;
      if (curve.order) {
        const mask = enlarged(shownAt(curve.order, point, metric === "insertion"), curve.res, image.size);
        paint(find(".composite"), composite(image.data, curve.hidden, mask), image.size);
        under.textContent = `score ${score.toFixed(4)}`;
      } else {
        under.textContent = curve.without;
      }
      find(".composite").setAttribute("aria-label", `Image of ${label}: ${words}`);
      find("svg").setAttribute("aria-label", `Curve of ${metric} of ${label}: ${words}`);
      find(".line").setAttribute("d", "M" + curve.scores.map((each, at) =>
        `${x(curve.fractions[at]).toFixed(1)} ${y(each).toFixed(1)}`).join("L"));
      find(".mark").setAttribute("d", `M${x(share)} 6V102`);
      find("circle").setAttribute("cx", x(share));
      find("circle").setAttribute("cy", y(score));
      beside.textContent = `${metric} ${curve.value === null ? "–" : curve.value.toFixed(4)}`;
    },
  };
}

function start() {
  const form = document.querySelector("form");
  const cards = document.getElementById("cards");
  const colours = Uint8Array.from(COLOURS.match(/../g), (each) => parseInt(each, 16));
  let all = [];
  let latest = 0; // image asked for

  function paintSteps() {
    const metric = form.elements.metric.value;
    const known = all.map(({ curves }) => curves[metric]).filter(Boolean);
    const slider = form.elements.step;
    slider.max = Math.max(0, ...known.map(({ scores }) => scores.length - 1));
    const step = Number(slider.value);
    const share = known.length ? known[0].fractions[Math.min(step, known[0].fractions.length - 1)] : 0;
    const words = `${percent(share)} ${metric === "deletion" ? "removed" : "shown"}`;
    form.elements.share.value = words;
    slider.setAttribute("aria-valuetext", words);
    all.forEach((each) => each.paintStep(metric, step));
  }

  function paintOverlays() {
    all.forEach((each) => each.paintOverlay(form.elements.strength.value / 100, colours));
  }

  function link(name, group, at, known) {
    const place = document.getElementById(name);
    if (known) place.href = `#${group}.${at}`;
    else place.removeAttribute("href");
  }

  async function open() {
    const turn = ++latest;
    const trouble = document.getElementById("trouble");
    const [group, at] = location.hash.slice(1).split(".").map(Number);
    try {
      if (!Number.isInteger(group) || !Number.isInteger(at)) throw new Error("Choose an image in the gallery.");
      const [index, view] = await Promise.all([load(`${group}/index`), load(`${group}/${at}`)]);
      const image = await pixels(await load(`pictures/${view.image}`));
      const made = await Promise.all(view.methods.map((each, place) => card(index.methods[place], each, image)));
      if (turn !== latest) return; // another was asked for meanwhile
      trouble.textContent = "";
      all = made;
      document.getElementById("name").textContent = document.title = index.ids[at];
      document.getElementById("told").textContent = told(index, at);
      document.getElementById("back").href = `gallery.html#${group}`;
      link("earlier", group, at - 1, at > 0);
      link("later", group, at + 1, at + 1 < index.ids.length);
      cards.replaceChildren(...made.map((each) => each.made));
      paintOverlays();
      paintSteps();
    } catch (error) {
      trouble.textContent = error.message;
    }
  }

  const stale = new Set(); // what the next frame paints
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    stale.add(event.target.name === "strength" ? paintOverlays : paintSteps);
    requestAnimationFrame(() => {
      stale.forEach((each) => each());
      stale.clear();
    });
  });
  addEventListener("hashchange", open);
  open();
}

if (typeof document !== "undefined") start();
else module.exports = { composite, enlarged, overlaid, shownAt };
