import BlockImage
import ImageFormats
import ImageTools
import TestImages

/// Keeps what a listing tells, as a tree, for tests of small images.
final class RecordedLayout: LayoutConsumer {
    /// A structure with what belongs to it.
    struct Node {
        var structure: LayoutStructure
        var fields: [LayoutField] = []
        var entries: [LayoutEntry] = []
        var faults: [String] = []
        var notes: [String] = []
        var omitted: [String: UInt64] = [:]
        var children: [Node] = []

        /// All structures of the tree.
        var all: [Node] { [self] + children.flatMap(\.all) }
    }

    private var open = [Node(structure: LayoutStructure("file", at: nil, size: nil))]

    /// Everything.
    var root: Node { open[0] }
    var all: [Node] { root.all }

    /// The first structure whose name begins with `name`.
    func structure(_ name: String) -> Node? { all.first { $0.structure.name.hasPrefix(name) } }
    /// The field `name` of the first structure that begins with `structure`.
    func field(_ name: String, of structure: String = "header") -> LayoutField? {
        self.structure(structure)?.fields.first { $0.name == name }
    }

    /// All that is wrong, as text.
    var faults: [String] {
        all.flatMap { node in
            node.fields.compactMap { field in field.fault.map { "\(field.name): \($0)" } }
                + node.entries.compactMap { entry in entry.fault.map { "\(node.structure.name) \(entry.index): \($0)" }
                }
                + node.faults.map { "\(node.structure.name): \($0)" }
        }
    }

    func begin(_ structure: LayoutStructure) throws(ImageError) { open.append(Node(structure: structure)) }
    func add(_ field: LayoutField) throws(ImageError) { open[open.count - 1].fields.append(field) }
    func add(_ entry: LayoutEntry) throws(ImageError) { open[open.count - 1].entries.append(entry) }
    func fault(_ message: ErrorText) throws(ImageError) {
        open[open.count - 1].faults.append(message.description)
    }
    func note(_ message: ErrorText) throws(ImageError) {
        open[open.count - 1].notes.append(message.description)
    }
    func omit(_ count: UInt64, _ what: String) throws(ImageError) {
        open[open.count - 1].omitted[what, default: 0] += count
    }
    func end() throws(ImageError) {
        let node = open.removeLast()
        open[open.count - 1].children.append(node)
    }
}

extension LayoutEntry {
    /// The number of the fact `name`.
    func number(_ name: String) -> UInt64? {
        switch facts.first(where: { $0.name == name })?.value {
        case .offset(let number)?, .number(let number)?, .range(let number, _)?: number
        default: nil
        }
    }

    /// The text of the fact `name`.
    func text(_ name: String) -> String? {
        if case .text(let text)? = facts.first(where: { $0.name == name })?.value { text } else { nil }
    }

    /// Whether it has the flag `name`.
    func hasFlag(_ name: String) -> Bool { facts.contains(.init(name, .flag)) }
}

/// The listing of the image `bytes`.
func listing(
    _ bytes: [UInt8], as format: ImageFormat? = nil, options: LayoutOptions = LayoutOptions(showsEntries: true)
) throws -> RecordedLayout {
    let layout = RecordedLayout()
    try InspectedImage(MemoryFile(bytes), as: format).list(to: layout, options)
    return layout
}

/// The map of the image `bytes`.
func hostMap(_ bytes: [UInt8], as format: ImageFormat? = nil, cellLimit: Int = 4096) throws -> HostMap {
    try InspectedImage(MemoryFile(bytes), as: format).hostMap(cellLimit: cellLimit)
}

extension HostMap {
    /// The bytes of `use`.
    func bytes(_ use: HostUse) -> UInt64 { totals.first { $0.use == use }?.count ?? 0 }
}
