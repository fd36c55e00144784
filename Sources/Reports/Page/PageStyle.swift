extension PageDocument {
    /// How the page looks, in light and dark, on wide and narrow screens.
    static let style = #"""
        :root {
          color-scheme: light dark;
          --ground: #f4f6f8; --panel: #ffffff; --text: #1d2733; --quiet: #5b6876; --line: #d8dee5;
          --accent: #1f5fae; --mark: #111827; --halo: #ffffff; --fault: #b02a37; --hover: #eaf1fa; --chosen: #d6e6fa;
          --mono: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --ground: #12161b; --panel: #1a2027; --text: #e4e9ef; --quiet: #9aa7b5; --line: #313a45;
            --accent: #7db3f5; --mark: #ffffff; --halo: #000000; --fault: #ff8a93; --hover: #222b36; --chosen: #2a3b52;
          }
        }
        * { box-sizing: border-box; }
        html, body { margin: 0; height: 100%; }
        body {
          display: flex; flex-direction: column; background: var(--ground); color: var(--text);
          font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
        }
        header { padding: 14px 20px 10px; }
        h1 { margin: 0; font-size: 20px; font-weight: 650; overflow-wrap: anywhere; }
        h2 { margin: 0 0 8px; font-size: 15px; font-weight: 650; }
        h2 .count { color: var(--quiet); font-weight: 400; }
        p { margin: 0; }
        .quiet { color: var(--quiet); }
        .fault { color: var(--fault); }
        .mono { font-family: var(--mono); font-size: 12.5px; }
        .facts { display: flex; flex-wrap: wrap; gap: 2px 22px; margin: 4px 0 0; color: var(--quiet); }
        .facts b { color: var(--text); font-weight: 500; overflow-wrap: anywhere; }
        main {
          flex: 1; min-height: 0; display: grid; gap: 14px; padding: 0 20px 16px;
          grid-template-columns: minmax(0, 1fr) minmax(340px, 30vw);
        }
        .panel { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
        #stage { display: flex; flex-direction: column; gap: 10px; min-height: 0; }
        aside { display: flex; flex-direction: column; gap: 14px; min-height: 0; overflow: auto; }
        .tools { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; }
        .tools form, .tools .group { display: flex; gap: 6px; align-items: center; }
        .tools form { margin-left: auto; }
        button, input, select {
          font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: 7px;
          padding: 4px 10px; min-height: 32px;
        }
        button { cursor: pointer; }
        button:hover { background: var(--hover); }
        input { width: 12.5em; font-family: var(--mono); font-size: 13px; }
        :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
        #overview { display: block; width: 100%; height: 26px; cursor: pointer; border-radius: 5px; touch-action: none; }
        #frame { flex: 1; min-height: 220px; overflow: hidden; }
        #picture { display: block; cursor: crosshair; touch-action: pan-y; }
        #picture.panning { cursor: grabbing; }
        #here { min-height: 7.6em; max-height: 11em; overflow: auto; }
        #here ul { margin: 4px 0 0; padding-left: 18px; }
        #here .place { font-weight: 600; }
        #tip {
          position: fixed; z-index: 2; max-width: min(440px, 92vw); padding: 7px 10px; pointer-events: none;
          background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
          box-shadow: 0 4px 16px rgb(0 0 0 / 0.22); font-size: 13px;
        }
        #tip[hidden] { display: none; }
        #tip ul { margin: 2px 0 0; padding-left: 16px; }
        .row {
          display: flex; gap: 8px; align-items: baseline; width: 100%; min-height: 0; padding: 4px 6px; text-align: left;
          border: 0; border-radius: 6px; background: none;
        }
        .row > .grow { flex: 1; min-width: 0; overflow-wrap: anywhere; }
        .row > .size { white-space: nowrap; color: var(--quiet); font-variant-numeric: tabular-nums; }
        .row > .share { width: 4.6em; text-align: right; }
        .row[aria-current="true"] { background: var(--chosen); }
        .swatch { flex: none; align-self: center; width: 16px; height: 16px; border-radius: 4px; }
        ol.plain, ul.plain { list-style: none; margin: 0; padding: 0; }
        details { border-top: 1px solid var(--line); }
        details details { margin-left: 4px; }
        summary { display: flex; gap: 8px; align-items: baseline; padding: 5px 2px; cursor: pointer; }
        summary::before { content: "▸"; color: var(--quiet); }
        details[open] > summary::before { content: "▾"; }
        summary::-webkit-details-marker { display: none; }
        summary .link, summary .quiet { white-space: nowrap; }
        summary .name { font-weight: 550; overflow-wrap: anywhere; }
        summary .name.fault::after { content: " !"; }
        .inner { padding: 0 0 8px 10px; }
        .inner > p { margin: 2px 0 4px; overflow-wrap: anywhere; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-size: 13px; }
        td { padding: 2px 8px 2px 0; vertical-align: baseline; overflow-wrap: anywhere; }
        td:first-child { white-space: nowrap; }
        .link {
          padding: 0 2px; min-height: 0; border: 0; border-radius: 3px; background: none; color: var(--accent);
          text-align: left; overflow-wrap: anywhere;
        }
        .more { margin-top: 6px; }
        kbd {
          padding: 0 5px; border: 1px solid var(--line); border-radius: 4px; background: var(--panel);
          font: 12px var(--mono);
        }
        .keys { margin: 0; color: var(--quiet); font-size: 12.5px; }
        #failure { padding: 8px 20px; background: var(--fault); color: var(--panel); }
        @media (max-width: 860px) {
          html, body { height: auto; }
          header { padding: 12px 12px 8px; }
          main { display: flex; flex-direction: column; padding: 0 12px 14px; }
          #stage { min-height: auto; }
          #frame { flex: none; height: 58vh; }
          .tools form { margin-left: 0; width: 100%; }
          .tools input { flex: 1; width: auto; min-width: 0; }
          aside { overflow: visible; }
          .keys { display: none; }
          .panel { padding: 10px; }
        }
        """#
}
