// The page inside a published version. Its data are scripts beside it, which call the functions of `ruiji` below, so
// that it works in a bucket and in a folder alike. What is shown stands in the address: back, forward and links work.
"use strict";

(() => {
  const START = 48;
  const BLOCKS = 6;
  const SUGGESTED = 12;

  const at = (id) => document.getElementById(id);
  const made = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };
  // Text of the catalog's: set apart, because it may run from right to left.
  const told = (tag, text, className = "") => made(tag, { className, dir: "auto", textContent: text });

  const arrived = new Map();
  const loading = new Map();
  let about = null;
  let ids = [];
  let lowered = [];
  let rowOf = new Map();
  let turn = 0;

  const chunkName = (kind, chunk) => `${kind}/${String(chunk).padStart(6, "0")}.js`;
  globalThis.ruiji = {
    ids: (described, list) => arrived.set("ids.js", [described, list]),
    rows: (chunk, list) => arrived.set(chunkName("rows", chunk), list),
    pictures: (chunk, list) => arrived.set(chunkName("pictures", chunk), list),
  };

  function load(name) {
    if (!loading.has(name)) {
      loading.set(name, new Promise((resolve, reject) => {
        const script = made("script", { src: name });
        const end = () => {
          script.remove();
          if (arrived.has(name)) return resolve(arrived.get(name));
          loading.delete(name);
          return reject(new Error(`${name}, a file of this page, cannot be read.`));
        };
        script.addEventListener("load", end);
        script.addEventListener("error", end);
        document.head.append(script);
      }));
    }
    return loading.get(name);
  }

  async function entryOf(row, kind) {
    const list = await load(chunkName(kind, Math.floor(row / about[kind])));
    return list[row % about[kind]];
  }

  async function itemOf(row) {
    const [id, values, rows, distances] = await entryOf(row, "rows");
    const metadata = about.columns.map((name, place) => [name, values[place]]);
    return { row, id, metadata, rows, distances };
  }

  const labelOf = (item) => {
    const found = item.metadata.find(([name]) => name === "label");
    return found && found[1] !== null ? String(found[1]) : "";
  };

  // What is asked: {item, label} or {set}.
  const asked = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const address = (wanted) => {
    const set = Object.entries(wanted).filter(([, value]) => value !== "" && value !== undefined);
    return `#${new URLSearchParams(set)}`;
  };

  async function show() {
    const wanted = asked();
    const mine = ++turn;
    at("item").value = wanted.item ?? "";
    at("problem").textContent = at("hint").textContent = "";
    suggest([]);
    try {
      const found = wanted.item ? await neighbours(wanted) : await start(wanted);
      if (mine === turn) draw(found);
    } catch (error) {
      if (mine === turn) draw({ title: "", status: "", problem: error.message, asked: [], answers: [], labels: [] });
    }
  }

  function draw(found) {
    // Who was among the results has followed a link in them, and goes on there.
    const within = at("results").contains(document.activeElement);
    document.title = found.title ? `${found.title} - Ruiji` : "Ruiji: browse by likeness";
    at("asked").replaceChildren(...found.asked);
    at("answers").replaceChildren(...found.answers);
    at("status").textContent = found.status;
    at("problem").textContent = found.problem ?? "";
    const options = found.labels.map(([label, count]) => new Option(`${label} (${count})`, label));
    at("label").replaceChildren(new Option("any", ""), ...options);
    at("label").value = found.label ?? "";
    at("label-field").hidden = !found.labels.length;
    if (within) {
      scrollTo(0, 0);
      at("results").focus({ preventScroll: true });
    }
  }

  async function neighbours(wanted) {
    const row = rowOf.get(wanted.item);
    if (row === undefined) throw new Error(`This version holds no item ${JSON.stringify(wanted.item)}.`);
    const own = await itemOf(row);
    const near = await Promise.all(own.rows.map(itemOf));
    const labels = new Map();
    near.map(labelOf).filter(Boolean).forEach((label) => labels.set(label, (labels.get(label) ?? 0) + 1));
    if (wanted.label && !labels.has(wanted.label)) labels.set(wanted.label, 0);
    const cards = near.flatMap((item, place) => (
      wanted.label && labelOf(item) !== wanted.label ? [] : [card(item, wanted, own.distances[place])]
    ));
    const answers = [made("h2", { textContent: about.clips ? "Nearest clips of other sounds" : "Neighbours" })];
    if (!near.length) answers.push(note("There is no other item."));
    else if (isBeyond(own.distances[0])) answers.push(note("No match: the nearest are farther than what counts as alike."));
    if (near.length && !cards.length) answers.push(note("No neighbour has this label."));
    const shown = wanted.label ? `${cards.length} of ${near.length} neighbours have this label` : `${near.length} neighbours`;
    return {
      title: wanted.item,
      status: shown,
      asked: [made("h2", { textContent: "Near to" }), query(own)],
      answers: [...answers, list(cards)],
      label: wanted.label,
      labels: [...labels].sort(([one], [other]) => one.localeCompare(other, "en", { numeric: true })),
    };
  }

  async function start(wanted) {
    const set = Math.max(0, Math.floor(Number(wanted.set)) || 0);
    const rows = about.items <= START ? [...rowOf.values()] : spread(set);
    const cards = (await Promise.all(rows.map(itemOf))).map((item) => card(item, {}, null));
    const answers = [made("h2", { textContent: "Items to begin with" }), list(cards)];
    if (!about.items) answers.splice(1, 1, note("This version holds no item."));
    if (about.items > START) answers.push(made("a", { className: "button", href: address({ set: set + 1 }), textContent: "Other items" }));
    const all = about.items.toLocaleString("en");
    const status = about.items > START ? `${rows.length} of ${all} items; choose one to see what is near to it` : `${all} items`;
    return { title: "", status, asked: [], answers, labels: [] };
  }

  // Rows of some items from all over the version: like items lie side by side in it. Few chunks, so that few are fetched.
  function spread(set) {
    const size = about.pictures || about.rows;
    const chunks = Math.ceil(ids.length / size);
    const blocks = Math.min(BLOCKS, chunks);
    const each = Math.ceil(START / blocks);
    const rows = [];
    for (let block = 0; block < blocks; block += 1) {
      const chunk = (Math.floor((block * chunks) / blocks) + set) % chunks;
      const here = [];
      for (let row = chunk * size; row < Math.min(ids.length, (chunk + 1) * size); row += 1) {
        if (ids[row] !== null) here.push(row);
      }
      const count = Math.min(each, here.length);
      for (let place = 0; place < count; place += 1) {
        rows.push(here[(Math.floor((place * here.length) / count) + set) % here.length]);
      }
    }
    return rows;
  }

  const note = (text) => made("p", { className: "none", textContent: text });
  const list = (cards) => made("ol", {}, ...cards.map((entry) => made("li", {}, entry)));
  const isBeyond = (distance) => about.max_distance !== null && distance > about.max_distance;

  function card(item, wanted, distance) {
    const { set: _, ...kept } = wanted;
    const link = made("a", { className: "card", href: address({ ...kept, item: item.id }) });
    link.append(...picture(item), told("span", item.id, "name"));
    if (distance !== null) {
      link.append(made("span", { className: "far", textContent: distance.toFixed(4) }));
      if (isBeyond(distance)) {
        link.classList.add("beyond");
        link.append(made("span", { className: "quiet", textContent: "no match: too far" }));
      }
    }
    link.append(...facts(item));
    return link;
  }

  function query(item) {
    const inside = made("div", { className: "facts" }, told("span", item.id, "name"), ...facts(item));
    return made("div", { className: "card" }, ...picture(item), inside);
  }

  function facts(item) {
    const known = item.metadata.filter(([, value]) => value !== null && value !== "");
    return known.length ? [made("dl", {}, ...known.flatMap(([name, value]) => [told("dt", name), told("dd", value)]))] : [];
  }

  function picture(item) {
    if (!about.pictures) return [];
    const place = made("div", { className: "picture" });
    entryOf(item.row, "pictures").then((data) => {
      if (data !== null) place.append(made("img", { alt: "", src: `data:image/png;base64,${data}` }));
    }).catch((error) => { at("problem").textContent = error.message; });
    return [place];
  }

  // Ids that begin with what was typed, then others that hold it.
  function matching(text) {
    const sought = text.toLowerCase();
    const begin = [];
    const hold = [];
    lowered.forEach((id, row) => {
      const found = id === null ? -1 : id.indexOf(sought);
      if (found === 0) begin.push(row);
      else if (found > 0) hold.push(row);
    });
    return [...begin, ...hold];
  }

  function suggest(rows, chosen = -1) {
    const options = rows.slice(0, SUGGESTED).map((row, place) => {
      const option = told("li", ids[row]);
      option.id = `suggestion-${place}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", String(place === chosen));
      return option;
    });
    at("suggestions").replaceChildren(...options);
    at("suggestions").hidden = !options.length;
    at("item").setAttribute("aria-expanded", String(options.length > 0));
    choose(chosen);
  }

  function choose(place) {
    const options = [...at("suggestions").children];
    options.forEach((option, number) => option.setAttribute("aria-selected", String(number === place)));
    if (place < 0) return at("item").removeAttribute("aria-activedescendant");
    at("item").setAttribute("aria-activedescendant", options[place].id);
    return options[place].scrollIntoView({ block: "nearest" });
  }

  const chosen = () => [...at("suggestions").children].findIndex((option) => option.getAttribute("aria-selected") === "true");

  function typed() {
    const text = at("item").value.trim();
    const rows = text ? matching(text) : [];
    suggest(rows);
    const more = rows.length > SUGGESTED ? `, the first ${SUGGESTED} are listed` : "";
    at("hint").textContent = text ? `${rows.length.toLocaleString("en")} ids hold this${more}` : "";
  }

  function pressed(event) {
    const count = at("suggestions").children.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" && count) {
      event.preventDefault();
      suggest([]);
    } else if (step && count) {
      event.preventDefault();
      // One place more than there are options: back in the text itself.
      choose(((chosen() + 1 + step + count + 1) % (count + 1)) - 1);
    } else if (step > 0) {
      event.preventDefault();
      typed();
    }
  }

  function submitted(event) {
    event.preventDefault();
    const place = chosen();
    const whole = at("item").value;
    const text = rowOf.has(whole) ? whole : whole.trim();
    if (place >= 0) return go(at("suggestions").children[place].textContent);
    const rows = rowOf.has(text) || !text ? [] : matching(text);
    if (rows.length < 2) return go(rows.length ? ids[rows[0]] : text);
    typed();
    at("hint").textContent = `${rows.length.toLocaleString("en")} ids hold this: choose one`;
    return at("item").focus();
  }

  function go(item) {
    suggest([]);
    const { label } = asked();
    at("results").focus({ preventScroll: true });
    const target = address(item ? { item, label } : {});
    if (location.hash === target || (target === "#" && !location.hash)) show();
    else location.hash = target;
  }

  async function begin() {
    try {
      [about, ids] = await load("ids.js");
    } catch (error) {
      at("problem").textContent = error.message;
      return;
    }
    lowered = ids.map((id) => (id === null ? null : id.toLowerCase()));
    rowOf = new Map(ids.flatMap((id, row) => (id === null ? [] : [[id, row]])));
    const version = /\/versions\/([0-9a-f]{16})\/page\//.exec(location.pathname);
    const items = `${about.items.toLocaleString("en")} ${about.clips ? "clips" : "items"}`;
    const parts = [version ? `version ${version[1]}` : "", items, about.space, `${about.k} neighbours of each`];
    if (about.max_distance !== null) parts.push(`a match up to ${about.max_distance.toFixed(4)}`);
    at("version").textContent = parts.filter(Boolean).join(", ");
    at("query").addEventListener("submit", submitted);
    at("item").addEventListener("input", typed);
    at("item").addEventListener("keydown", pressed);
    at("item").addEventListener("blur", () => suggest([]));
    // Before the field loses its focus, and the list goes.
    at("suggestions").addEventListener("pointerdown", (event) => event.preventDefault());
    at("suggestions").addEventListener("click", (event) => {
      const option = event.target.closest("li");
      if (option) go(option.textContent);
    });
    at("label").addEventListener("change", () => { location.hash = address({ ...asked(), label: at("label").value }); });
    at("skip").addEventListener("click", (event) => {
      event.preventDefault();
      at("results").focus();
    });
    addEventListener("hashchange", show);
    show();
  }

  begin();
})();
