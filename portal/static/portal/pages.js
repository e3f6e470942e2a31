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

  // On a phone the graph is folded at first: the list says the same.
  const fold = document.querySelector("[data-graph]");
  if (fold && matchMedia("(max-width: 52rem)").matches) fold.open = false;

  // A long graph begins with what is chosen in sight.
  const graph = document.getElementById("graph"), chosen = graph?.querySelector(".selected");
  if (chosen) {
    const node = chosen.getBoundingClientRect(), frame = graph.getBoundingClientRect();
    graph.scrollLeft += node.left - frame.left - (frame.width - node.width) / 2;
    graph.scrollTop += node.top - frame.top - (frame.height - node.height) / 2;
  }

  // --- what is chosen ---
  const choose = (link) => {
    const list = link.closest("[data-rows]")?.parentElement?.closest("#inbox-list, #stage-list") || link.closest("#inbox-list, #stage-list");
    if (!list) return;
    all("[aria-current]", list).forEach((one) => one.removeAttribute("aria-current"));
    link.setAttribute("aria-current", "true");
    const name = new URL(link.href).searchParams.get("stage");
    for (const node of all("#graph a")) {
      const here = new URL(node.href.baseVal, location.href).searchParams.get("stage") === name;
      node.parentNode.classList.toggle("selected", here);
    }
  };
  document.addEventListener("htmx:beforeRequest", (event) => { if (event.target.matches(".row-link, [data-stage-link]")) choose(event.target); });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!["detail", "stage-panel"].includes(event.detail.target.id)) return;
    follow(event.detail.target);
    if (matchMedia("(max-width: 52rem)").matches) event.detail.target.scrollIntoView({ block: "start" });
    if (event.detail.requestConfig.verb !== "get") event.detail.target.focus({ preventScroll: true });
  });
  // The lists are fetched anew when something changes; what is chosen stays marked.
  const remark = (list) => {
    const chosen = new URLSearchParams(location.search).get("stage");
    if (!chosen || list.querySelector("[aria-current]")) return;
    const link = all("a[href]", list).find((one) => new URL(one.href).searchParams.get("stage") === chosen);
    if (link) link.setAttribute("aria-current", "true");
  };

  const recount = (waiting) => {
    const badge = document.querySelector("[data-waiting]");
    if (badge) { badge.firstChild.data = waiting; badge.hidden = !waiting; }
    document.title = (waiting ? `(${waiting}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  };

  // A click on a node of the graph opens its stage beneath, as the list does.
  document.addEventListener("click", (event) => {
    const node = event.target.closest("#graph a");
    if (!node || event.ctrlKey || event.metaKey || event.shiftKey || !window.htmx) return;
    const name = new URL(node.href.baseVal || node.href, location.href).searchParams.get("stage");
    const link = all("[data-stage-link]").find((one) => new URL(one.href).searchParams.get("stage") === name);
    if (!link) return;
    event.preventDefault();
    link.click();
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
    if (!form || form.querySelector(".stale")) return;
    const body = new URLSearchParams(new FormData(form));
    const headers = { "X-CSRFToken": body.get("csrfmiddlewaretoken"), "HX-Request": "true" };
    const answer = await fetch(form.dataset.changed, { method: "POST", body, headers }).catch(() => null);
    if (!answer || !form.isConnected) return;
    // The plan is the same, but others may have decided about it.
    if (answer.status === 204 && !body.get("reason") && !form.contains(document.activeElement)) window.htmx?.ajax("GET", form.dataset.self, form.dataset.place);
    if (answer.status !== 200) return;
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
      if (id === "inbox-list") recount(all(".row", list).length);
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
    const links = all("[data-rows] a.row-link, #stage-list a");
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
