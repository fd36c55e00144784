import BlockImage
import Catalog
import FormatCore
import ImageFormats
import PartitionTable
import SystemPackage

/// A virtual disk in an image file, as the guest sees it: QCOW2, VMDK, raw, a disk of an OVA, and what these hold.
///
/// Reading never modifies an image. Files that the image names are opened only in its own folder and in those of `allowed`.
/// A value of an image that is open; it may be used from any thread, by several at a time. Its files are closed when the last
/// copy is gone.
public struct DiskImage: Sendable {
    /// A part of the disk that a partition table names.
    public struct Partition: Hashable, Sendable {
        /// Its number, as Linux gives it; `IMAGE/p1` names the first as a disk of its own.
        public var number: Int
        /// Where it begins on the disk, in bytes.
        public var offset: UInt64
        /// Its size in bytes.
        public var size: UInt64
        /// What its type says, in words; nil for a type that is not known.
        public var typeName: String?
    }

    /// A run of the disk that is stored in one way.
    public struct Extent: Hashable, Sendable {
        /// What is known of its bytes without reading them.
        public enum Content: Hashable, Sendable {
            /// They are stored.
            case data
            /// They read as zeros, as an image of the chain says.
            case zero
            /// They were never written, and read as zeros.
            case hole
        }

        /// Where it begins on the disk, in bytes.
        public var offset: UInt64
        /// Its size in bytes, at least 1.
        public var size: UInt64
        /// What its bytes are.
        public var content: Content
        /// The image of the chain that has it: 0 is the image itself, 1 its backing file.
        public var depth: Int
    }

    private let disk: NamedDisk
    private let disks: ImageDisks

    /// Opens the disk that `path` names: an image file or block device, or a disk that it holds, as the command `rblock` names
    /// them: `IMAGE@SNAPSHOT`, `IMAGE/p1`, `IMAGE/layers/1`, `APPLIANCE.ova/DISK`.
    ///
    /// `format` (`qcow2`, `vmdk`, `raw`) decides where it is given, else the file's name, else its content; a file that only its
    /// content calls an image may name no other file. `allowed`: folders whose files the image may name besides those of its
    /// own. Throws where there is no such file or disk, where it cannot be read, or the format is not known.
    public init(_ path: String, format: String? = nil, allowing allowed: [String] = []) throws(DiskImageError) {
        do throws(ImageError) {
            var image = NamedImage.called(FilePath(path), format: try format.map(Self.format))
            image.allowed = allowed.map { FilePath($0) }
            disks = ImageDisks(of: try image.open())
            disk = NamedDisk(image: try image.disk(of: disks).result.get(), opened: disks.opened, onNote: nil)
        } catch {
            throw DiskImageError(error)
        }
    }

    private static func format(_ name: String) throws(ImageError) -> ImageFormat {
        if let format = ImageFormat(rawValue: name) { return format }
        throw ImageError(
            .unsupported, about: .named(name), "is no format that is known: \(ImageFormat.names(before: "or"))")
    }

    /// The size of the disk in bytes.
    public var size: UInt64 { disk.image.virtualSize }

    /// The format of the image: `qcow2`, `vmdk`, `raw`.
    public var format: String { disk.format.rawValue }

    /// The names of the image's internal snapshots, as they follow `@` in a disk's name.
    public var snapshots: [String] { disks.snapshotNames.map(SnapshotNames.text(of:)) }

    /// What should be known of the image, in sentences: what was read another way than usual, and why.
    public var notes: [String] { disks.opened.layers.flatMap(\.notes).map(\.description) }

    /// The partitions of the disk (MBR, GPT, BSD disklabels), in the order of their numbers. Reads the partition table.
    public var partitions: [Partition] {
        PartitionTable(of: disk.image).partitions.map {
            Partition(number: $0.number, offset: $0.start.rawValue, size: $0.size, typeName: $0.typeName)
        }
    }

    /// Reads `count` bytes of the disk from `offset` on.
    ///
    /// Throws `outOfRange` where these do not lie on the disk, and what is wrong with the image; and `changed` where one of its
    /// files was written to since it was opened: what is read then would be a mixture.
    public func read(_ count: Int, at offset: UInt64) throws(DiskImageError) -> [UInt8] {
        do throws(ImageError) {
            guard count >= 0, offset <= size, UInt64(count) <= size - offset else {
                throw ImageError(
                    .outOfRange, about: .disk,
                    "\(count) bytes at \(offset): must lie on the disk, which has \(size) bytes")
            }
            let buffer = AlignedBuffer(capacity: count)
            try buffer.fill(count) { output throws(ImageError) in
                try disk.image.read(count, at: GuestOffset(offset), into: &output)
            }
            try disk.checkUnchanged()
            // Safe: the pointer is used in this call only.
            return unsafe buffer.bytes.withUnsafeBytes { unsafe Array($0) }
        } catch {
            throw DiskImageError(error)
        }
    }

    /// The run that `offset` lies in, from there on; nil at the end of the disk. Reads no more of the image's tables than that
    /// needs: all runs are found by going on at the end of each.
    ///
    /// Throws what is wrong with the image.
    public func extent(at offset: UInt64) throws(DiskImageError) -> Extent? {
        do throws(ImageError) {
            guard offset < size else { return nil }
            let run = try disk.image.resolve(at: GuestOffset(offset), limit: size - offset)
            let content: Extent.Content =
                switch run.extent.storage {
                case .data, .encoded: .data
                case .zero(let isExplicit): isExplicit ? .zero : .hole
                case .unallocated: .hole
                }
            return Extent(offset: offset, size: run.count, content: content, depth: run.depth)
        } catch {
            throw DiskImageError(error)
        }
    }
}
