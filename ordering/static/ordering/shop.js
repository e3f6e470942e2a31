// The customer's pages work without this file; with it nothing reloads.
(() => {
  "use strict";

  // A fragment takes the place of what it updates; whoever used the keyboard stays where they were.
  const replace = (target, html) => {
    const focused = target.contains(document.activeElement) ? document.activeElement.id : "";
    target.innerHTML = html;
    if (focused) document.getElementById(focused)?.focus();
  };

  const cart = document.querySelector("#cart[data-live]");
  const form = document.getElementById("cart-form");
  // One change after the other: the cart travels in a cookie, so two at once would lose one.
  let last = Promise.resolve();

  const change = async (button) => {
    const body = new URLSearchParams(new FormData(form));
    body.set(button.name, button.value);
    const response = await fetch(form.action, { method: "POST", body, headers: { "X-Fragment": "cart" } });
    if (!response.ok && response.status !== 409) throw new Error(`cart: ${response.status}`);
    replace(cart, await response.text());
    if (response.ok && button.classList.contains("add")) {
      button.classList.add("is-added");
      setTimeout(() => button.classList.remove("is-added"), 900);
    }
  };

  if (cart && form) {
    form.addEventListener("submit", (event) => {
      const button = event.submitter;
      if (!button || form.dataset.plain) return;
      event.preventDefault();
      last = last.then(() => change(button)).catch(() => {
        // The plain way says more about what is wrong than a script could.
        form.dataset.plain = "yes";
        form.requestSubmit(button.isConnected ? button : null);
      });
    });
    // Back from the order: the browser shows the page as it was left, with the cart of that time.
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  // The price of what is chosen, as the server will say it: its own words with another number in them.
  const choices = document.querySelector("form.choices");
  const total = choices?.querySelector("[data-total]");
  if (total) {
    const language = document.documentElement.lang;
    const money = new Intl.NumberFormat(language, {
      style: "currency", currency: choices.dataset.currency,
      minimumFractionDigits: Number(choices.dataset.digits), maximumFractionDigits: Number(choices.dataset.digits),
    });
    const update = () => {
      let one = Number(choices.dataset.price);
      for (const taken of choices.querySelectorAll("input[data-price]:checked")) one += Number(taken.dataset.price);
      const quantity = Math.max(1, Number(choices.elements.quantity.value) || 1);
      total.textContent = money.format((one * quantity) / 10 ** Number(choices.dataset.digits));
    };
    choices.addEventListener("input", update);
    addEventListener("pageshow", update);
  }

  document.querySelector(".problems")?.focus();

  for (const once of document.querySelectorAll("form[data-once]")) {
    once.addEventListener("submit", (event) => {
      if (once.dataset.sent) event.preventDefault();
      once.dataset.sent = "yes";
    });
    addEventListener("pageshow", () => delete once.dataset.sent);
  }

  const followed = document.querySelector("[data-follow]");
  if (followed) {
    let tag = "";
    const look = async () => {
      if (document.hidden) return;
      const headers = tag ? { "If-None-Match": tag } : {};
      const response = await fetch(followed.dataset.follow, { headers, cache: "no-store" });
      if (response.status !== 200) return;
      const first = !tag;
      tag = response.headers.get("ETag") || "";
      const html = await response.text();
      if (!first || followed.innerHTML.trim() !== html.trim()) replace(followed, html);
    };
    const keepLooking = () => look().catch(() => {}).finally(() => setTimeout(keepLooking, 2000));
    keepLooking();
    document.addEventListener("visibilitychange", () => look().catch(() => {}));
  }
})();
