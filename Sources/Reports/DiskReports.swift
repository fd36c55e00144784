import BlockImage
import ByteFormat
import Encryption
import ImageTools

/// What `rblock hash` says of one disk.
package struct HashReport: Encodable, Sendable {
    /// The image, and the snapshot, as they were named; `path` is what older versions call `filename`.
    package var filename: String
    package var path: String
    package var snapshot: String?
    /// The first hash function, and its value in hexadecimal digits.
    package var algorithm: String
    package var hash: String
    /// The values of all of them, by their names.
    package var hashes: [String: String]
    /// The bytes of the disk, and those that were read, in Base64.
    package var size: UInt64
    /// What could not be read, and was hashed as zeros; nil where that is not asked for.
    package var lost: [LostRange]?

    package init(
        path: String, snapshot: String?, _ digests: [(algorithm: String, digest: [UInt8])], size: UInt64,
        lost: [LostRange]?
    ) {
        (filename, self.path, self.snapshot) = (path, path, snapshot)
        (self.size, self.lost) = (size, lost)
        let values = digests.map { ($0.algorithm, $0.digest.map { hexDigits($0, 2) }.joined()) }
        (algorithm, hash) = values[0]
        hashes = Dictionary(values) { first, _ in first }
    }
}

/// What `rblock hash --check` says of one disk.
package struct HashCheckReport: Encodable, Sendable {
    /// The image, as the list names it.
    package var filename: String
    /// The hash function, what the list says, and what the disk has, both in hexadecimal digits.
    package var algorithm: String
    package var expected: String
    package var hash: String
    /// Whether both are the same.
    package var matches: Bool
    /// What could not be read, and was hashed as zeros; nil where that is not asked for.
    package var lost: [LostRange]?

    package init(_ report: HashReport, expected: String) {
        (filename, algorithm, hash, lost) = (report.filename, report.algorithm, report.hash, report.lost)
        self.expected = expected
        matches = expected.lowercased() == hash
    }
}

/// What `rblock read` and the method `read` say of a part of a disk.
package struct ReadReport: Encodable, Sendable {
    /// The image, and the snapshot, as they were named; by a client of JSON-RPC as `image`. `path` is what older versions call
    /// `filename`.
    package var filename: String?
    package var path: String?
    package var image: String?
    package var snapshot: String?
    /// The first byte, and how many they are.
    package var offset: UInt64
    package var length: UInt64
    /// The bytes of the disk, and those that were read, in Base64.
    package var size: UInt64
    package var data: String
    /// What could not be read, and is zeros; nil where that is not asked for.
    package var lost: [LostRange]?

    package init(
        path: String? = nil, image: String? = nil, snapshot: String? = nil, offset: UInt64, size: UInt64, data: [UInt8],
        lost: [LostRange]?
    ) {
        (filename, self.path, self.image, self.snapshot) = (path ?? image, path, image, snapshot)
        (self.offset, length, self.size) = (offset, UInt64(data.count), size)
        (self.data, self.lost) = (Base64.text(data), lost)
    }
}

/// What `rblock create` made.
package struct CreateReport: Encodable, Sendable {
    /// The new image, and what is its backing file, as they were named; `path` is what older versions call `filename`.
    package var filename: String
    package var path: String
    package var format: String
    package var virtualSize: UInt64
    package var backing: String?
    package var backingFormat: String?
    /// The bytes that its files take on the host.
    package var actualSize: UInt64?

    package init(
        path: String, format: String, virtualSize: UInt64, actualSize: UInt64?, backing: String?, backingFormat: String?
    ) {
        (filename, self.path, self.format, self.virtualSize) = (path, path, format, virtualSize)
        (self.actualSize, self.backing, self.backingFormat) = (actualSize, backing, backingFormat)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, path, format, backing
        case virtualSize = "virtual-size"
        case backingFormat = "backing-format"
        case actualSize = "actual-size"
    }
}

/// What `rblock measure` found out, with the names that `qemu-img measure` has for it.
package struct MeasureReport: Encodable, Sendable {
    /// The image, as it was named; nil for a new disk.
    package var filename: String?
    /// The format of the new image.
    package var format: String
    package var virtualSize: UInt64
    /// The sizes of its files together, what of that takes space on the host, and the sizes when all of the disk is stored.
    package var required: UInt64
    package var actualSize: UInt64
    package var fullyAllocated: UInt64

    package init(
        filename: String?, format: String, virtualSize: UInt64, required: UInt64, actualSize: UInt64,
        fullyAllocated: UInt64
    ) {
        (self.filename, self.format, self.virtualSize) = (filename, format, virtualSize)
        (self.required, self.actualSize, self.fullyAllocated) = (required, actualSize, fullyAllocated)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, format, required
        case virtualSize = "virtual-size"
        case fullyAllocated = "fully-allocated"
        case actualSize = "actual-size"
    }
}

/// What `rblock convert` made, and of what.
package struct ConvertReport: Encodable, Sendable {
    /// The new image, as it was named; `path` is what older versions call `filename`.
    package var filename: String
    package var path: String
    package var format: String
    package var virtualSize: UInt64
    /// The bytes that were read, that were stored, and that are zeros and were not.
    package var bytesRead: UInt64
    package var bytesWritten: UInt64
    package var bytesZero: UInt64
    /// The bytes that its files take on the host; nil for a device.
    package var actualSize: UInt64?
    /// What could not be read, and is zeros in the new image.
    package var lost: [LostRange]

    /// The new image, of which `copy` was stored.
    package init(path: String, format: String, virtualSize: UInt64, actualSize: UInt64?, _ copy: CopyResult) {
        (filename, self.path, self.format, self.virtualSize) = (path, path, format, virtualSize)
        self.actualSize = actualSize
        (bytesRead, bytesWritten, lost) = (copy.bytesRead, copy.bytesStored, copy.losses.ranges)
        bytesZero = virtualSize - min(virtualSize, copy.bytesStored)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, path, format, lost
        case virtualSize = "virtual-size"
        case bytesRead = "bytes-read"
        case bytesWritten = "bytes-written"
        case bytesZero = "bytes-zero"
        case actualSize = "actual-size"
    }
}

/// What `rblock delta` made.
package struct DeltaReport: Encodable, Sendable {
    /// The new image, as it was named, and what it calls its backing file; `path` is what older versions call `filename`.
    package var filename: String
    package var path: String
    package var format = "qcow2"
    package var virtualSize: UInt64
    package var backing: String
    package var backingFormat: String
    /// The bytes that differ, and that were stored for it.
    package var bytesChanged: UInt64
    package var bytesWritten: UInt64
    /// The bytes that its file takes on the host.
    package var actualSize: UInt64?

    package init(
        path: String, virtualSize: UInt64, actualSize: UInt64?, backing: String, backingFormat: String,
        bytesChanged: UInt64, bytesWritten: UInt64
    ) {
        (filename, self.path, self.virtualSize, self.actualSize) = (path, path, virtualSize, actualSize)
        (self.backing, self.backingFormat) = (backing, backingFormat)
        (self.bytesChanged, self.bytesWritten) = (bytesChanged, bytesWritten)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, path, format, backing
        case virtualSize = "virtual-size"
        case backingFormat = "backing-format"
        case bytesChanged = "bytes-changed"
        case bytesWritten = "bytes-written"
        case actualSize = "actual-size"
    }
}

/// What `rblock diff` and the method `diff` say of two disks; `rblock diff` writes `ranges`, of which there may be any number,
/// by itself.
package struct DiffReport: Encodable, Sendable {
    /// A disk, as it was named; by a client of JSON-RPC as `image`. `path` is what older versions call `filename`.
    package struct Disk: Encodable, Sendable {
        package var filename: String?
        package var path: String?
        package var image: String?
        package var snapshot: String?

        package init(path: String, snapshot: String?) {
            (filename, self.path, self.snapshot) = (path, path, snapshot)
        }
        package init(image: String) { (filename, self.image) = (image, image) }
    }

    /// What could not be read of `disk`, "a" or "b".
    private struct Lost: Encodable {
        var disk: String
        var start: UInt64
        var length: UInt64
        var error: ImageError
    }

    private var a: Disk
    private var b: Disk
    private var ranges: [SectorRange]?
    private var summary: DiskDifference?
    /// Nil where something is lost, or the comparison ended early: then it is not known.
    private var identical: Bool?
    private var lost: [Lost]?
    private var error: ImageError?

    /// A comparison that came to `difference`.
    package init(_ a: Disk, _ b: Disk, _ difference: DiskDifference, ranges: [SectorRange]? = nil) {
        (self.a, self.b, self.ranges, summary) = (a, b, ranges, difference)
        let lost = zip(["a", "b"], difference.lost).flatMap { disk, lost in
            lost.ranges.map { Lost(disk: disk, start: $0.start, length: $0.length, error: $0.error) }
        }
        // Two disks of which something is lost are never known to be the same.
        if lost.isEmpty { identical = difference.sectors == 0 } else { self.lost = lost }
    }

    /// A comparison that ended with `error`.
    package init(_ a: Disk, _ b: Disk, _ error: ImageError) {
        (self.a, self.b, self.error) = (a, b, error)
    }
}

/// Where `rblock serve` listens.
package struct AddressReport: Encodable, Sendable {
    /// An image that was named, and the URIs that clients read it by.
    package struct Export: Encodable, Sendable {
        package var name: String
        package var uris: [String]

        package init(_ name: String, uris: [String]) { (self.name, self.uris) = (name, uris) }
    }

    private enum CodingKeys: String, CodingKey {
        case nbd, rpc, exports
        case nbdURIs = "nbd-uris"
        case rpcAddresses = "rpc-addresses"
    }

    /// Where the sockets are bound.
    package var nbd: [String]
    package var rpc: [String]
    /// How clients of this host reach them.
    package var nbdURIs: [String] = []
    package var rpcAddresses: [String] = []
    package var exports: [Export] = []

    package init(nbd: [String], rpc: [String]) { (self.nbd, self.rpc) = (nbd, rpc) }
}
