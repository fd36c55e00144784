extension PageDocument {
    /// The whole program of the page.
    static let script = [modelScript, pictureScript, listScript, useScript].joined(separator: "\n")

    /// How the page is used: by pointer, keys, the field for an offset, and the address behind `#`.
    static let useScript = #"""
        /** Chooses `start` to `end`: it is shown in the picture, and described below it. */
        function choose(start, end, options) {
          const {title, lines = [], row = null, stays = false, address = true} = options || {};
          chosen = {start, end};
          for (const other of document.querySelectorAll('[aria-current]')) other.removeAttribute('aria-current');
          if (row) row.setAttribute('aria-current', 'true');
          if (!stays) reveal(start, end);
          const about = describe(start, end, 12);
          $('here').replaceChildren(...(title ? [make('p', {}, title)] : []),
            make('p', {class: 'place mono'}, about.head),
            make('ul', {}, ...[...lines, ...about.lines].map(line => make('li', {}, line))));
          if (address) {
            history.replaceState(null, '', `#${isFile ? 'host' : 'guest'}=${hex(start)}`
              + (end - start === Math.min(unit, size - start) ? '' : '-' + hex(end - 1)));
          }
          schedule();
        }

        function say(text) {
          $('here').replaceChildren(make('p', {class: 'fault'}, text));
        }

        /** A number as people write it: 0x50000, 327680, 320K. */
        function numberIn(text) {
          const found = /^(0x[0-9a-f]+|\d+)\s*([kmgtp]?)(i?b)?$/i.exec(text.trim().replace(/[_,']/g, ''));
          if (!found) return NaN;
          const step = found[2] ? 'kmgtp'.indexOf(found[2].toLowerCase()) + 1 : 0;
          return Number(found[1]) * 1024 ** step;
        }

        function goToHost(start, end, options) {
          const name = isFile ? 'file' : data.disks;
          if (!(start >= 0)) return say('An offset is a number such as 0x50000, 327680 or 320K.');
          if (start >= size) return say(`${hex(start)} is past the end of the ${name}, which has ${hex(size)} bytes.`);
          if (end > start) return choose(start, Math.min(size, end), options);
          const first = start - start % unit;
          const held = first === start || !isFile ? [] : storedLines(storedIn(start, start + 1, 8), start, start + 1);
          const lines = held.map(text => `at ${hex(start)}: ${text}`);
          choose(first, Math.min(size, first + unit), {lines, ...options});
        }

        const holds = (part, position) => part[3] <= position && position < part[3] + part[4];
        const isTable = part => kinds[part[2]].table && !kinds[part[2]].covers;

        /** Chooses `first` to `end` of the file as what is known of the byte `start` of the disk. */
        function chooseFor(start, first, end, title, lines) {
          choose(first, Math.min(size, end), {title: `disk ${hex(start)} ${title}`, lines, address: false});
          history.replaceState(null, '', '#guest=' + hex(start));
        }

        /** Goes to the table that says of the byte `start` of the disk where it is. */
        function goToTable(start, table, title) {
          const [offset, count, , from, covered, , pieces, isJoined] = table, each = count / pieces;
          if (isJoined) return chooseFor(start, offset, offset + count, title);
          const first = offset + Math.floor((start - from) / (covered / pieces)) * each;
          chooseFor(start, first, first + each, title);
        }

        /** Goes to where the byte `start` of the disk lies in the file. */
        function goToGuest(start) {
          if (!isFile || !(start >= 0)) return goToHost(start);
          const all = stored.filter(part => holds(part, start) && !kinds[part[2]].covers)
            .sort((one, other) => (one[7] || 0) - (other[7] || 0) || one[5] - other[5]);
          const found = all.filter(part => !isTable(part)), table = all.find(isTable), part = found[0];
          // Where parts of a disk have tables, none is stored without.
          if (!part || part[7] && !table && stored.some(isTable)) {
            if (table) return goToTable(start, table, 'is not stored in this file; this table says what it is');
            return say(`disk ${hex(start)} is not stored in this file, and no table is there for it.`);
          }
          const hostOf = part => part[1] === part[4] && !part[7] ? part[0] + start - part[3] : part[0];
          const others = found.filter(other => hostOf(other) !== hostOf(part)).slice(0, 12).map(other => {
            const place = placeText(hostOf(other), hostOf(other) + (other[7] ? other[1] : 1));
            const owner = ownerText(other[5]) || 'the disk itself';
            return `${other[7] ? 'perhaps' : 'also'} at ${place} of the file (${owner})`;
          });
          if (part[7] && table && !table[7]) {
            return goToTable(start, table, 'is in one of many places that this page does not tell apart, or in none; '
              + 'this table says in which');
          }
          const host = hostOf(part), first = host - host % unit;
          if (!part[7] && part[1] === part[4]) {
            return chooseFor(start, first, first + unit, `lies at ${hex(host)} of the file`, others);
          }
          chooseFor(start, part[0], part[0] + part[1], part[7] ? 'is in one of the parts that are shown as one here, or '
            + 'in none' : 'is in this compressed data', others);
        }

        /** `#host=0x50000`, `#host=0x50000-0x5ffff`, `#guest=1G`, `#sector=2048`. */
        function goToAddress() {
          const found = /^#(host|guest|sector)=([^-]*)(?:-(.*))?$/.exec(location.hash);
          if (!found) return false;
          const [, where, first, last] = found, options = {address: false};
          const start = numberIn(first);
          if (where === 'guest' && isFile) goToGuest(start);
          else if (where === 'sector') goToGuest(start * (data.sectorSize || 512));
          else goToHost(start, last === undefined ? 0 : numberIn(last) + 1, options);
          return true;
        }

        function showTip(event) {
          const cell = cellAt(event);
          if ((cell && cell.start) !== (pointed && pointed.start)) {
            pointed = cell;
            schedule();
          }
          tip.hidden = !cell;
          if (!cell) return;
          const about = describe(cell.start, cell.end, 4);
          tip.replaceChildren(make('div', {class: 'mono'}, about.head),
            make('ul', {}, ...about.lines.map(line => make('li', {}, line))));
          const box = tip.getBoundingClientRect(), apart = 16;
          const beside = (place, extent, limit) =>
            Math.max(4, place + apart + extent > limit ? place - apart - extent : place + apart) + 'px';
          tip.style.left = beside(event.clientX, box.width, innerWidth);
          tip.style.top = beside(event.clientY, box.height, innerHeight);
        }

        function hideTip() {
          tip.hidden = true;
          pointed = null;
          schedule();
        }

        let drag = null;
        picture.addEventListener('pointerdown', event => {
          const isTouch = event.pointerType === 'touch';
          drag = {x: event.clientX, y: event.clientY, first: view.first, moved: false, isTouch};
          if (!drag.isTouch) picture.setPointerCapture(event.pointerId);
        });
        picture.addEventListener('pointermove', event => {
          if (!drag || drag.isTouch) return showTip(event);
          const rows = Math.round((drag.y - event.clientY) / view.side);
          if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 5) drag.moved = true;
          if (!drag.moved) return;
          picture.classList.add('panning');
          hideTip();
          setFirst(drag.first + rows * view.columns);
        });
        picture.addEventListener('pointerup', event => {
          const cell = cellAt(event);
          if (drag && !drag.moved && cell) choose(cell.start, cell.end, {stays: true});
          if (drag && drag.isTouch) hideTip();
          drag = null;
          picture.classList.remove('panning');
        });
        for (const name of ['pointercancel', 'pointerleave']) {
          picture.addEventListener(name, () => { drag = null; hideTip(); });
        }
        picture.addEventListener('wheel', event => {
          event.preventDefault();
          if (event.shiftKey) return setFirst(view.first + Math.sign(event.deltaY || event.deltaX) * 3 * view.columns);
          const cell = cellAt(event);
          if (cell && event.deltaY) zoom(event.deltaY < 0 ? 0.5 : 2, cell.start, cell.x, cell.y);
          showTip(event);
        }, {passive: false});

        function moveOverview(event) {
          const share = event.offsetX / overview.clientWidth;
          setFirst(Math.floor(size * share / view.cell / view.columns - view.rows / 2) * view.columns);
        }
        overview.addEventListener('pointerdown', event => {
          overview.setPointerCapture(event.pointerId);
          if (cellCount() <= view.columns * view.rows) zoom(0.25, size * event.offsetX / overview.clientWidth);
          else moveOverview(event);
        });
        overview.addEventListener('pointermove', event => { if (event.buttons) moveOverview(event); });

        const middle = () => chosen ? chosen.start
          : Math.min(size - 1, (view.first + view.columns * view.rows / 2) * view.cell);
        const zoomHere = factor => zoom(factor, Math.max(0, middle()));

        /** Chooses the square `by` squares on, and keeps it in sight. */
        function step(by) {
          if (!size) return;
          const at = chosen ? Math.floor(chosen.start / view.cell) + by : view.first;
          const cell = Math.max(0, Math.min(at, cellCount() - 1)), row = Math.floor((cell - view.first) / view.columns);
          if (row < 0) setFirst(view.first + row * view.columns);
          if (row >= view.rows) setFirst(view.first + (row - view.rows + 1) * view.columns);
          choose(cell * view.cell, Math.min(size, (cell + 1) * view.cell), {stays: true});
        }

        const keys = {
          ArrowLeft: () => step(-1), ArrowRight: () => step(1),
          ArrowUp: () => step(-view.columns), ArrowDown: () => step(view.columns),
          PageUp: () => step(-view.columns * view.rows), PageDown: () => step(view.columns * view.rows),
          Home: () => step(-cellCount()), End: () => step(cellCount()),
          '+': () => zoomHere(0.5), '=': () => zoomHere(0.5), '-': () => zoomHere(2), '0': showWhole,
          Enter: () => {
            const index = rangeAt(chosen ? chosen.start : 0);
            if (size) choose(starts[index], starts[index + 1], {stays: true});
          },
        };
        picture.addEventListener('keydown', event => {
          if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
          event.preventDefault();
          keys[event.key]();
        });
        $('nearer').addEventListener('click', () => zoomHere(0.5));
        $('farther').addEventListener('click', () => zoomHere(2));
        $('whole').addEventListener('click', showWhole);
        $('go').addEventListener('submit', event => {
          event.preventDefault();
          const number = numberIn($('offset').value), where = $('where').value;
          if (where === 'host') goToHost(number);
          else goToGuest(where === 'sector' ? number * data.sectorSize : number);
        });
        addEventListener('hashchange', goToAddress);
        dark.addEventListener('change', () => {
          for (const element of document.querySelectorAll('.swatch')) {
            element.style.background = colour(element.dataset.kind);
          }
          schedule();
        });

        function begin() {
          for (const [name, value] of data.facts) {
            $('facts').append(make('span', {}, name + ' ', make('b', {}, value)));
          }
          for (const [value, name] of isFile ? [['host', 'in the file'], ['guest', 'on the disk']]
            : [['guest', 'byte'], ['sector', 'sector']]) $('where').append(make('option', {value}, name));
          showLegend();
          $('coarse').textContent = data.coarse || '';
          $('coarse').hidden = !data.coarse;
          if (isFile) showFindings(); else showDifferences();
          $('structures-panel').hidden = !isFile;
          if (isFile) $('structures').append(lazily($('structures'), data.structures.length, 100,
            index => structureItem(data.structures[index])));
          measure();
          isDrawn = true;
          showWhole();
          new ResizeObserver(() => {
            const at = view.first * view.cell, isWhole = cellCount() <= view.columns * view.rows;
            measure();
            setCell(isWhole ? wholeCell() : view.cell);
            setFirst(at / view.cell);
          }).observe(frame);
          if (!goToAddress()) $('here').append(make('p', {class: 'quiet'},
            'Choose a square, a line of a list, or an offset: what it is stands here.'));
          document.documentElement.dataset.ready = 'true';
        }
        begin();
        """#
}
