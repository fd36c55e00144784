import BlockImage
import ByteFormat
import FormatCore

/// An internal snapshot, as the snapshot table lists it: docs/interop/qcow2 "Snapshots".
///
///     OFFSET SIZE FIELD
///          0    8 l1_table_offset
///          8    4 l1_size
///         12    2 id_str_size
///         14    2 name_size
///         16    4 date_sec
///         20    4 date_nsec
///         24    8 vm_clock_nsec
///         32    4 vm_state_size (32 bits)
///         36    4 extra_data_size
///         40      extra data: vm_state_size (64 bits), disk_size, icount, each only if extra_data_size covers it
///                 id, name, padding to a multiple of 8
public struct Snapshot: Hashable, Sendable {
    /// The most snapshots that an image may have, as in QEMU (QCOW_MAX_SNAPSHOTS).
    static let countLimit: UInt32 = 65536
    /// The most bytes of extra data that a snapshot may have, as in QEMU (QCOW_MAX_SNAPSHOT_EXTRA_DATA).
    static let extraDataLimit: UInt32 = 1024
    /// The most bytes that a snapshot table may take, as in QEMU (QCOW_MAX_SNAPSHOTS_SIZE): 64 MiB.
    static let tableSizeLimit: UInt64 = 1024 * 65536

    /// Where its entry of the snapshot table begins.
    public internal(set) var entryOffset = HostOffset(0)
    /// Where that ends, padding excluded.
    var entryEnd = HostOffset(0)
    /// The bytes of the entry's extra data; version 3 has at least 16.
    var extraDataSize: UInt32
    /// Where the snapshot's L1 table begins.
    public var l1TableOffset: UInt64
    /// Entries in the snapshot's L1 table.
    public var l1Size: UInt32
    /// The bytes of `id` and `name`, as the table has them.
    public let idBytes: [UInt8]
    public let nameBytes: [UInt8]
    /// The snapshot's unique name within the image, usually a number; bytes that are not UTF-8 are replaced.
    public var id: String { String(decoding: idBytes, as: UTF8.self) }
    /// What its maker called it, with bytes replaced likewise.
    public var name: String { String(decoding: nameBytes, as: UTF8.self) }
    /// When it was taken: seconds since 1970.
    public var dateSeconds: UInt32
    /// Nanoseconds after that.
    public var dateNanoseconds: UInt32
    /// How long the guest had been running, in nanoseconds.
    public var vmClock: UInt64
    /// The bytes of saved machine state; 0: none.
    public var vmStateSize: UInt64
    /// The size of the disk when it was taken; nil where the table does not say.
    public var diskSize: UInt64?
    /// Instructions executed, in record/replay; nil where there are none.
    public var instructionCount: UInt64?

    /// Reads the snapshot table that the header names. `fault`: why the entries after those that are there cannot be
    /// read, `corrupt` or `truncated` about the table, or what reading the file throws. The disk does not need them.
    static func readTable(_ header: Header, of file: any HostFile) -> (snapshots: [Snapshot], fault: ImageError?) {
        var snapshots: [Snapshot] = []
        do throws(ImageError) {
            try readTable(header, of: file, into: &snapshots)
            return (snapshots, nil)
        } catch {
            return (snapshots, error)
        }
    }

    private static func readTable(
        _ header: Header, of file: any HostFile, into snapshots: inout [Snapshot]
    ) throws(ImageError) {
        guard header.snapshotCount > 0 else { return }
        let start = HostOffset(header.snapshotsOffset)
        var position = start
        for index in 0..<header.snapshotCount {
            let what = "snapshot table: entry \(index)"
            guard position.rawValue - start.rawValue <= tableSizeLimit else {
                throw ImageError(
                    .corrupt, path: file.path, offset: position,
                    "\(what): the table is larger than \(tableSizeLimit) bytes")
            }
            let fixed = try file.bytes(40, at: position, of: what)
            let sizes = Sizes(fixed)
            guard sizes.extraData <= extraDataLimit else {
                throw ImageError(
                    .corrupt, path: file.path, offset: position.advanced(by: 36),
                    "\(what): has \(sizes.extraData) bytes of extra data, but at most \(extraDataLimit) are allowed")
            }
            var reader = ByteReader(try file.bytes(40 + sizes.variable, at: position, of: what))
            do throws(ParseFault) {
                var snapshot = try Snapshot(parsing: &reader)
                snapshot.entryOffset = position
                snapshot.entryEnd = position.advanced(by: UInt64(40 + sizes.variable))
                snapshots.append(snapshot)
            } catch {
                throw ImageError(error, in: file, at: position, of: what)
            }
            position = position.advanced(by: UInt64((40 + sizes.variable + 7) & ~7))
        }
    }

    /// The sizes of an entry's variable parts, which stand in its fixed part.
    struct Sizes {
        var extraData: UInt32
        /// All variable parts together; at most 1024 + 2 * 65535 once `extraData` was checked.
        var variable: Int

        init(_ fixed: [UInt8]) {
            func integer(_ range: Range<Int>) -> UInt32 { fixed[range].reduce(0) { $0 << 8 | UInt32($1) } }
            extraData = integer(36..<40)
            variable = Int(extraData) + Int(integer(12..<14)) + Int(integer(14..<16))
        }
    }

    /// Parses one entry, padding excluded.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        l1TableOffset = try reader.read(.big)
        l1Size = try reader.read(.big)
        let idSize: UInt16 = try reader.read(.big)
        let nameSize: UInt16 = try reader.read(.big)
        dateSeconds = try reader.read(.big)
        dateNanoseconds = try reader.read(.big)
        vmClock = try reader.read(.big)
        vmStateSize = UInt64(try reader.read(.big, as: UInt32.self))
        extraDataSize = try reader.read(.big)
        var extra = ByteReader(try reader.read(bytes: Int(extraDataSize)))
        if extra.remaining >= 8 { vmStateSize = try extra.read(.big) }
        if extra.remaining >= 8 { diskSize = try extra.read(.big) }
        if extra.remaining >= 8 {
            let count: UInt64 = try extra.read(.big)
            instructionCount = count == .max ? nil : count
        }
        idBytes = Array(try reader.read(bytes: Int(idSize)))
        nameBytes = Array(try reader.read(bytes: Int(nameSize)))
    }
}
