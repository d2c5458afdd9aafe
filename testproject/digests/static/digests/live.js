// Shows the live digest four times a second, as often as it is made.
"use strict";

const box = document.getElementById("live-digest");

async function show() {
  const answer = await fetch(box.dataset.url);
  box.hidden = !answer.ok;
  if (!answer.ok) return;
  const digest = await answer.json();
  digest.age_seconds = digest.age_seconds.toFixed(1);
  digest.most_frequent = digest.most_frequent.map(([word]) => word).join(", ");
  for (const field of box.querySelectorAll("[data-field]")) field.textContent = digest[field.dataset.field];
}

async function showAgainAndAgain() {
  // One after the other: a slow answer must not let requests pile up.
  await show().catch(() => { box.hidden = true; });
  setTimeout(showAgainAndAgain, document.hidden ? 5000 : 250);
}

showAgainAndAgain();
