extension PageDocument {
    /// The lists beside the picture; what they say leads into it.
    static let listScript = #"""
        /** An element with attributes, functions among them as listeners, and what is in it: texts stay texts. */
        function make(name, attributes, ...content) {
          const element = document.createElement(name);
          for (const [key, value] of Object.entries(attributes || {})) {
            if (typeof value === 'function') element.addEventListener(key, value);
            else if (value !== undefined && value !== false) element.setAttribute(key, value);
          }
          element.append(...content.filter(part => part !== null && part !== undefined));
          return element;
        }

        function swatch(kind) {
          const element = make('span', {class: 'swatch'});
          element.style.background = colour(kind);
          element.dataset.kind = kind;
          return element;
        }

        /** Shows `count` things, `step` at a time. */
        function lazily(list, count, step, item) {
          let next = 0;
          const more = make('button', {class: 'more', type: 'button', click: show});
          function show() {
            for (const end = Math.min(count, next + step); next < end; next++) list.append(item(next));
            more.textContent = `Show more (${(count - next).toLocaleString('en')} left)`;
            more.hidden = next >= count;
          }
          show();
          return more;
        }

        /** Notes name the place that they are about in hexadecimal digits. */
        function placeIn(text) {
          const found = /0x([0-9a-f]+)/i.exec(text), start = found ? parseInt(found[1], 16) : NaN;
          return start < size ? {start, end: Math.min(size, start + unit)} : null;
        }

        const unlisted = new Set(['entries', 'fields', 'structures', 'notes']);
        const leftText = left => `${left.what}: ${left.count.toLocaleString('en')} more, left out`;
        function findings() {
          const found = [];
          const add = (text, isFault, place) => found.push({text, isFault, place: place || placeIn(text)});
          for (const note of data.findings || []) add(note.text, note.fault);
          for (const structure of structures) {
            const place = structure.offset === undefined || structure.offset >= size ? null
              : {start: structure.offset, end: Math.min(size, endOf(structure))};
            for (const fault of structure.faults || []) add(`${structure.path}: ${fault}`, true, place);
            for (const note of structure.notes || []) add(`${structure.path}: ${note}`, false, place);
            for (const field of structure.fields || []) {
              if (!field.fault) continue;
              const name = field.fault.includes(field.name) ? '' : field.name + ': ';
              add(`${structure.path}: ${name}${field.fault}`, true, placeOf(field));
            }
            for (const entry of structure.entries || []) {
              if (entry.fault) add(`${structure.path}: entry ${entry.index} ${entry.fault}`, true, placeOf(entry, 8));
            }
            // What lists leave out for want of space is said in them.
            for (const left of (structure.omitted || []).filter(left => !unlisted.has(left.what))) {
              add(`${structure.path}: ${leftText(left)}`, left.what === 'faults', place);
            }
          }
          return found.sort((one, other) => other.isFault - one.isFault);
        }

        const placeOf = (part, count) => part.offset < size
          ? {start: part.offset, end: Math.min(size, part.offset + (count || part.size || 1))} : null;

        function listRow(text, place, isFault, mark, tail) {
          const row = make('button', {class: 'row', type: 'button', click: () => {
            if (place) choose(place.start, place.end, {title: text, row});
          }}, mark, make('span', {class: 'grow' + (isFault ? ' fault' : '')}, text),
            tail && make('span', {class: 'size'}, tail));
          row.disabled = !place;
          return make('li', {}, row);
        }

        function showFindings() {
          const all = findings(), faults = all.filter(finding => finding.isFault).length;
          $('findings-count').textContent = many(faults, 'error', 'errors') + ', '
            + many(all.length - faults, 'note', 'notes');
          if (!all.length) return $('findings').append(make('li', {class: 'quiet'}, 'Nothing was found.'));
          $('findings').after(lazily($('findings'), all.length, 100,
            index => listRow(all[index].text, all[index].place, all[index].isFault)));
        }

        /** Of two disks: the ranges that differ, as the command counts them, each in as many rows as it has kinds of parts. */
        function showDifferences() {
          const indexes = [];
          data.ranges.forEach((range, index) => {
            for (let at = 1; at < range.length; at += 2) if (kinds[range[at]].listed) return indexes.push(index);
          });
          const count = indexes.filter((index, item) => index !== indexes[item - 1] + 1).length;
          $('findings-count').textContent = many(count, 'range', 'ranges')
            + (count < indexes.length ? ', in ' + many(indexes.length, 'part', 'parts') : '');
          if (!indexes.length) return $('findings').append(make('li', {class: 'quiet'}, 'The disks are the same.'));
          $('findings').after(lazily($('findings'), indexes.length, 200, item => {
            const index = indexes[item], [start, end] = [starts[index], starts[index + 1]], mix = mixOf(start, end);
            const names = mix.map(([kind]) => kinds[kind].name).join(', ');
            return listRow(`${placeText(start, end)} ${names}`, {start, end}, false, swatch(mix[0][0]),
              sizeText(end - start));
          }));
        }

        function showLegend() {
          const totals = new Map();
          for (const range of data.ranges) {
            for (let at = 1; at < range.length; at += 2) {
              totals.set(range[at], (totals.get(range[at]) || 0) + (range.length === 2 ? range[0] : range[at + 1]));
            }
          }
          const order = kinds.map((kind, index) => index).filter(kind => totals.has(kind));
          order.sort((one, other) => (kinds[one].last || 0) - (kinds[other].last || 0));
          for (const kind of order) {
            const count = totals.get(kind);
            $('legend').append(make('li', {}, make('button', {
              class: 'row', type: 'button', title: 'Go to the next place of this', click: () => nextOf(kind),
              'data-name': kinds[kind].name, 'data-bytes': count,
            }, swatch(kind), make('span', {class: 'grow'}, kinds[kind].name),
              make('span', {class: 'size'}, sizeText(count)),
              make('span', {class: 'size share'}, shareText(count, size)))));
          }
        }

        /** Goes to the next range that has `kind`, after what is chosen; from the last to the first. */
        function nextOf(kind) {
          const count = data.ranges.length, from = chosen ? rangeAt(chosen.start) + 1 : 0;
          for (let step = 0; step < count; step++) {
            const index = (from + step) % count, range = data.ranges[index];
            for (let at = 1; at < range.length; at += 2) {
              if (range[at] === kind) return choose(starts[index], starts[index + 1]);
            }
          }
        }

        const links = {host: 'data', l2: 'L2 table', table: 'grain table', block: 'refcount block'};
        const shownElsewhere = new Set(
          ['index', 'offset', 'raw', 'fault', 'guest', 'guest-size', ...Object.keys(links)]);

        function entryRow(structure, entry) {
          const title = `${structure.path}: entry ${entry.index}`, place = placeOf(entry, 8);
          const words = Object.entries(entry).filter(([key]) => !shownElsewhere.has(key))
            .map(([key, value]) => value === true ? key : key === 'kind' ? value : `${key} ${value}`);
          if (entry.guest !== undefined) {
            words.unshift(`disk ${placeText(entry.guest, entry.guest + (entry['guest-size'] || 1))}`);
          }
          const row = make('tr', {}, make('td', {}, linkTo(`[${entry.index}]`, title, place)),
            make('td', {}, words.join(', ') + ' '));
          for (const [key, name] of Object.entries(links)) {
            if (entry[key] === undefined) continue;
            const target = entry[key] < size ? {start: entry[key], end: Math.min(size, entry[key] + unit)} : null;
            row.lastChild.append(linkTo('→ ' + hex(entry[key]), `${title} leads to this ${name}`, target));
          }
          if (entry.fault) row.lastChild.append(make('div', {class: 'fault'}, entry.fault));
          return row;
        }

        function linkTo(text, title, place) {
          const button = make('button', {class: 'link mono', type: 'button', click: () => {
            if (place) choose(place.start, place.end, {title});
          }}, text);
          button.disabled = !place;
          return button;
        }

        function fieldRow(structure, field) {
          const row = make('tr', {},
            make('td', {}, linkTo(field.name, `${structure.path}: ${field.name} = ${field.value}`, placeOf(field))),
            make('td', {}, field.value, make('div', {class: 'quiet mono'},
              `${hex(field.offset)}${field.raw ? ': ' + field.raw : ''}`)));
          if (field.fault) row.lastChild.append(make('div', {class: 'fault'}, field.fault));
          return row;
        }

        function table(rows, row) {
          const body = make('tbody'), whole = make('div', {class: 'scroll'}, make('table', {}, body));
          whole.append(lazily(body, rows.length, 200, index => row(rows[index])));
          return whole;
        }

        const hasFault = structure => (structure.faults || []).length > 0
          || [...(structure.fields || []), ...(structure.entries || [])].some(part => part.fault)
          || (structure.structures || []).some(hasFault);

        function structureItem(structure) {
          const place = structure.offset === undefined ? null : placeOf(structure);
          const where = structure.offset === undefined ? null
            : linkTo(hex(structure.offset), structure.path, place);
          const whole = make('details', {toggle: () => {
            if (whole.open && !whole.lastChild.childElementCount) fill();
          }},
            make('summary', {}, make('span', {class: 'name' + (hasFault(structure) ? ' fault' : '')}, structure.name),
              where, make('span', {class: 'quiet'}, structure.size === undefined ? '' : sizeText(structure.size))),
            make('div', {class: 'inner'}));
          function fill() {
            const inner = whole.lastChild;
            for (const fault of structure.faults || []) inner.append(make('p', {class: 'fault'}, fault));
            for (const note of structure.notes || []) inner.append(make('p', {class: 'quiet'}, note));
            if (structure.fields) inner.append(table(structure.fields, field => fieldRow(structure, field)));
            if (structure.entries) inner.append(table(structure.entries, entry => entryRow(structure, entry)));
            for (const left of structure.omitted || []) {
              inner.append(make('p', {class: 'quiet'}, leftText(left)));
            }
            const children = make('div');
            if (structure.structures) {
              inner.append(children, lazily(children, structure.structures.length, 100,
                index => structureItem(structure.structures[index])));
            }
            if (!inner.childElementCount) inner.append(make('p', {class: 'quiet'}, 'Nothing is in it.'));
          }
          return whole;
        }
        """#
}
