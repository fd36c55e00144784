extension PageDocument {
    /// What the page knows: the ranges, which parts of the disk they store, and how both are said.
    static let modelScript = #"""
        'use strict';
        // What goes wrong is said, not only in the browser's console.
        function fail(text) {
          document.documentElement.dataset.error = text;
          const place = document.getElementById('failure');
          place.hidden = false;
          place.textContent = 'This page does not work as it should: ' + text;
        }
        addEventListener('error', event => fail(event.message));
        addEventListener('securitypolicyviolation', event => fail(event.violatedDirective));
        const data = JSON.parse(document.getElementById('data').textContent);
        const size = data.size, unit = data.unit, kinds = data.kinds, stored = data.stored || [];
        const isFile = data.space === 'file';

        // Where the ranges begin: each is [bytes, kind], or, of several kinds, [bytes, kind, bytes, kind, bytes…].
        const starts = new Float64Array(data.ranges.length + 1);
        data.ranges.forEach((range, index) => { starts[index + 1] = starts[index] + range[0]; });
        // Up to where the stored parts before reach, since they may overlap.
        const reach = new Float64Array(stored.length);
        stored.forEach((part, index) => {
          reach[index] = Math.max(index ? reach[index - 1] : 0, part[0] + part[1]);
        });

        /** The first index below `count` for which `holds`, which holds for all after it. */
        function firstIndex(count, holds) {
          let low = 0, high = count;
          while (low < high) {
            const middle = (low + high) >> 1;
            if (holds(middle)) high = middle; else low = middle + 1;
          }
          return low;
        }

        const rangeAt = position => Math.max(0, firstIndex(data.ranges.length, index => starts[index + 1] > position));

        /** The bytes of each kind from `start` to `end`: first what must not be missed, then what there is most of. */
        function mixOf(start, end) {
          const bytes = new Map();
          const add = (kind, count) => bytes.set(kind, (bytes.get(kind) || 0) + count);
          for (let index = rangeAt(start); index < data.ranges.length && starts[index] < end; index++) {
            const range = data.ranges[index];
            const count = Math.min(end, starts[index + 1]) - Math.max(start, starts[index]);
            if (range.length === 2) add(range[1], count);
            else for (let at = 1; at < range.length; at += 2) add(range[at], range[at + 1] * count / range[0]);
          }
          return [...bytes].sort((one, other) =>
            (kinds[other[0]].urgent || 0) - (kinds[one[0]].urgent || 0) || other[1] - one[1]);
        }

        /** The stored parts of the file from `start` to `end`, at most `limit` of them. */
        function storedIn(start, end, limit) {
          const found = [];
          let index = firstIndex(stored.length, index => stored[index][0] >= end) - 1;
          for (; index >= 0 && reach[index] > start && found.length < limit; index--) {
            if (stored[index][0] + stored[index][1] > start) found.push(stored[index]);
          }
          return found.reverse();
        }

        const hex = number => '0x' + number.toString(16);
        const placeText = (start, end) => end - start > 1 ? `${hex(start)}–${hex(end - 1)}` : hex(start);
        function sizeText(count) {
          const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
          let step = 0, value = count;
          while (value >= 1024 && step < 6) { value /= 1024; step++; }
          return (step ? value.toFixed(value % 1 && value < 100 ? 1 : 0) : value) + ' ' + names[step];
        }
        function shareText(count, whole) {
          const share = whole ? count / whole * 100 : 0;
          return share > 0 && share < 0.05 ? '<0.1 %' : share.toFixed(1) + ' %';
        }
        const many = (count, one, more) => count.toLocaleString('en') + ' ' + (count === 1 ? one : more);

        const structures = [];
        (function gather(list, path) {
          for (const structure of list || []) {
            structure.path = path ? path + ' › ' + structure.name : structure.name;
            structures.push(structure);
            gather(structure.structures, structure.path);
          }
        })(data.structures, '');
        const endOf = structure => structure.offset + (structure.size || 1);

        function ownerText(snapshot) {
          if (snapshot < 0) return '';
          if (snapshot === 0xffffffff) return 'several snapshots';
          const structure = structures.find(structure => structure.name === 'snapshot ' + snapshot);
          const name = structure && (structure.fields || []).find(field => field.name === 'name');
          return `snapshot ${snapshot}` + (name ? ' ' + name.value : '');
        }

        /** What a stored part, as far as it lies from `start` to `end`, holds or leads to. */
        function storedText(part, start, end) {
          const [offset, count, use, from, covered, snapshot, pieces, isJoined] = part;
          const kind = kinds[use], space = kind.covers || 'disk';
          if (isJoined) {
            return `${many(pieces, kind.item || 'piece', kind.items || 'pieces')} of ${kind.name} for parts of the `
              + `${space} within ${placeText(from, from + covered)}`;
          }
          // Where pieces are of one size each, only those that lie here are meant.
          const isEven = kind.table || count === covered;
          const step = kind.table ? count / pieces : 1;
          const first = isEven ? Math.floor(Math.max(0, start - offset) / step) : 0;
          const last = isEven ? Math.ceil(Math.min(count, end - offset) / step) : pieces;
          if (kind.table) {
            const each = covered / pieces, index = from / each + first, lastIndex = from / each + last - 1;
            const which = last - first > 1 ? `${kind.tables} ${index}–${lastIndex}` : `${kind.table} ${index}`;
            return `${which}: for ${space} ${placeText(from + first * each, from + last * each)}`;
          }
          const place = isEven ? placeText(from + first, from + last) : placeText(from, from + covered);
          if (count === covered) return `${space} ${place}`;
          return `${space} ${place}, compressed in ${placeText(offset, offset + count)}`;
        }

        /** What the parts from `start` to `end` hold, the disk and snapshots that share one on one line. */
        function storedLines(parts, start, end) {
          const owners = new Map();
          for (const part of parts) {
            const text = storedText(part, start, end);
            if (!owners.has(text)) owners.set(text, []);
            owners.get(text).push(part[5]);
          }
          return [...owners].map(([text, all]) => {
            const names = all.sort((one, other) => one - other).map(ownerText);
            if (names.every(name => !name)) return text;
            return `${text} (${names.map(name => name || 'the disk itself').join(', ')})`;
          });
        }

        /** What lies from `start` to `end`: a heading and lines. */
        function describe(start, end, lineLimit) {
          const mix = mixOf(start, end);
          const head = `${placeText(start, end)} · ${sizeText(end - start)}`;
          const use = mix.map(([kind, count]) => mix.length === 1
            ? kinds[kind].name : `${kinds[kind].name} ${shareText(count, end - start)}`).join(', ');
          const lines = [use];
          if (isFile) {
            const found = storedIn(start, end, 1000), held = storedLines(found, start, end);
            lines.push(...held.slice(0, lineLimit));
            if (held.length > lineLimit) {
              lines.push(`and ${found.length < 1000 ? held.length - lineLimit : 'many'} more parts of the disk`);
            }
            const names = structures.filter(structure => structure.offset < end && endOf(structure) > start
              && !structure.structures && !lines.some(line => line.startsWith(structure.name)))
              .slice(0, 5).map(structure => structure.path);
            if (names.length) lines.push('in it: ' + names.join('; ') + (names.length === 5 ? ' …' : ''));
          } else {
            const sector = data.sectorSize, first = Math.floor(start / sector), last = Math.ceil(end / sector) - 1;
            lines.push(last > first ? `sectors ${first}–${last}` : `sector ${first}`);
          }
          return {head, lines};
        }
        """#
}
