(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // Each end of a scale can be seen on white and on near-black.
  const lines = [[0, "#d2722a"], [1, "#3d7fc4"]];
  const dots = [[[0, "#9fb4cc"], [1, "#2f6db3"]], [[0, "#dfa677"], [1, "#b8561d"]]];
  function recolour(trace, i, ink) {
    if (trace.line && trace.line.colorscale) trace.line.colorscale = lines;
    if (trace.type === "parcoords") {
      trace.tickfont = trace.rangefont = trace.labelfont = { color: ink, size: 12 };
    }
    if (trace.marker && trace.marker.colorscale) trace.marker.colorscale = dots[i % 2];
  }
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const figure = JSON.parse(source.textContent);
      figure.data.forEach((trace, i) => recolour(trace, i, ink));
      const axis = { automargin: true, gridcolor: line, zerolinecolor: line, linecolor: line };
      const layout = Object.assign({}, figure.layout, {
        title: undefined, // stands over the picture
        template: undefined,
        colorway: ["#3d7fc4", "#d2722a", "#3f9a72", "#8b919b"],
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
