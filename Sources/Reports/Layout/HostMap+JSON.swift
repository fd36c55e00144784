import BlockImage
import ImageFormats
import ImageTools

extension HostMap {
    /// The map as a JSON object: the bytes of each use, and the cells, neighbours of one kind put together; paths are
    /// called what `naming` says.
    package func json(naming: (any PathNaming)? = nil) -> String {
        var object = JSONObject()
        object.add("file-size", size)
        object.add("unit", unit)
        object.add("cell-size", cellSize)
        object.add("exact", raw: "\(isExact)")
        let uses = totals.map { use, count in
            var object = JSONObject()
            object.add("use", use.name)
            object.add("bytes", count)
            return object.text
        }
        object.add("uses", raw: "[\(uses.joined(separator: ", "))]")
        object.add("cells", raw: "[\(runs.joined(separator: ",\n"))]")
        if !notes.isEmpty {
            object.add("notes", raw: "[\(notes.map { jsonString($0.text(naming: naming)) }.joined(separator: ", "))]")
        }
        return object.text
    }

    /// Cells that are of the same uses, one after another, as objects.
    private var runs: [String] {
        var runs: [String] = []
        var first = 0
        while first < cells.count {
            let uses = cells[first].ranked
            var end = first + 1
            while end < cells.count, cells[end].ranked == uses { end += 1 }
            let start = UInt64(first) * cellSize
            var object = JSONObject()
            object.add("offset", start)
            object.add("size", end == cells.count ? size - start : UInt64(end) * cellSize - start)
            object.add("uses", raw: "[\(uses.map { jsonString($0.name) }.joined(separator: ", "))]")
            runs.append(object.text)
            first = end
        }
        return runs
    }
}
