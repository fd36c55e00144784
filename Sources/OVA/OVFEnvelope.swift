import BlockImage
import ByteFormat

/// An OVF descriptor, as far as it is about disks (DMTF DSP0243, "File References", "Disk section", "Virtual hardware
/// description").
///
/// The versions 0.9, 1.x and 2.x differ in their XML namespaces, so that elements are known by their local names.
package struct OVFEnvelope: Hashable, Sendable {
    /// A file of the package: `References/File`.
    package struct File: Hashable, Sendable {
        /// `id`, by which disks refer to it.
        package var id: String
        /// `href`: where it is, a relative path or a URL.
        package var href: String
        /// `size` in bytes; of the compressed file when it is compressed. Nil where it is missing or no number.
        package var size: UInt64?
        /// `compression`: "gzip"; nil where it is missing, empty or "identity", which means none.
        package var compression: String?
        /// `chunkSize` in bytes: the file is split into chunks of so many, the last of which may have fewer. Nil where
        /// it is missing or no number.
        package var chunkSize: UInt64?
    }

    /// A disk: `DiskSection/Disk`.
    package struct Disk: Hashable, Sendable {
        /// `diskId`, by which machines refer to it.
        package var diskId: String
        /// `fileRef`: the `id` of its file; nil of a disk that begins empty.
        package var fileRef: String?
        /// `capacity` times `capacityAllocationUnits`, in bytes: the size of the disk. Nil where it is missing, no
        /// number, or a property that is set when the appliance is deployed.
        package var capacity: UInt64?
        /// `format`: the URI of the file's format.
        package var format: String?
        /// `populatedSize`: how many bytes of the disk are in use, as the exporter believed.
        package var populatedSize: UInt64?
        /// `parentRef`: the `diskId` of the disk that this one is a delta of.
        package var parentRef: String?
    }

    /// A machine: `VirtualSystem`, or `Content` in version 0.9.
    package struct VirtualSystem: Hashable, Sendable {
        /// `id`; empty where it is missing.
        package var id: String
        /// Its `Name`.
        package var name: String?
        /// The `diskId`s of the disks that are attached to it (`HostResource`), in the order of the items.
        package var diskIds: [String] = []
    }

    /// The files of the package.
    package var files: [File] = []
    /// The disks.
    package var disks: [Disk] = []
    /// The machines.
    package var systems: [VirtualSystem] = []
    /// What is odd about the descriptor, but does not keep it from being read; at most `noteLimit` sentences.
    package var notes: [ErrorText] = []

    /// The most bytes that a descriptor may have: 2 MiB, some hundred times what exporters write for a machine. XML
    /// that is made for it takes the parser time and memory out of proportion to its size.
    package static let sizeLimit = 2 << 20
    /// The most files, disks and machines, of each.
    package static let listLimit = 16_384
    /// The most notes.
    package static let noteLimit = 64

    /// A descriptor that says nothing.
    init() {}

    /// The first file whose `id` is `id`.
    package func file(_ id: String) -> File? { files.first { $0.id == id } }
}

/// The bytes that `text` stands for in `capacityAllocationUnits` (DSP0004, "Programmatic Units": `byte * 2^30`), or in
/// version 0.9 (`MegaBytes`, in powers of 1024); nil where it is no such unit, or does not fit.
func allocationUnit(_ text: String) -> UInt64? {
    let names: [String: UInt64] = [
        "": 1, "byte": 1, "bytes": 1, "b": 1,
        "kilobyte": 1 << 10, "kilobytes": 1 << 10, "kb": 1 << 10,
        "megabyte": 1 << 20, "megabytes": 1 << 20, "mb": 1 << 20,
        "gigabyte": 1 << 30, "gigabytes": 1 << 30, "gb": 1 << 30,
        "terabyte": 1 << 40, "terabytes": 1 << 40, "tb": 1 << 40,
    ]
    let factors = text.lowercased().utf8.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
        .split(separator: UInt8(ascii: "*"), maxSplits: 8, omittingEmptySubsequences: false)
    guard let first = factors.first, let unit = names[String(decoding: first, as: UTF8.self)] else { return nil }
    var result = unit
    for factor in factors.dropFirst() {
        let parts = factor.split(separator: UInt8(ascii: "^"), maxSplits: 1, omittingEmptySubsequences: false)
        guard let base = parts.first.flatMap({ decimal($0[...]) }) else { return nil }
        var exponent: UInt64 = 1
        if parts.count > 1 {
            // No unit has a power of 64 or more that fits, but of 0 and 1.
            guard let written = decimal(parts[1][...]), written < 64 else { return nil }
            exponent = written
        }
        for _ in 0..<exponent {
            let (product, overflow) = result.multipliedReportingOverflow(by: base)
            guard !overflow else { return nil }
            result = product
        }
    }
    return result
}
