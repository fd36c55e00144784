import BlockImage
import GuestFiles

/// The entries of one directory of a guest, by their names: 24 bytes and the name of each.
package struct GuestListing: Sendable {
    private struct Item {
        var start: Int
        var count: Int
        var file: GuestFileID
    }

    private var names: [UInt8] = []
    private var items: [Item] = []

    /// How many there are.
    package var count: Int { items.count }

    /// Whether the name at `index` begins with a dot.
    package func isHidden(_ index: Int) -> Bool { names[items[index].start] == UInt8(ascii: ".") }

    /// The entries of `directory`. Throws what listing it throws.
    init(_ directory: GuestFileID, of fileSystem: any GuestFileSystem) throws(ImageError) {
        var (names, items): ([UInt8], [Item]) = ([], [])
        try fileSystem.list(directory) { entry throws(ImageError) in
            items.append(Item(start: names.count, count: entry.name.count, file: entry.file))
            names += entry.name
            return true
        }
        items.sort {
            names[$0.start..<$0.start + $0.count].lexicographicallyPrecedes(names[$1.start..<$1.start + $1.count])
        }
        (self.names, self.items) = (names, items)
    }

    /// The name at `index`.
    package func name(_ index: Int) -> [UInt8] { self[index].name }

    /// The entry at `index`, below `count`.
    subscript(index: Int) -> (name: [UInt8], file: GuestFileID) {
        let item = items[index]
        return (Array(names[item.start..<item.start + item.count]), item.file)
    }
}
