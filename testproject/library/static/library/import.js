// Shows how far the import is, without the page being loaded anew.
async function refresh() {
  const box = document.getElementById("import");
  const response = await fetch(box.dataset.url).catch(() => null);
  if (response?.ok) box.outerHTML = await response.text();
  setTimeout(refresh, 1000);
}
setTimeout(refresh, 1000);
