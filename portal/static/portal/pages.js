/* What pages do beyond htmx: copying, keys, menus, a plan that goes stale while it is read. Works without live.js. */
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const announce = (text) => { const at = document.getElementById("announce"); if (at) at.textContent = text; };
  document.documentElement.classList.add("js");

  // --- copy, menus, filters ---
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      event.preventDefault();
      try { await navigator.clipboard.writeText(copy.dataset.copy); } catch { return announce("Could not copy."); }
      copy.classList.add("is-copied");
      announce("Copied.");
      setTimeout(() => copy.classList.remove("is-copied"), 1200);
      return;
    }
    if (event.target.closest("[data-keys]")) document.getElementById("keys").showModal();
    for (const menu of all("details[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details[data-menu][open]")) event.target.querySelector("textarea, input:not([type=hidden])")?.focus();
  }, true);
  document.addEventListener("change", (event) => { if (event.target.matches("[data-submit]")) event.target.form.requestSubmit(); });

  // --- the graph: in sight what is chosen, as large as wanted, pulled about with the mouse ---
  const NARROW = matchMedia("(max-width: 52rem)"), COLUMN = 244;
  const fold = document.querySelector("[data-graph]"), graph = document.getElementById("graph");
  const stageOf = (node) => new URL(node.href.baseVal || node.href, location.href).searchParams;
  // A little smaller, where all of it is then in sight.
  const fit = () => {
    const svg = graph?.querySelector("svg"), over = graph ? graph.scrollHeight / graph.clientHeight : 1;
    if (!svg || over <= 1 || over > 1.35) return;
    const { width, height } = svg.viewBox.baseVal, shown = svg.getBoundingClientRect().width;
    const smaller = Math.floor(shown * (1 - (graph.scrollHeight - graph.clientHeight) / svg.getBoundingClientRect().height));
    svg.setAttribute("width", smaller);
    svg.setAttribute("height", smaller * height / width);
  };
  const reveal = () => {
    fit();
    const chosen = graph?.querySelector(".selected");
    if (!chosen) return;
    const node = chosen.getBoundingClientRect(), frame = graph.getBoundingClientRect();
    graph.scrollLeft += node.left - frame.left - (frame.width - node.width) / 2;
    graph.scrollTop += node.top - frame.top - (frame.height - node.height) / 2;
  };
  // It is drawn for the width there is, where it would become too small to read.
  const redraw = async () => {
    const query = new URLSearchParams(location.search), chosen = graph.querySelector(".selected > a");
    query.set("columns", Math.max(1, Math.floor(graph.clientWidth / COLUMN)));
    if (chosen) query.set("stage", stageOf(chosen).get("stage"));
    const answer = await fetch(`${fold.dataset.graph}?${query}`, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (answer?.ok && !answer.redirected) graph.innerHTML = await answer.text();
    reveal();
  };
  const tooSmall = () => graph.clientWidth < 0.8 * (graph.querySelector("svg")?.viewBox.baseVal.width || 0);
  // On a phone it is folded at first: the list says the same.
  if (fold && NARROW.matches) {
    fold.open = false;
    fold.addEventListener("toggle", () => { if (fold.open) tooSmall() ? redraw() : reveal(); });
  } else if (fold && tooSmall()) redraw();
  else reveal();
  const zoom = (by) => {
    const svg = graph?.querySelector("svg");
    if (!svg) return;
    const { width: natural, height } = svg.viewBox.baseVal, shown = svg.getBoundingClientRect().width;
    const x = (graph.scrollLeft + graph.clientWidth / 2) / shown, y = (graph.scrollTop + graph.clientHeight / 2) / shown;
    const width = by ? Math.min(3 * natural, Math.max(natural / 5, shown * by)) : natural;
    svg.setAttribute("width", width);
    svg.setAttribute("height", height * width / natural);
    graph.classList.toggle("is-zoomed", Boolean(by));
    const now = svg.getBoundingClientRect().width;
    graph.scrollTo(x * now - graph.clientWidth / 2, y * now - graph.clientHeight / 2);
    if (!by) reveal();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (button) zoom(Number(button.dataset.zoom));
  });
  let pulled = null;
  graph?.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && !event.button) pulled = { x: event.clientX, y: event.clientY, left: graph.scrollLeft, top: graph.scrollTop, far: false };
  });
  addEventListener("pointermove", (event) => {
    if (!pulled) return;
    const x = event.clientX - pulled.x, y = event.clientY - pulled.y;
    pulled.far ||= Math.abs(x) + Math.abs(y) > 6;
    if (pulled.far) graph.scrollTo(pulled.left - x, pulled.top - y);
  });
  addEventListener("pointerup", () => setTimeout(() => { pulled = null; }));
  graph?.addEventListener("dragstart", (event) => event.preventDefault());

  // --- what is chosen ---
  const choose = (link) => {
    const list = link.closest("#inbox-list, #stage-list");
    if (!list) return;
    all("[aria-current]", list).forEach((one) => one.removeAttribute("aria-current"));
    link.setAttribute("aria-current", "true");
    mark(new URL(link.href).searchParams.get("stage"));
  };
  const mark = (name) => {
    for (const node of all("#graph a")) node.parentNode.classList.toggle("selected", stageOf(node).get("stage") === name);
  };
  document.addEventListener("htmx:beforeRequest", (event) => { if (event.target.matches(".row-link, [data-stage-link]")) choose(event.target); });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!["detail", "stage-panel"].includes(event.detail.target.id)) return;
    event.detail.target.closest(".beside")?.classList.add("is-open");
    follow(event.detail.target);
    if (NARROW.matches) event.detail.target.scrollIntoView({ block: "start" });
    if (event.detail.requestConfig.verb !== "get") event.detail.target.focus({ preventScroll: true });
  });
  // The lists are fetched anew when something changes; what is chosen stays marked.
  const remark = (list) => {
    const open = list.id === "inbox-list" && document.querySelector("form[data-decision]");
    const chosen = new URLSearchParams(location.search).get("stage") || (open && open.dataset.stage);
    if (!chosen || list.querySelector("[aria-current]")) return;
    const link = all("a[href]", list).find((one) => new URL(one.href).searchParams.get("stage") === chosen);
    if (link) link.setAttribute("aria-current", "true");
  };

  // --- which stages are listed: in the address, beside the stage that is chosen ---
  const LISTED = ["state", "team", "name", "only", "page"];
  const stageList = document.getElementById("stage-list"), filter = document.querySelector("[data-stage-filter]");
  const narrow = (query, how) => {
    const params = new URLSearchParams(location.search);
    LISTED.forEach((key) => params.delete(key));
    for (const [key, value] of new URLSearchParams(query)) if (value) params.set(key, value);
    history[how]({ htmx: true }, "", `${location.pathname}?${params}`);
    window.htmx?.ajax("GET", `${stageList.dataset.liveUrl}?${params}`, { target: "#stage-list" });
  };
  document.addEventListener("htmx:beforeHistoryUpdate", ({ detail }) => {
    if (!stageList || !detail.history.path) return;
    const next = new URL(detail.history.path, location.href), now = new URLSearchParams(location.search);
    for (const key of [...LISTED, "graph"]) if (now.has(key)) next.searchParams.set(key, now.get(key));
    detail.history.path = next.pathname + next.search;
  });
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.target === stageList) event.detail.path += location.search;
  });
  let typed = 0;
  const filtered = (how) => narrow(new URLSearchParams(new FormData(filter)), how);
  filter?.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => filtered("replaceState"), 250); });
  filter?.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typed); filtered("pushState"); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-stage-page]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !window.htmx) return;
    event.preventDefault();
    const query = new URLSearchParams(link.dataset.stagePage);
    narrow(query, "pushState");
    for (const field of all("input, select", filter || stageList)) if (field.name) field.value = query.get(field.name) || "";
    stageList.closest("nav").scrollIntoView({ block: "nearest" });
  });

  const recount = (waiting) => {
    const badge = document.querySelector("[data-waiting]");
    if (badge) { badge.firstChild.data = waiting; badge.hidden = !waiting; }
    document.title = (waiting ? `(${waiting}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  };

  // A click on a node of the graph opens its stage beneath, as the list does; on one of several, lists them too.
  document.addEventListener("click", (event) => {
    const node = event.target.closest("#graph a");
    if (!node || event.ctrlKey || event.metaKey || event.shiftKey || !window.htmx) return;
    event.preventDefault();
    if (pulled?.far) return;
    const params = stageOf(node), name = params.get("stage"), only = params.get("only");
    const address = new URL(location.href);
    address.searchParams.set("stage", name);
    address.searchParams.delete("tab");
    history.pushState({ htmx: true }, "", address);
    if (only) narrow(new URLSearchParams({ only }), "replaceState");
    const path = name.split("/").map(encodeURIComponent).join("/");
    window.htmx.ajax("GET", `${location.pathname}/stages/${path}`, { target: "#stage-panel" });
    all("[aria-current]", stageList).forEach((one) => one.removeAttribute("aria-current"));
    remark(stageList);
    mark(name);
  });

  // What the header asks for is further down in the same page, if its stage is the one that is open.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-to-decide]");
    const form = link && document.querySelector(`form[data-decision][data-stage="${link.dataset.toDecide}"]`);
    if (!form) return;
    event.preventDefault();
    document.getElementById("stage-panel").scrollIntoView({ block: "start" });
    form.querySelector("[data-approve]")?.focus({ preventScroll: true });
  });

  // --- logs ---
  const follow = (root) => { const log = root.querySelector("#log"); if (log && !location.hash.startsWith("#log-")) log.scrollTop = log.scrollHeight; };
  const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]/g;
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) {
      if (node.nodeType === Node.TEXT_NODE && node.data.includes("\x1b") && node.parentElement?.id === "log") node.data = node.data.replace(ESCAPES, "");
    }
  }).observe(document.body, { childList: true, subtree: true });
  follow(document);

  // --- a plan that changes while somebody reads it ---
  const check = async (form) => {
    if (!form) return;
    const body = new URLSearchParams(new FormData(form));
    const headers = { "X-CSRFToken": body.get("csrfmiddlewaretoken"), "HX-Request": "true" };
    const answer = await fetch(form.dataset.changed, { method: "POST", body, headers }).catch(() => null);
    if (!answer || !form.isConnected) return;
    // The plan is the same, and others may have decided about it; or nobody is asked any more.
    const same = answer.status === 204, over = answer.status === 410;
    if ((same || over) && !body.get("reason") && !form.contains(document.activeElement)) {
      window.htmx?.ajax("GET", form.dataset.self, form.dataset.place);
      return;
    }
    if (answer.status !== 200 && !over) return;
    form.querySelector("[data-stale-place]").innerHTML = await answer.text();
    for (const button of all("[data-approve], [data-reject]", form)) button.disabled = true;
  };
  let due = 0;
  document.addEventListener("live:event", ({ detail }) => {
    const form = document.querySelector("form[data-decision]");
    if (!form || String(detail.stage) !== form.dataset.stage) return;
    clearTimeout(due);
    due = setTimeout(() => check(form), 250);
  });
  for (const id of ["inbox-list", "stage-list"]) {
    const list = document.getElementById(id);
    if (!list) continue;
    new MutationObserver(() => {
      remark(list);
      if (id === "inbox-list") recount(Number(list.querySelector("[data-count]")?.dataset.count || 0));
      const form = document.querySelector("form[data-decision]");
      if (!form || id !== "inbox-list") return;
      const row = list.querySelector(`[data-key="${form.dataset.stage}"]`);
      if (row?.dataset.digest !== form.dataset.digest) check(form);
    }).observe(list, { childList: true });
  }

  // --- keys ---
  const GO = { i: "/", r: "/runs", e: "/environments", p: "/pipelines", t: "/teams" };
  let going = 0;
  const step = (by) => {
    const links = all("[data-rows] a.row-link, #stage-list [data-stage-link]");
    const at = links.findIndex((one) => one === document.activeElement);
    const from = at >= 0 ? at : links.findIndex((one) => one.hasAttribute("aria-current"));
    const next = links[Math.max(0, Math.min(links.length - 1, from + by))];
    next?.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all("details[data-menu][open]").forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (Date.now() - going < 1200 && GO[event.key]) { location.href = GO[event.key]; return; }
    if (event.key === "?") document.getElementById("keys").showModal();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "g") going = Date.now();
    else if (event.key === "a") (document.querySelector("[data-approve]") || document.querySelector("#decide"))?.scrollIntoView({ block: "center" });
    else return;
    if (event.key === "a") document.querySelector("[data-approve]")?.focus();
    event.preventDefault();
  });
})();
