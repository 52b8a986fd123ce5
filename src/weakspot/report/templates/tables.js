// A click on a column's head sorts by it, a second one the other way round. The page is complete without.
for (const head of document.querySelectorAll(".sortable thead th")) {
  head.tabIndex = 0;
  head.onkeydown = (event) => { if (event.key === "Enter") head.click(); };
  head.onclick = () => {
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    const text = (row) => row.cells[column].textContent.trim();
    const compare = (a, b) => (parseFloat(text(a)) - parseFloat(text(b))) || text(a).localeCompare(text(b), undefined, { numeric: true });
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...[...body.rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  };
}
