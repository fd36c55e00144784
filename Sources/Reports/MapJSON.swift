import BlockImage
import ImageFormats

/// The text of a map as `qemu-img map --output=json` writes it, made piece by piece: the map of a large disk may have
/// millions of runs, and takes no more memory than that of a small one.
package struct MapJSON: Sendable {
    private enum Place {
        case start, inside, end
    }

    /// The map that is written.
    package private(set) var map: DiskMap
    /// What could not be mapped so far: each range has an entry that says so.
    package private(set) var lost = LostRanges()
    private var place = Place.start
    private var isFirst = true

    private let naming: (any PathNaming)?

    /// The text of what is left of `map`; in errors, paths are called what `naming` says.
    package init(_ map: DiskMap, naming: (any PathNaming)? = nil) {
        self.map = map
        self.naming = naming
    }

    /// The next piece of the text, at most one run long; nil behind its end.
    ///
    /// A range that cannot be mapped has an entry of a `start`, a `length` and an `error`; the map goes on behind it.
    package mutating func next() -> String? {
        switch place {
        case .start:
            place = .inside
            return "["
        case .end: return nil
        case .inside: break
        }
        do throws(ImageError) {
            guard let entry = try map.next() else { return end() }
            return separated(Self.text(of: entry))
        } catch {
            let (start, length) = map.skipLost()
            lost.add(start, length, error)
            return separated(
                "{ \"start\": \(start), \"length\": \(length), \"error\": \(errorText(error, naming: naming))}")
        }
    }

    private mutating func end() -> String {
        place = .end
        return "]\n"
    }

    private mutating func separated(_ entry: String) -> String {
        defer { isFirst = false }
        return isFirst ? entry : ",\n" + entry
    }

    private static func text(of entry: MapEntry) -> String {
        let offset = entry.offset.map { ", \"offset\": \($0)" } ?? ""
        return "{ \"start\": \(entry.start), \"length\": \(entry.length), \"depth\": \(entry.depth), "
            + "\"present\": \(entry.present), \"zero\": \(entry.zero), \"data\": \(entry.data), "
            + "\"compressed\": \(entry.compressed)\(offset)}"
    }
}
