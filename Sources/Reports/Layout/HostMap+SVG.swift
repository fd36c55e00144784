import BlockImage
import ImageTools

extension HostMap {
    /// The most cells that a picture has.
    package static let pictureCellLimit = 6144

    /// The map as a picture: an SVG document of its own, with a legend, and a tooltip on each cell. `title` is shown as
    /// it is, but for what XML may not have.
    package func svg(title: String) -> String {
        let (cells, cellSize) = reduced(to: Self.pictureCellLimit)
        let picture = Picture(self, cells, cellSize)
        return picture.document(title: escapedMarkup(printable(title)))
    }

    /// The parts of the picture and where they stand, in pixels.
    private struct Picture {
        let map: HostMap
        let cells: [Cell]
        let cellSize: UInt64
        let columns: Int
        let side: Int

        static let left = 132
        static let gridTop = 128
        static let gridWidth = 960
        static let cornerRemark = "A corner of another colour: the square has something else in it, too."

        init(_ map: HostMap, _ cells: [Cell], _ cellSize: UInt64) {
            self.map = map
            self.cells = cells
            self.cellSize = cellSize
            columns = cells.count <= 256 ? 32 : cells.count <= 1536 ? 64 : 96
            side = Self.gridWidth / columns
        }

        var rows: Int { max(1, (cells.count + columns - 1) / columns) }
        var legendTop: Int { Self.gridTop + rows * side + 46 }
        var width: Int { Self.left + Self.gridWidth + 40 }

        func document(title: String) -> String {
            let totals = map.totals
            let remarks = cells.contains { $0.ranked.count > 1 } ? [Self.cornerRemark] : []
            let notes = remarks + map.notes.map(\.description)
            let height = legendTop + (totals.count + 1) / 2 * 30 + notes.count * 22 + 20
            var text = """
                <?xml version="1.0" encoding="UTF-8"?>
                <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
                viewBox="0 0 \(width) \(height)" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif">
                <title>\(title): use of the file</title>
                \(style(totals.map(\.use)))
                <rect width="100%" height="100%" fill="#ffffff"/>
                <text x="40" y="46" font-size="22" font-weight="600" fill="#1d2733">\(title)</text>
                <text x="40" y="72" font-size="13" fill="#5b6876">\(subtitle)</text>

                """
            text += proportions(totals)
            text += grid()
            text += legend(totals)
            for (index, note) in notes.enumerated() {
                let top = legendTop + (totals.count + 1) / 2 * 30 + 14 + index * 22
                text +=
                    "<text x=\"\(Picture.left)\" y=\"\(top)\" font-size=\"12\" "
                    + "fill=\"\(index < remarks.count ? "#5b6876" : "#b02a37")\">"
                    + "\(escapedMarkup(printable(note)))</text>\n"
            }
            return text + "</svg>\n"
        }

        private var subtitle: String {
            "\(humanSize(map.size)) (\(counted(map.size, "byte"))) · one square is \(humanSize(cellSize))"
                + (cellSize > map.unit ? ", \(cellSize / map.unit) units of \(humanSize(map.unit))" : "")
        }

        private func style(_ uses: [HostUse]) -> String {
            let rules = uses.map { ".u\($0.rawValue){fill:\($0.colour)}" }.joined(separator: " ")
            return "<style>\(rules) .c:hover{stroke:#1d2733;stroke-width:2}</style>"
        }

        /// A bar whose parts are as wide as each use has bytes.
        private func proportions(_ totals: [(use: HostUse, count: UInt64)]) -> String {
            var text = ""
            var start = 0.0
            let whole = Double(max(1, map.size))
            for (use, count) in totals {
                let width = Double(count) / whole * Double(Picture.gridWidth)
                text +=
                    "<rect class=\"u\(use.rawValue)\" x=\"\(pixels(Double(Picture.left) + start))\" y=\"92\" "
                    + "width=\"\(pixels(width))\" height=\"14\"><title>\(use.name): \(escapedMarkup(percentage(count, of: map.size)))"
                    + "</title></rect>\n"
                start += width
            }
            return text
        }

        private func grid() -> String {
            var text = ""
            // Not every row has a label where rows are low.
            let step = max(1, (18 + side - 1) / side)
            for row in stride(from: 0, to: rows, by: step) where row * columns < cells.count {
                let top = Picture.gridTop + row * side + min(side, 22) / 2 + 4
                text +=
                    "<text x=\"\(Picture.left - 12)\" y=\"\(top)\" font-size=\"11\" text-anchor=\"end\" "
                    + "font-family=\"ui-monospace, 'DejaVu Sans Mono', monospace\" fill=\"#7b8794\">"
                    + "\(HostOffset(UInt64(row * columns) * cellSize))</text>\n"
            }
            for (index, cell) in cells.enumerated() { text += square(cell, index) }
            return text
        }

        /// A cell; a corner of it has the colour of what is second most in it.
        private func square(_ cell: Cell, _ index: Int) -> String {
            let x = Picture.left + index % columns * side
            let y = Picture.gridTop + index / columns * side
            let gap = side >= 20 ? 2 : 1
            let size = side - gap
            let ranked = cell.ranked
            var text =
                "<g><rect class=\"c u\(cell.use.rawValue)\" x=\"\(x)\" y=\"\(y)\" width=\"\(size)\" "
                + "height=\"\(size)\"\(side >= 15 ? " rx=\"2\"" : "")/>"
            if ranked.count > 1 {
                let corner = size * 6 / 10
                text +=
                    "<path class=\"u\(ranked[1].rawValue)\" d=\"M\(x + size) \(y + size - corner)v\(corner)h-\(corner)z\"/>"
            }
            if cell.use == .overlap, size >= 6 {
                text +=
                    "<path d=\"M\(x + 2) \(y + 2)l\(size - 4) \(size - 4)m0 -\(size - 4)l-\(size - 4) \(size - 4)\" "
                    + "stroke=\"#fff\" stroke-width=\"1.5\"/>"
            }
            let start = UInt64(index) * cellSize
            let last = min(map.size, start + cellSize) - 1
            let held = last - start + 1
            let parts = ranked.map { use in
                ranked.count == 1
                    ? use.name : "\(use.name) \(percentage(cell.counts[Int(use.rawValue)], of: held))"
            }
            return text
                + "<title>\(HostOffset(start))–\(HostOffset(last)): \(escapedMarkup(parts.joined(separator: ", ")))</title></g>\n"
        }

        private func legend(_ totals: [(use: HostUse, count: UInt64)]) -> String {
            var text = ""
            for (index, entry) in totals.enumerated() {
                let x = index % 2 == 0 ? Picture.left : Picture.left + Picture.gridWidth / 2 + 10
                let y = legendTop + index / 2 * 30
                text +=
                    "<rect class=\"u\(entry.use.rawValue)\" x=\"\(x)\" y=\"\(y - 14)\" width=\"18\" height=\"18\" rx=\"3\"/>"
                text += "<text x=\"\(x + 28)\" y=\"\(y)\" font-size=\"14\" fill=\"#1d2733\">\(entry.use.name)</text>"
                text +=
                    "<text x=\"\(x + 330)\" y=\"\(y)\" font-size=\"14\" text-anchor=\"end\" fill=\"#5b6876\">"
                    + "\(humanSize(entry.count))</text>"
                text +=
                    "<text x=\"\(x + 420)\" y=\"\(y)\" font-size=\"14\" text-anchor=\"end\" fill=\"#5b6876\">"
                    + "\(escapedMarkup(percentage(entry.count, of: map.size)))</text>\n"
            }
            return text
        }
    }
}

/// Pixels to a hundredth.
private func pixels(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let rest = hundredths % 100
    return rest == 0 ? "\(hundredths / 100)" : "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
}
