(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const figure = JSON.parse(source.textContent);
      const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
      const layout = Object.assign({}, figure.layout, {
        title: undefined,
        font: { color: ink, family: "system-ui, sans-serif", size: 12 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 64, r: 40, t: 48, b: 56 },
        height: 400,
      });
      for (const name of ["xaxis", "yaxis"]) {
        layout[name] = Object.assign({}, layout[name], axis);
      }
      Plotly.react(source.dataset.plot, figure.data, layout, {
        responsive: true,
        displaylogo: false,
        displayModeBar: false,
      });
    }
  }
  draw();
  dark.addEventListener("change", draw);
})();
