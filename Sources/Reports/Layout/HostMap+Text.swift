import BlockImage
import ImageTools

extension HostMap {
    /// The map in at most `limit` cells: as it is, or with as many neighbours as it takes put together.
    func reduced(to limit: Int) -> (cells: [Cell], cellSize: UInt64) {
        let perCell = max(1, (cells.count + max(1, limit) - 1) / max(1, limit))
        guard perCell > 1 else { return (cells, cellSize) }
        let reduced = stride(from: 0, to: cells.count, by: perCell).map { first in
            cells[first..<min(first + perCell, cells.count)].dropFirst().reduce(cells[first]) { $0.joined(with: $1) }
        }
        return (reduced, cellSize.multipliedReportingOverflow(by: UInt64(perCell)).partialValue)
    }

    /// The map as lines of text: one letter a cell, in rows that begin with where in the file they lie, and a legend.
    /// Small letters are cells of which only the most is what the letter says.
    package func text(_ style: TextStyle, rowLimit: Int = 16) -> String {
        let label = max(8, HostOffset(size).description.count) + 2
        let columns = min(200, max(32, (style.columns - label) / 8 * 8))
        let (cells, cellSize) = reduced(to: columns * rowLimit)
        let units = cellSize / unit
        var text = "use of the file: \(humanSize(size)); one letter is \(humanSize(cellSize))"
        if unit > 1, units > 1 { text += ", \(units) units of \(humanSize(unit))" }
        text = style.wrap.wrapped(text) + "\n"
        for first in stride(from: 0, to: cells.count, by: columns) {
            text += style.quiet(padded(HostOffset(UInt64(first) * cellSize).description, label))
            for cell in cells[first..<min(first + columns, cells.count)] { text += letter(of: cell, style) }
            text += "\n"
        }
        text += "\n"
        for (use, count) in totals {
            let mark =
                style.hasColours ? "\u{1b}[48;5;\(use.terminalColour);30m \(use.letter) \u{1b}[0m" : " \(use.letter) "
            text +=
                "\(mark) \(padded(use.name, 25)) \(padded(counted(count, "byte"), 22, right: true)) "
                + "\(padded(percentage(count, of: size), 7, right: true))\n"
        }
        if cells.contains(where: { $0.ranked.count > 1 }) { text += "small letters: most of it, and something else\n" }
        for note in notes {
            text += style.wrap.wrapped("(\(printable(note.description)))", hanging: 1) + "\n"
        }
        return text
    }

    private func letter(of cell: Cell, _ style: TextStyle) -> String {
        let letter = cell.ranked.count > 1 ? cell.use.letter.lowercased() : String(cell.use.letter)
        return style.hasColours ? "\u{1b}[48;5;\(cell.use.terminalColour);30m\(letter)\u{1b}[0m" : letter
    }
}

extension HostMap.Cell {
    /// The two cells as one.
    fileprivate func joined(with next: HostMap.Cell) -> HostMap.Cell {
        var sum = self
        sum.add(next)
        return sum
    }
}

extension HostUse {
    /// The letter of text strips. None is the small form of another.
    var letter: Character {
        switch self {
        case .free: "."
        case .header: "H"
        case .descriptor: "N"
        case .l1Table: "L"
        case .blockTable: "O"
        case .l2Table: "M"
        case .refcountTable: "T"
        case .refcountBlock: "R"
        case .snapshotTable: "S"
        case .bitmaps: "B"
        case .encryptionHeader: "E"
        case .grainDirectory: "G"
        case .redundantDirectory: "Q"
        case .grainTable: "A"
        case .redundantTable: "U"
        case .marker: "K"
        case .bookkeeping: "J"
        case .data: "D"
        case .compressed: "C"
        case .preallocated: "Z"
        case .snapshotData: "P"
        case .leaked: "X"
        case .overlap: "!"
        }
    }

    /// The colour among the 256 of terminals, light enough for black letters.
    var terminalColour: Int {
        switch self {
        case .free: 252
        case .header: 203
        case .descriptor: 209
        case .l1Table, .grainDirectory, .blockTable: 214
        case .redundantDirectory: 179
        case .l2Table, .grainTable: 227
        case .redundantTable: 187
        case .refcountTable: 43
        case .refcountBlock: 121
        case .snapshotTable: 213
        case .snapshotData: 147
        case .bitmaps: 180
        case .encryptionHeader: 245
        case .marker: 250
        case .bookkeeping: 73
        case .data: 75
        case .compressed: 141
        case .preallocated: 153
        case .leaked: 244
        case .overlap: 196
        }
    }
}

/// How much `count` is of `whole`, to a tenth of a percent; "<0.1 %" for something that is less.
func percentage(_ count: UInt64, of whole: UInt64) -> String {
    guard whole > 0 else { return "0 %" }
    // Rounded, where half of the whole more still fits.
    let (high, low) = count.multipliedFullWidth(by: 1000)
    let (rounded, carry) = low.addingReportingOverflow(whole / 2)
    let top = high + (carry ? 1 : 0)
    let permille = top < whole ? whole.dividingFullWidth((top, rounded)).quotient : 1000
    return permille == 0 && count > 0 ? "<0.1 %" : "\(permille / 10).\(permille % 10) %"
}
