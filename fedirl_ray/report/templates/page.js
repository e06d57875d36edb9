(function () {
  const low = [210, 114, 42], high = [61, 127, 196]; // both seen on white and on near-black
  const dots = [[[0, "#9fb4cc"], [1, "#2f6db3"]], [[0, "#dfa677"], [1, "#b8561d"]]];
  function between(share) {
    return "rgb(" + low.map((from, k) => Math.round(from + share * (high[k] - from))) + ")";
  }
  // Parallel coordinates: a line a trial, whose first point is its objective in [0, 1].
  function recolourLines(data) {
    for (const trace of data) {
      if (trace.line && trace.x && trace.x[0] === 0) trace.line.color = between(trace.y[0]);
      if (trace.marker && trace.marker.colorscale) {
        trace.marker.colorscale = [[0, between(0)], [1, between(1)]];
        trace.marker.reversescale = false;
        trace.marker.colorbar = { thickness: 14 }; // its name stands over the picture
      }
    }
  }
  function recolourDots(data) {
    data.forEach((trace, i) => {
      if (trace.marker && trace.marker.colorscale) trace.marker.colorscale = dots[i % 2];
    });
  }
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const figure = JSON.parse(source.textContent);
      if ("parallel" in source.dataset) recolourLines(figure.data);
      else recolourDots(figure.data);
      const axis = { automargin: true, gridcolor: line, zerolinecolor: line, linecolor: line };
      const layout = Object.assign({}, figure.layout, {
        title: undefined, // stands over the picture
        template: undefined,
        colorway: ["#3d7fc4", "#d2722a", "#3f9a72", "#8b919b"],
        font: { color: ink, family: "system-ui, sans-serif", size: 12 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 64, r: 40, t: 32, b: 56 },
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
        height: 400,
      });
      for (const name of ["xaxis", "yaxis"]) {
        const own = layout[name] || {};
        layout[name] = Object.assign({}, own, axis);
        if (own.title) layout[name].title = Object.assign({}, own.title, { standoff: 14 });
      }
      for (const note of layout.annotations || []) note.font = { color: ink, size: 11 };
      Plotly.react(source.dataset.plot, figure.data, layout, {
        responsive: true,
        displaylogo: false,
        displayModeBar: false,
      });
    }
  }
  draw();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
