import BlockImage
import ByteFormat

/// A physical volume of LVM on a disk or a partition, and what it says of its group.
public struct PhysicalVolume: Sendable {
    /// Which one it is.
    public let id: VolumeID
    /// What its copies of the metadata say, each once, the newest first; none where it has none, as one of no group.
    public let copies: [VolumeGroup]
    /// Whether it may have metadata at all; if not, others of its group describe it.
    public let hasMetadataAreas: Bool
    /// What is wrong with it, in sentences.
    public let notes: [ErrorText]

    /// How many bytes of metadata may be read of a disk: partitions that overlap may name the same text any number of times.
    public struct Budget: Sendable {
        /// What is left.
        var bytes: UInt64

        /// That of a whole disk.
        public init(bytes: UInt64 = 16 << 20) { self.bytes = bytes }
    }

    /// Those of `copies` with the highest number: one, unless they contradict each other.
    public var newestCopies: [VolumeGroup] { copies.filter { $0.sequence == copies[0].sequence } }

    /// What was read of one metadata area.
    private enum Copy {
        case none
        case group(VolumeGroup)
        case fault(ErrorText)
    }

    /// The physical volume that `disk` is; nil where it is none. Throws what keeps its first sectors from being read, and
    /// `corrupt` where there is a label that is damaged.
    public init?(on disk: Image, within budget: inout Budget) throws(ImageError) {
        guard let label = try Self.label(of: disk) else { return nil }
        id = label.volume
        hasMetadataAreas = !label.metadataAreas.isEmpty
        var notes: [ErrorText] = []
        var copies: [VolumeGroup] = []
        for area in label.metadataAreas {
            switch Self.copy(in: area, of: disk, &budget) {
            case .none: break
            case .fault(let fault): notes.append("the metadata area at \(hexadecimal(area.offset)): \(fault)")
            case .group(let group): if !copies.contains(group) { copies.append(group) }
            }
        }
        self.copies = copies.sorted { $0.sequence > $1.sequence }
        self.notes = notes
    }

    private static func label(of disk: Image) throws(ImageError) -> Label? {
        let count = min(disk.virtualSize, UInt64(Label.sectorCount * Label.sectorSize))
        guard count >= UInt64(Label.sectorSize) else { return nil }
        let bytes = try disk.bytes(Int(count), at: 0)
        var fault: ImageError?
        for index in 0..<bytes.count / Label.sectorSize {
            let sector = Array(bytes[index * Label.sectorSize..<(index + 1) * Label.sectorSize])
            guard Label.isThere(in: sector) else { continue }
            do throws(ParseFault) {
                return try Label(parsing: sector, at: index)
            } catch {
                fault =
                    fault
                    ?? ImageError(
                        .corrupt, about: .disk, offset: HostOffset(UInt64(index * Label.sectorSize + error.position)),
                        "physical volume of LVM: \(error.message)")
            }
        }
        if let fault { throw fault }
        return nil
    }

    private static func copy(in area: Label.Area, of disk: Image, _ budget: inout Budget) -> Copy {
        do throws(ImageError) {
            let sector = try disk.bytes(Label.sectorSize, at: area.offset)
            let header: MetadataHeader
            do throws(ParseFault) {
                header = try MetadataHeader(parsing: sector, at: area.offset)
            } catch {
                return .fault("\(error.message)")
            }
            guard let place = header.text else { return .none }
            guard place.size <= VolumeGroup.textLimit, place.size <= budget.bytes else {
                return .fault("the text has \(place.size) bytes, more than are read")
            }
            budget.bytes -= place.size
            let text = try Self.text(at: place, in: area, header.size, of: disk)
            let sum = lvmChecksum(of: text)
            guard sum == place.sum else {
                return .fault("the check sum of the text is \(hexadecimal(sum)), but must be \(hexadecimal(place.sum))")
            }
            do throws(ParseFault) {
                return .group(try VolumeGroup(parsing: text))
            } catch {
                let position: ErrorText = error.position > 0 ? "byte \(error.position): " : ""
                return .fault("the text: \(position)\(quoting: error.message)")
            }
        } catch {
            return .fault("\(error)")
        }
    }

    /// The text at `place` of `area`, which has `size` bytes by its header: what goes past its end goes on behind the header.
    private static func text(
        at place: (offset: UInt64, size: UInt64, sum: UInt32), in area: Label.Area, _ size: UInt64, of disk: Image
    ) throws(ImageError) -> [UInt8] {
        let first = min(place.size, size - place.offset)
        let start = GuestOffset(area.offset).advanced(by: place.offset)
        var bytes = try disk.bytes(Int(first), at: start.rawValue)
        if first < place.size {
            let rest = GuestOffset(area.offset).advanced(by: UInt64(Label.sectorSize))
            bytes += try disk.bytes(Int(place.size - first), at: rest.rawValue)
        }
        return bytes
    }
}

extension Image {
    /// The `count` bytes from `start` on. Throws `outOfRange`, before anything is allocated, where they are not all on the disk.
    fileprivate func bytes(_ count: Int, at start: UInt64) throws(ImageError) -> [UInt8] {
        guard start <= virtualSize, UInt64(count) <= virtualSize - start else {
            throw ImageError(
                .outOfRange, about: .disk,
                "\(count) bytes are needed at \(GuestOffset(start)), but it has \(virtualSize)")
        }
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: GuestOffset(start), into: &output) }
        return buffer.array
    }
}
