import BlockImage

/// A part of a disk that its partition table names.
public struct Partition: Hashable, Sendable {
    /// What only one kind of table says of a partition.
    public enum Entry: Hashable, Sendable {
        /// An entry of a boot record: `type` is its system indicator; `isActive` is set for the one to boot from.
        case mbr(type: UInt8, isActive: Bool)
        /// An entry of a GPT: what it is for, which one it is, the bits of its attributes (0: the platform needs it,
        /// 1: firmware leaves it alone, 2: old BIOSes boot from it, 48 to 63: for its type to define), and its name, of
        /// at most 36 UTF-16 units, those that are no text replaced. The name is anything, slashes and control
        /// characters included.
        case gpt(type: GUID, unique: GUID, attributes: UInt64, name: String)
        /// An entry of the disklabel that a BSD has in its MBR partition: `type` is the file system's (p_fstype).
        case bsd(type: UInt8)
        /// A slice of the VTOC that Solaris has in its MBR partition: `tag` says what it is for.
        case solaris(tag: UInt16)
    }

    /// The number that Linux gives it: MBR primaries have 1 to 4, logical partitions follow from 5 on, and then what
    /// the labels of BSDs and Solaris name; a GPT partition has the index of its entry and one.
    public var number: Int
    /// Where on the disk it begins.
    public var start: GuestOffset
    /// Its bytes that are on the disk; at least one sector.
    public var size: UInt64
    /// What its entry says besides.
    public var entry: Entry
    /// What Linux finds it by (PARTUUID), as under /dev/disk/by-partuuid: a GPT partition's own identifier, or the
    /// MBR's signature and the number in hexadecimal. Nil where the MBR has no signature.
    public var uuid: String?
    /// Whether it is a part of a dynamic disk of Windows, of which its entry says only that.
    public internal(set) var isDynamic = false

    /// The partition `number`, `size` bytes from `start` on.
    public init(number: Int, start: GuestOffset, size: UInt64, entry: Entry, uuid: String? = nil) {
        self.number = number
        self.start = start
        self.size = size
        self.entry = entry
        self.uuid = uuid
    }

    /// Where on the disk it ends: the byte after its last.
    public var end: GuestOffset { start.advanced(by: size) }

    /// What people call its type; nil for a type that few disks have.
    public var typeName: String? {
        switch entry {
        case .mbr(let type, _): isDynamic ? TypeNames.dynamic : TypeNames.mbr[type]
        case .gpt(let type, _, _, _): TypeNames.gpt[type.description]
        case .bsd(let type): TypeNames.bsd[type]
        case .solaris(let tag): TypeNames.solaris[tag]
        }
    }

    /// Whether it is an extended partition, which holds logical partitions and no data of its own.
    public var isExtended: Bool {
        if case .mbr(let type, _) = entry { BootRecord.Entry.extendedTypes.contains(type) } else { false }
    }

    /// Whether it is a part of the partition that has the label of a BSD or of Solaris.
    var isInLabel: Bool {
        switch entry {
        case .bsd, .solaris: true
        case .mbr, .gpt: false
        }
    }

    /// Whether it is the slice of Solaris that is the whole of the others.
    var isWholeSlice: Bool { entry == .solaris(tag: SolarisLabel.wholeTag) }

    /// The partition as a disk; `disk` must be the one whose table names it.
    public func image(in disk: Image) -> Image {
        disk.slice(from: start, size: size)
    }
}
