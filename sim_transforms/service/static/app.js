// The search page: what is asked stands in the address, so that back, forward and links work.

const at = (id) => document.getElementById(id);
const made = (tag, properties = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
};
const path = (id) => id.split("/").map(encodeURIComponent).join("/");
let served = "";
let upload = null;
let turn = 0;

class Refused extends Error {}

async function call(url, options = {}) {
  const key = sessionStorage.getItem("ruiji-key");
  const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
  const answer = await fetch(url, { ...options, headers });
  if (answer.status === 401) {
    await askForKey();
    return call(url, options);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Refused(told?.error?.message ?? `the service answers ${answer.status}`);
  }
  return answer;
}

const json = async (url, options) => (await call(url, options)).json();

function askForKey() {
  const dialog = at("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("ruiji-key", at("key").value);
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

// What is asked: {item, where, k, compare}; an upload is kept beside it, since an address cannot hold it.
const asked = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const address = (wanted) => {
  const set = Object.entries(wanted).filter(([, value]) => value !== "" && value !== undefined);
  return `#${new URLSearchParams(set)}`;
};

function question(wanted, version) {
  const k = Number(wanted.k || 24);
  const more = version ? { version } : {};
  if (wanted.upload && upload) {
    const form = new FormData();
    form.append("media", upload);
    for (const [name, value] of Object.entries({ k, where: wanted.where, ...more })) if (value) form.append(name, value);
    return ["/search", { method: "POST", body: form }];
  }
  const body = { queries: [{ item_id: wanted.item }], k, where: wanted.where || null, ...more };
  return ["/search", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }];
}

async function show() {
  const wanted = asked();
  const mine = ++turn;
  at("item").value = wanted.item ?? "";
  at("where").value = wanted.where ?? "";
  at("k").value = wanted.k ?? 24;
  at("compare").value = wanted.compare ?? "";
  at("problem").textContent = "";
  if (!wanted.item && !(wanted.upload && upload)) return browse(wanted, mine);
  at("status").textContent = "Searching";
  try {
    const began = performance.now();
    const versions = wanted.compare ? ["", wanted.compare] : [""];
    const answers = await Promise.all(versions.map((version) => json(...question(wanted, version))));
    if (mine !== turn) return;
    const took = Math.round(performance.now() - began);
    await draw(wanted, answers, took);
  } catch (error) {
    fail(error, mine);
  }
}

async function browse(wanted, mine) {
  try {
    const found = await json(`/items?${new URLSearchParams({ limit: 48, ...(wanted.where ? { where: wanted.where } : {}) })}`);
    if (mine !== turn) return;
    at("asked").replaceChildren();
    const cards = found.items.map((item) => card({ ...item, distance: null }, wanted));
    at("answers").replaceChildren(made("h2", { textContent: "Items to begin with" }), list(cards));
    at("status").textContent = `${found.total.toLocaleString("en")} items; the first ${found.items.length} are shown`;
  } catch (error) {
    fail(error, mine);
  }
}

function fail(error, mine) {
  if (mine !== turn) return;
  at("asked").replaceChildren();
  at("answers").replaceChildren();
  at("status").textContent = "";
  at("problem").textContent = error instanceof Refused ? error.message : "The service cannot be reached.";
}

async function draw(wanted, answers, took) {
  at("asked").replaceChildren(made("h2", { textContent: "Near to" }), query(wanted));
  const [first, second] = answers.map((answer) => answer.results[0]);
  const told = (result) => result.matches.map((match) => match.item_id);
  if (!second) {
    at("answers").replaceChildren(...column("Neighbours", first, wanted, null));
  } else {
    const columns = [
      made("div", {}, ...column(`In ${answers[0].version}`, first, wanted, told(second))),
      made("div", {}, ...column(`In ${answers[1].version}`, second, wanted, told(first))),
    ];
    at("answers").replaceChildren(made("div", { className: "pair" }, ...columns));
  }
  const both = second ? `, ${told(first).filter((id) => told(second).includes(id)).length} of them in both versions` : "";
  at("status").textContent = `${first.matches.length} neighbours in ${took} ms${both}`;
}

function column(title, result, wanted, other) {
  const parts = [made("h2", { textContent: title })];
  if (result.no_match) {
    const far = result.matches.length ? "the nearest are farther than what counts as alike" : "no item is left";
    parts.push(made("p", { className: "none", textContent: `No match: ${far}.` }));
  }
  const cards = result.matches.map((match) => card(match, wanted, other && !other.includes(match.item_id)));
  return [...parts, list(cards)];
}

const list = (cards) => made("ol", {}, ...cards.map((entry) => made("li", {}, entry)));

function card(match, wanted, isNew = false) {
  const { upload: _, ...kept } = wanted;
  const link = made("a", { className: isNew ? "card new" : "card", href: address({ ...kept, item: match.item_id }) });
  link.append(picture(match.item_id), made("span", { className: "name", textContent: match.item_id }));
  if (match.distance !== null) {
    const place = match.offset === undefined ? "" : ` at ${match.offset.toFixed(1)} s`;
    link.append(made("span", { className: "far", textContent: `${match.distance.toFixed(4)}${place}` }));
  }
  if (isNew) link.append(made("span", { className: "quiet", textContent: "in this version only" }));
  const facts = Object.entries(match.metadata).filter(([, value]) => value !== null && value !== "");
  const told = facts.flatMap(([name, value]) => [made("dt", { textContent: name }), made("dd", { textContent: value })]);
  if (told.length) link.append(made("dl", {}, ...told));
  return link;
}

function picture(id) {
  const image = made("img", { alt: "", loading: "lazy", hidden: true });
  call(`/pictures/${path(id)}`).then(async (answer) => {
    image.src = URL.createObjectURL(await answer.blob());
    image.hidden = false;
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  }).catch(() => image.remove());
  return image;
}

function query(wanted) {
  if (!wanted.upload || !upload) return made("div", { className: "card" }, picture(wanted.item), made("span", { className: "name", textContent: wanted.item }));
  const shown = upload.type.startsWith("image/") ? made("img", { alt: "what was uploaded", src: URL.createObjectURL(upload) }) : "";
  const heard = upload.type.startsWith("audio/") ? made("audio", { controls: true, src: URL.createObjectURL(upload) }) : "";
  return made("div", { className: "card" }, shown, heard, made("span", { className: "name", textContent: upload.name || "recording" }));
}

function go(wanted) {
  const target = address(wanted);
  if (location.hash === target) show();
  else location.hash = target;
}

const given = () => ({ where: at("where").value.trim(), k: at("k").value, compare: at("compare").value });

function search(file) {
  upload = file;
  go({ ...given(), upload: `${Date.now()}` });
}

at("query").addEventListener("submit", (event) => {
  event.preventDefault();
  const item = at("item").value.trim();
  const { upload: before } = asked();
  go({ ...given(), ...(item ? { item } : before ? { upload: before } : {}) });
  at("results").focus();
});
at("media").addEventListener("change", (event) => event.target.files[0] && search(event.target.files[0]));
addEventListener("hashchange", show);
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragged"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragged"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragged");
  if (event.dataTransfer.files[0]) search(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => event.clipboardData.files[0] && search(event.clipboardData.files[0]));

let typed;
at("item").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(suggest, 150);
});

async function suggest() {
  const begun = at("item").value.trim().replaceAll("'", "''");
  if (!begun) return;
  // Text is compared by code points, so that what begins with it lies between it and it with the last of them.
  const where = `item_id >= '${begun}' AND item_id <= '${begun}\u{10FFFF}'`;
  const found = await json(`/items?${new URLSearchParams({ where, limit: 20 })}`).catch(() => ({ items: [] }));
  at("items").replaceChildren(...found.items.map((item) => made("option", { value: item.item_id })));
}

if (navigator.mediaDevices?.getUserMedia && window.MediaRecorder) {
  let recorder = null;
  at("record").hidden = false;
  at("record").addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const pieces = [];
      recorder = new MediaRecorder(stream);
      recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        at("record").textContent = "Record";
        search(new File(pieces, "recording", { type: recorder.mimeType }));
        recorder = null;
      });
      recorder.start();
      at("record").textContent = "Stop and search";
    } catch {
      at("problem").textContent = "The microphone cannot be used.";
    }
  });
}

async function begin() {
  try {
    const [told, items] = await Promise.all([json("/versions"), json("/items?limit=1")]);
    served = told.served;
    const now = told.versions.find((version) => version.served);
    at("version").textContent = `version ${served}${now ? `, ${now.items.toLocaleString("en")} items, ${now.created.slice(0, 10)}` : ""}`;
    const others = told.versions.filter((version) => !version.served).reverse();
    at("compare").append(...others.map((version) => made("option", { value: version.version, textContent: `${version.version} (${version.created.slice(0, 10)})` })));
    const columns = Object.keys(items.items[0]?.metadata ?? {});
    if (columns.length) at("columns").textContent = `as ${columns[0]} = '...'; columns: ${columns.join(", ")}`;
  } catch (error) {
    fail(error, turn);
    return;
  }
  show();
}

begin();
