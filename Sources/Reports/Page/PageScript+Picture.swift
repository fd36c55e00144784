extension PageDocument {
    /// The picture: squares in rows, each some bytes of the file or disk, and over it a strip of the whole.
    static let pictureScript = #"""
        const $ = id => document.getElementById(id);
        const picture = $('picture'), overview = $('overview'), tip = $('tip');
        const dark = matchMedia('(prefers-color-scheme: dark)');
        const view = {cell: unit, first: 0, side: 12, columns: 1, rows: 1, left: 0};
        let chosen = null, pointed = null, isDrawn = false;

        // A frame of its own, so that the picture is drawn anew when the window changes, and never stretched.
        const frame = $('frame');
        const colour = kind => dark.matches && kinds[kind].dark || kinds[kind].light;
        const themed = name => getComputedStyle(document.documentElement).getPropertyValue(name);
        const cellCount = () => Math.max(1, Math.ceil(size / view.cell));

        /** Squares of at least `least` pixels, in rows of a round number of them that are as wide as the frame. */
        function gridOf(least) {
          const fitting = Math.floor((view.width - view.left) / least);
          const columns = Math.max(8, fitting >= 64 ? fitting - fitting % 16 : fitting - fitting % 8);
          const side = Math.min(40, Math.max(4, (view.width - view.left) / columns));
          return {columns, side, rows: Math.max(1, Math.floor(view.height / side))};
        }
        const squaresOf = grid => grid.columns * grid.rows;

        function measure() {
          view.width = frame.clientWidth;
          view.height = frame.clientHeight;
          view.left = Math.min(124, 14 + hex(size).length * (view.width < 560 ? 6 : 7));
        }

        /** The smallest squares of which the whole is seen at once. */
        function wholeCell() {
          let cell = unit;
          while (Math.ceil(size / cell) > squaresOf(gridOf(8))) cell *= 2;
          return cell;
        }

        /** Squares stand for `cell` bytes from now on: as large ones as let all be seen, or of a fixed size. */
        function setCell(cell) {
          view.cell = Math.min(Math.max(cell, unit), wholeCell());
          let least = 40;
          while (least >= 8 && squaresOf(gridOf(least)) < cellCount()) least--;
          Object.assign(view, gridOf(least >= 8 ? least : 12));
        }

        function setFirst(first) {
          const last = cellCount() - view.columns * (view.rows - 1);
          const isWhole = cellCount() <= view.columns * view.rows;
          view.first = isWhole ? 0 : Math.max(0, Math.min(Math.round(first), last));
          schedule();
        }

        /** Zooms so that the byte at `position` is at `x`, `y` of the picture then, or in the middle row. */
        function zoom(factor, position, x, y) {
          setCell(view.cell * factor);
          const cell = Math.floor(position / view.cell);
          const row = y === undefined ? Math.floor(view.rows / 2) : Math.floor(y / view.side);
          const column = x === undefined ? cell % view.columns : Math.floor((x - view.left) / view.side);
          setFirst(cell - Math.min(row, view.rows - 1) * view.columns - Math.min(column, view.columns - 1));
        }

        /** Shows `start` to `end` among what lies around. */
        function reveal(start, end) {
          let cell = unit;
          while ((end - start) / cell > Math.max(1, squaresOf(gridOf(12)) / 3)) cell *= 2;
          // What is seen well enough stays as it is.
          const visible = view.first * view.cell, after = (view.first + view.columns * view.rows) * view.cell;
          if (view.cell === cell && start >= visible && end <= after) return schedule();
          setCell(cell);
          const row = Math.floor(start / view.cell / view.columns);
          setFirst((row - Math.floor(view.rows / 3)) * view.columns);
        }

        function showWhole() {
          setCell(wholeCell());
          setFirst(0);
        }

        function schedule() {
          if (isDrawn) requestAnimationFrame(draw);
          isDrawn = false;
        }

        function contextOf(canvas) {
          const scale = devicePixelRatio || 1;
          const {clientWidth, clientHeight} = canvas === picture ? frame : canvas;
          const [width, height] = [clientWidth * scale, clientHeight * scale].map(Math.round);
          if (canvas === picture) {
            canvas.style.width = clientWidth + 'px';
            canvas.style.height = clientHeight + 'px';
          }
          if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
          const context = canvas.getContext('2d');
          context.setTransform(scale, 0, 0, scale, 0, 0);
          context.clearRect(0, 0, clientWidth, clientHeight);
          return context;
        }

        function draw() {
          isDrawn = true;
          drawCells(contextOf(picture));
          drawOverview(contextOf(overview));
          const start = view.first * view.cell;
          const end = Math.min(size, (view.first + view.columns * view.rows) * view.cell);
          $('shown').textContent = size
            ? `${placeText(start, end)} · a square is ${sizeText(Math.min(view.cell, size))}` : 'empty';
        }

        function drawCells(context) {
          const {cell, side, columns, rows, left} = view, gap = side >= 14 ? 2 : 1;
          const labelStep = Math.ceil(18 / side);
          context.font = (view.width < 560 ? 10 : 11.5) + 'px ' + themed('--mono');
          context.textAlign = 'right';
          context.textBaseline = 'middle';
          for (let place = 0; place < columns * rows; place++) {
            const start = (view.first + place) * cell;
            if (start >= size) break;
            const end = Math.min(size, start + cell), row = Math.floor(place / columns);
            const column = place % columns, x = left + Math.round(column * side), y = Math.round(row * side);
            const width = Math.floor(side) - gap;
            if (column === 0 && row % labelStep === 0) {
              context.fillStyle = themed('--quiet');
              context.fillText(hex(start), left - 8, Math.max(7, y + side / 2));
            }
            const mix = mixOf(start, end);
            context.fillStyle = colour(mix[0][0]);
            context.fillRect(x, y, width, width);
            if (mix.length > 1) {
              const corner = width * 0.62;
              context.fillStyle = colour(mix[1][0]);
              context.beginPath();
              context.moveTo(x + width, y + width - corner);
              context.lineTo(x + width, y + width);
              context.lineTo(x + width - corner, y + width);
              context.fill();
            }
            if (kinds[mix[0][0]].crossed) cross(context, x, y, width);
            if (pointed && pointed.start === start) outline(context, x, y, width);
          }
          if (chosen) markChosen(context, gap);
        }

        /** An edge around what is chosen, light and dark, to be seen on every colour. */
        function markChosen(context, gap) {
          const {cell, side, columns, rows, left, first} = view;
          const from = Math.floor(chosen.start / cell) - first, to = Math.ceil(chosen.end / cell) - first;
          const holds = place => place >= from && place < to;
          const edges = new Path2D();
          for (let place = Math.max(0, from); place < Math.min(to, columns * rows); place++) {
            const column = place % columns, row = Math.floor(place / columns);
            const [x, y] = [left + Math.round(column * side) - gap / 2, Math.round(row * side) - gap / 2];
            const right = left + Math.round((column + 1) * side) - gap / 2, bottom = Math.round((row + 1) * side) - gap / 2;
            const line = (x1, y1, x2, y2) => { edges.moveTo(x1, y1); edges.lineTo(x2, y2); };
            if (column === 0 || !holds(place - 1)) line(x, y, x, bottom);
            if (column === columns - 1 || !holds(place + 1)) line(right, y, right, bottom);
            if (!holds(place - columns)) line(x, y, right, y);
            if (!holds(place + columns)) line(x, bottom, right, bottom);
          }
          context.lineCap = 'square';
          for (const [colour, thickness] of [['--halo', 5], ['--mark', 2.5]]) {
            context.strokeStyle = themed(colour);
            context.lineWidth = thickness;
            context.stroke(edges);
          }
        }

        function cross(context, x, y, width) {
          context.strokeStyle = themed('--halo');
          context.lineWidth = 1.5;
          context.beginPath();
          context.moveTo(x + 2, y + 2);
          context.lineTo(x + width - 2, y + width - 2);
          context.moveTo(x + width - 2, y + 2);
          context.lineTo(x + 2, y + width - 2);
          context.stroke();
        }

        function outline(context, x, y, width) {
          context.strokeStyle = themed('--mark');
          context.lineWidth = 1.5;
          context.strokeRect(x + 0.75, y + 0.75, width - 1.5, width - 1.5);
        }

        function drawOverview(context) {
          const width = overview.clientWidth, height = overview.clientHeight;
          for (let x = 0; x < width && size; x++) {
            const start = size * x / width, mix = mixOf(start, size * (x + 1) / width);
            const all = mix.reduce((sum, [, count]) => sum + count, 0) || 1;
            let y = 0;
            for (const [kind, count] of mix) {
              // What must not be missed is seen, however little it is.
              const part = Math.max(kinds[kind].urgent ? 4 : 0, count / all * (height - 6));
              context.fillStyle = colour(kind);
              context.fillRect(x, 3 + y, 1, Math.min(part, height - 6 - y));
              y += part;
            }
          }
          const start = view.first * view.cell, end = Math.min(size, start + view.columns * view.rows * view.cell);
          const x = start / size * width, shown = Math.max(5, (end - start) / size * width);
          context.strokeStyle = themed('--mark');
          context.lineWidth = 2;
          context.strokeRect(Math.min(x, width - shown) + 1, 1, shown - 2, height - 2);
          if (!chosen) return;
          const place = Math.min(width - 3, chosen.start / size * width);
          context.fillStyle = themed('--accent');
          context.fillRect(place, 0, 3, height);
        }

        /** The square at a place of the window; null where there is none. */
        function cellAt(event) {
          const box = picture.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
          const column = Math.floor((x - view.left) / view.side), row = Math.floor(y / view.side);
          const start = (view.first + row * view.columns + column) * view.cell;
          if (column < 0 || column >= view.columns || row < 0 || row >= view.rows || start >= size) return null;
          return {start, end: Math.min(size, start + view.cell), x, y};
        }
        """#
}
