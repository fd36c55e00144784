import BlockImage
import FormatCore
import ImageFormats
import ImageTools

extension InspectedImage {
    /// Hands the document of `inspect --output json` to `write` as it is found: a JSON object of what the file is,
    /// called `name`, with its `structures`, `fault-count` and, where `showsUse` says so, the `use` of its parts; where reading fails, it ends with an `error`.
    ///
    /// `hostMap` makes the map of that use once the structures are written; nil where it was not asked for: uses that
    /// overlap are one fault more. Answers the faults. Throws what reading, `hostMap` and `write` throw.
    package func writeJSON(
        named name: String, _ options: LayoutOptions, showsUse: Bool, naming: (any PathNaming)? = nil,
        hostMap: () throws -> HostMap?, to write: @escaping (String) throws(ImageError) -> Void
    ) throws -> UInt64 {
        try write(String(json(named: name, naming).dropLast()) + ",\n\"structures\": [")
        let json = LayoutJSON(naming: naming, write)
        let map: HostMap?
        do {
            try list(to: json, options)
            map = try hostMap()
        } catch let error as ImageError {
            // What was found up to there is a document, too.
            try json.endAll()
            try write(
                "],\n\"fault-count\": \(json.faultCount),\n\"error\": \(errorText(error, naming: naming))}\n")
            throw error
        }
        let faults = json.faultCount + (map?.hasFaults == true ? 1 : 0)
        try write("],\n\"fault-count\": \(faults)")
        if let map, showsUse { try write(",\n\"use\": \(map.json(naming: naming))") }
        try write("}\n")
        return faults
    }

    /// What it is, as a JSON object: `filename` (as `name` has it), `format`, `file-size`, `notes`.
    private func json(named name: String, _ naming: (any PathNaming)?) -> String {
        var object = JSONObject()
        object.add("schema", UInt64(schemaVersion))
        object.add("filename", name)
        object.add("format", format.rawValue)
        object.add("file-size", file.size)
        if !notes.isEmpty {
            object.add("notes", raw: "[\(notes.map { jsonString($0.text(naming: naming)) }.joined(separator: ", "))]")
        }
        return object.text
    }
}
