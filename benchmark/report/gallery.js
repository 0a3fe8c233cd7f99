"use strict";
// Images by methods: filtered, ordered, and shown a page at a time.

const AT_ONCE = 40; // images of a page

const ORDERS = {
  manifest: "",
  disagree: "By the standard deviation over methods of insertion − deletion.",
  adversarial: "By the largest 1 − (deletion + insertion) / score of any method: what it marks lowers the " +
    "score when it is removed, but does not bring it back when it is shown.",
  difference: "By the absolute difference of two methods in one metric.",
};

/** Order images, the places in the lists of an index; those without a value come last. */
function ordered(index, places, order, first, second, metric) {
  if (order === "manifest") return places;
  const worth = (at) => {
    if (order === "difference") {
      const [one, other] = [first, second].map((each) => index.values[metric]?.[each]?.[at] ?? null);
      return one === null || other === null ? -1 : Math.abs(one - other);
    }
    if (order === "adversarial") {
      const known = index.excess.map((each) => each[at]).filter((value) => value !== null);
      return known.length ? Math.max(...known) : -Infinity;
    }
    const pairs = index.methods
      .map((_, each) => ["deletion", "insertion"].map((name) => index.values[name]?.[each]?.[at] ?? null))
      .filter((pair) => !pair.includes(null));
    if (!pairs.length) return -Infinity;
    const apart = pairs.map(([down, up]) => up - down);
    const mean = apart.reduce((sum, each) => sum + each, 0) / apart.length;
    return Math.sqrt(apart.reduce((sum, each) => sum + (each - mean) ** 2, 0) / apart.length);
  };
  const worths = new Map(places.map((at) => [at, worth(at)]));
  return [...places].sort((one, other) => worths.get(other) - worths.get(one) || one - other);
}

/** Choose images by class, prediction, confidence and text. */
function filtered(index, wanted) {
  const text = wanted.text.trim().toLowerCase();
  return index.ids.map((_, at) => at).filter((at) =>
    (wanted.target === "" || index.target[at] === Number(wanted.target)) &&
    (wanted.correct === "" || index.correct[at] === Number(wanted.correct)) &&
    index.confidence[at] >= wanted.from && index.confidence[at] <= wanted.to &&
    (!text || [index.ids[at], index.classes[index.target[at]], index.classes[index.predicted[at]]]
      .some((each) => each.toLowerCase().includes(text))));
}

/** Write what a method came to on an image. */
function scores(index, method, at) {
  return index.metrics.filter(({ name }) => index.values[name]?.[method])
    .map(({ name }) => [name, index.values[name][method][at]])
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.slice(0, 3)} ${value.toFixed(3)}`).slice(0, 2);
}

function options(select, texts, values) {
  select.replaceChildren(...texts.map((text, at) => new Option(text, values[at])));
}

function start() {
  const form = document.querySelector("form");
  const rows = document.getElementById("rows");
  const pages = document.getElementById("pages");
  const field = (name) => form.elements[name];
  let index = null;
  let page = 0;

  function row(at) {
    const made = document.getElementById("row").content.cloneNode(true);
    const link = `image.html#${field("group").value}.${at}`;
    const [name, around] = made.querySelectorAll("a");
    name.textContent = index.ids[at];
    made.querySelector(".told").textContent = told(index, at);
    made.querySelector(".wide").setAttribute("aria-label", `Heatmaps of ${index.ids[at]}`);
    const list = made.querySelector("ol");
    list.style.gridTemplateColumns = `repeat(${index.methods.length + 1}, ${THUMB}px)`;
    if (index.pictured[at]) {
      const picture = made.querySelector("img");
      name.href = around.href = link;
      picture.width = THUMB * (index.methods.length + 1);
      picture.height = THUMB;
      picture.alt = `${index.ids[at]}, then the heatmaps of ${index.methods.join(", ")}`;
      picture.src = `data/${field("group").value}/${at}.jpg`;
    } else {
      around.replaceChildren("no pictures");
    }
    list.append(...["image", ...index.methods].map((method, place) => {
      const item = document.createElement("li");
      const title = document.createElement("b");
      title.textContent = item.title = method;
      const lines = place ? scores(index, place - 1, at) : [];
      item.append(title, ...lines.map((line) => {
        const span = document.createElement("span");
        span.textContent = line;
        return span;
      }));
      return item;
    }));
    return made;
  }

  function show() {
    const wanted = Object.fromEntries(new FormData(form));
    const places = ordered(index, filtered(index, { ...wanted, from: Number(wanted.from), to: Number(wanted.to) }),
      wanted.order, Number(wanted.first), Number(wanted.second), wanted.metric);
    const last = Math.max(0, Math.ceil(places.length / AT_ONCE) - 1);
    page = Math.min(page, last);
    document.getElementById("pair").hidden = wanted.order !== "difference";
    document.getElementById("meaning").textContent = ORDERS[wanted.order];
    document.getElementById("found").textContent = `${places.length} of ${index.ids.length} images`;
    rows.replaceChildren(...places.slice(page * AT_ONCE, (page + 1) * AT_ONCE).map(row));
    pages.hidden = last === 0;
    pages.querySelector("span").textContent = `page ${page + 1} of ${last + 1}`;
    pages.querySelector("[name=earlier]").disabled = page === 0;
    pages.querySelector("[name=later]").disabled = page === last;
  }

  async function open() {
    try {
      index = await load(`${field("group").value}/index`);
    } catch (error) {
      document.getElementById("found").textContent = error.message;
      return;
    }
    const named = [...new Set(index.target)].sort((a, b) => a - b);
    options(field("target"), ["all", ...named.map((each) => index.classes[each])], ["", ...named]);
    for (const name of ["first", "second"]) options(field(name), index.methods, [...index.methods.keys()]);
    field("second").selectedIndex = Math.min(1, index.methods.length - 1);
    options(field("metric"), index.metrics.map(({ name }) => name), index.metrics.map(({ name }) => name));
    page = 0;
    show();
  }

  function turn(by) {
    page += by;
    show();
    rows.scrollIntoView();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    page = 0;
    if (event.target.name === "group") location.hash = event.target.value;
    else if (index) show();
  });
  pages.querySelector("[name=earlier]").addEventListener("click", () => turn(-1));
  pages.querySelector("[name=later]").addEventListener("click", () => turn(1));
  const choose = () => {
    const group = Number(location.hash.slice(1)) || 0;
    field("group").value = field("group").options[group] ? group : 0;
    if (field("group").options.length) open();
  };
  addEventListener("hashchange", choose);
  choose();
}

if (typeof document !== "undefined") start();
else module.exports = { filtered, ordered, scores };
