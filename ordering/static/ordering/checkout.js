// The checkout works without this file; with it the sum follows what is chosen.
(() => {
  "use strict";
  const form = document.getElementById("checkout");
  const bill = document.getElementById("bill");
  if (!form || !bill) return;
  const total = form.querySelector("[data-total]");
  const place = form.querySelector("button.primary");
  let asked = 0;

  const follow = async () => {
    const mine = (asked += 1);
    const body = new URLSearchParams(new FormData(form));
    body.set("preview", "yes");
    // Nobody places an order whose new sum is still on its way.
    place.disabled = true;
    try {
      const response = await fetch(form.action, { method: "POST", body, headers: { "X-Fragment": "bill" } });
      const text = await response.text();
      // An answer to an older question than the last is thrown away.
      if (!response.ok || mine !== asked) return;
      bill.innerHTML = text;
      total.textContent = bill.querySelector(".sum .price").textContent;
    } finally {
      if (mine === asked) place.disabled = false;
    }
  };

  // The enter key presses a form's first button, which only shows what a code takes off.
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
    event.preventDefault();
    if (event.target.name === "promo") follow().catch(() => {});
    else if (!place.disabled) form.requestSubmit(place);
  });

  form.addEventListener("change", (event) => {
    if (event.target.name === "tip_own") form.querySelector("input[name=tip][value=own]").checked = true;
    if (["tip", "tip_own", "promo"].includes(event.target.name)) follow().catch(() => {});
  });
})();
