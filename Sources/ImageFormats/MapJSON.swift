import BlockImage

/// The text of a map as `qemu-img map --output=json` writes it, made piece by piece: the map of a large disk may have
/// millions of runs, and takes no more memory than that of a small one.
public struct MapJSON: Sendable {
    private enum Place {
        case start, inside, end
    }

    /// The map that is written.
    public private(set) var map: DiskMap
    /// What ended the map early, once the text has come there: its last entry says so as well.
    public private(set) var error: ImageError?
    private var place = Place.start
    private var isFirst = true

    /// The text of what is left of `map`.
    public init(_ map: DiskMap) {
        self.map = map
    }

    /// The next piece of the text, at most one run long; nil behind its end.
    ///
    /// Damage ends the map with an entry of the rest of the disk that has a `start`, a `length` and an `error`.
    public mutating func next() -> String? {
        switch place {
        case .start:
            place = .inside
            return "["
        case .end: return nil
        case .inside: break
        }
        guard error == nil else { return end() }
        do throws(ImageError) {
            guard let entry = try map.next() else { return end() }
            return separated(Self.text(of: entry))
        } catch {
            self.error = error
            let count = map.limit - map.end
            return separated(
                "{ \"start\": \(map.end), \"length\": \(count), \"error\": \(jsonString(error.description))}")
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
