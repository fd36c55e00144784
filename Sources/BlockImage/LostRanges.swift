/// A part of a disk that cannot be read, and why; in JSON, under the names that they have here.
public struct LostRange: Hashable, Encodable, Sendable {
    /// The first byte of the disk.
    public var start: UInt64
    /// How many bytes; at least one.
    public var length: UInt64
    /// Why the first of them cannot be read; the others for the same reason, at other places.
    public var error: ImageError

    /// The `length` bytes from `start` on, which cannot be read because of `error`.
    public init(start: UInt64, length: UInt64, error: ImageError) {
        self.start = start
        self.length = length
        self.error = error
    }

    /// Where it ends.
    public var end: UInt64 { start.addingReportingOverflow(length).overflow ? .max : start + length }
}

/// What of a disk cannot be read, in the order of the disk. Neighbours that are lost for the same reason are one range.
/// Bounded: a hostile image can have any number of them.
public struct LostRanges: Hashable, Sendable {
    /// The most ranges that are kept.
    public static let limit = 10_000

    private var kept: [LostRange] = []
    /// What is not kept: how many ranges, from where to where, and how many bytes in them.
    private var others: (count: UInt64, bytes: Range<UInt64>, size: UInt64)?

    /// Nothing is lost.
    public init() {}

    /// Whether nothing is lost.
    public var isEmpty: Bool { kept.isEmpty }

    /// Every range; where there are more than `limit`, the last one stands for all others, and says so.
    public var ranges: [LostRange] {
        guard let others else { return kept }
        return kept + [
            LostRange(
                start: others.bytes.lowerBound, length: UInt64(others.bytes.count),
                error: ImageError(
                    .corrupt, about: .disk,
                    "\(counted(others.count, "more range")) in here cannot be read, \(counted(others.size, "byte"))"))
        ]
    }

    /// How many bytes cannot be read.
    public var size: UInt64 { kept.reduce(others?.size ?? 0) { $0 &+ $1.length } }

    /// Adds the `length` bytes from `start` on, which begin behind those that were added before.
    public mutating func add(_ start: UInt64, _ length: UInt64, _ error: @autoclosure () -> ImageError) {
        guard length > 0 else { return }
        let end = start.addingReportingOverflow(length).overflow ? .max : start + length
        if let others {
            let isNeighbour = others.bytes.upperBound == start
            self.others = (
                others.count + (isNeighbour ? 0 : 1), others.bytes.lowerBound..<max(end, others.bytes.upperBound),
                others.size + length
            )
            return
        }
        let error = error()
        if let last = kept.last, last.end == start, last.error.hasReason(of: error) {
            kept[kept.count - 1].length += length
        } else if kept.count < Self.limit {
            kept.append(LostRange(start: start, length: length, error: error))
        } else {
            others = (1, start..<end, length)
        }
    }

    /// Adds `ranges`, which begin behind those that were added before.
    public mutating func add(_ ranges: [LostRange]) {
        for range in ranges { add(range.start, range.length, range.error) }
    }

    /// Whether both hold the same.
    public static func == (left: Self, right: Self) -> Bool { left.ranges == right.ranges }

    /// Goes by the ranges, as `==` does.
    public func hash(into hasher: inout Hasher) { hasher.combine(ranges) }
}

extension ImageError {
    /// Whether `other` is the same thing at another place: of the same kind, about the same file, and in the same words but for
    /// their numbers.
    fileprivate func hasReason(of other: ImageError) -> Bool {
        guard code == other.code, subject == other.subject else { return false }
        if detail == other.detail { return true }
        return Self.withoutNumbers("\(detail)").elementsEqual(Self.withoutNumbers("\(other.detail)"))
    }

    /// The bytes of `text` with a zero in place of each number, decimal or hexadecimal.
    private static func withoutNumbers(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        var isInNumber = false
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                if !isInNumber { bytes.append(UInt8(ascii: "0")) }
                isInNumber = true
            case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "x"):
                if !isInNumber { bytes.append(byte) }
            default:
                isInNumber = false
                bytes.append(byte)
            }
        }
        return bytes
    }
}

extension Image {
    /// What of a disk is lost with one place of a file that cannot be read.
    private static let sectorSize: UInt64 = 512
    /// The most bytes that are read at once behind a place that cannot be read.
    private static let longRead: UInt64 = 1 << 20

    /// How many bytes of the disk from `start` on, where `resolve` throws, cannot be found for the same reason: at least
    /// one, at most `limit`. So what a truncated file lacks is one range, and is passed in one step.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        var (limit, image) = (limit, self)
        while start.rawValue < image.virtualSize {
            limit = min(limit, image.virtualSize - start.rawValue)
            guard let extent = try? image.layer.extent(at: start, limit: limit) else {
                return max(1, min(limit, image.layer.lost(at: start, limit: limit)))
            }
            guard case .unallocated = extent.storage, let backing = image.backing else { return extent.count }
            (limit, image) = (extent.count, backing)
        }
        return limit
    }

    /// Appends the bytes `part` of the disk to `output`. What cannot be read is zeros, and goes to `lost`; `note` hears the
    /// error of each place.
    public func read(
        _ part: Range<UInt64>, into output: inout OutputRawSpan, _ lost: inout LostRanges,
        note: (ImageError) -> Void = { _ in }
    ) {
        var position = part.lowerBound
        var step = max(1, UInt64(part.count))
        while position < part.upperBound {
            // Up to the end of a sector, whatever was read before the error.
            let end = min((position + step) / Self.sectorSize * Self.sectorSize, part.upperBound)
            let count = Int((end > position ? end : part.upperBound) - position)
            let before = output.byteCount
            do throws(ImageError) {
                try read(count, at: GuestOffset(position), into: &output)
                position += UInt64(count)
                step = min(step * 2, Self.longRead)
            } catch {
                let good = output.byteCount - before
                position += UInt64(good)
                let left = UInt64(count - good)
                guard
                    let gone = lostAsOne(at: position, limit: part.upperBound - position)
                        ?? (step > Self.sectorSize ? nil : left)
                else {
                    step = max(Self.sectorSize, step / 2)
                    continue
                }
                output.appendZeros(Int(gone))
                note(error)
                lost.add(position, gone, error)
                position += gone
            }
        }
    }

    /// How many bytes are lost from `start` on, where reading failed, if they are lost together: a run that cannot be
    /// found, or that is compressed. Nil where each sector may be good or bad.
    private func lostAsOne(at start: UInt64, limit: UInt64) -> UInt64? {
        guard let found = try? resolve(at: GuestOffset(start), limit: limit) else {
            return lost(at: GuestOffset(start), limit: limit)
        }
        switch found.extent.storage {
        case .encoded(.compressed, _, _, _), .encoded(.checked, _, _, _): return found.extent.count
        default: return nil
        }
    }
}
