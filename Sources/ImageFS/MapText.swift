import BlockImage
import ImageFormats

/// The text of a `map.json`, made as it is read: the map of a large disk may have millions of runs, and takes no more
/// memory than that of a small one. Every method may be called from any thread.
final class MapText: Sendable {
    /// How much text is made ahead and kept behind the last read.
    private static let window = 1 << 20

    fileprivate struct State {
        var map: DiskMap
        /// The place in the text that `text` begins at.
        var start: UInt64 = 0
        var text: [UInt8] = Array("[".utf8)
        var isFirst = true
        var isComplete = false
    }

    private let image: Image
    private let state: Guarded<State>

    /// The text of the map of `image`.
    init(_ image: Image) {
        self.image = image
        state = Guarded(State(map: DiskMap(image)))
    }

    /// The size of the whole text, in bytes; nil where it takes more than 10,000 runs to tell.
    func size() -> UInt64? {
        var state = State(map: DiskMap(image))
        for _ in 0..<10_000 {
            state.addEntry(upTo: image.virtualSize)
            if state.isComplete { return UInt64(state.text.count) }
        }
        return nil
    }

    /// At most `count` bytes of the text from `offset` on; none behind its end. Who goes back has it made from its start.
    func bytes(_ count: Int, at offset: UInt64) -> [UInt8] {
        state.withLock { state in
            if offset < state.start { state = State(map: DiskMap(image)) }
            let end = offset.addingReportingOverflow(UInt64(count))
            let wanted = end.overflow ? UInt64.max : end.partialValue
            while !state.isComplete, state.start + UInt64(state.text.count) < wanted {
                state.addEntry(upTo: image.virtualSize)
                // What was read long ago is let go.
                if state.text.count > 2 * Self.window {
                    let dropped = min(state.text.count - Self.window, Int(clamping: offset - min(offset, state.start)))
                    state.text.removeFirst(dropped)
                    state.start += UInt64(dropped)
                }
            }
            let first = Int(clamping: offset - state.start)
            guard first < state.text.count else { return [] }
            return Array(state.text[first...].prefix(count))
        }
    }
}

extension MapText.State {
    /// Adds the text of the next run, or the end of the text. Damage ends the map with an entry that says so.
    fileprivate mutating func addEntry(upTo size: UInt64) {
        do throws(ImageError) {
            guard let entry = try map.next() else { return end() }
            add(Self.text(of: entry))
        } catch {
            let rest =
                "\"start\": \(map.end), \"length\": \(size - map.end), \"error\": \(Self.quoted(error.description))"
            add("{ \(rest)}")
            end()
        }
    }

    private mutating func add(_ entry: String) {
        if !isFirst { text += Array(",\n".utf8) }
        isFirst = false
        text += Array(entry.utf8)
    }

    private mutating func end() {
        text += Array("]\n".utf8)
        isComplete = true
    }

    /// The entry as `qemu-img map` prints it.
    private static func text(of entry: MapEntry) -> String {
        let offset = entry.offset.map { ", \"offset\": \($0)" } ?? ""
        return "{ \"start\": \(entry.start), \"length\": \(entry.length), \"depth\": \(entry.depth), "
            + "\"present\": \(entry.present), \"zero\": \(entry.zero), \"data\": \(entry.data), "
            + "\"compressed\": \(entry.compressed)\(offset)}"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
