public import BlockImage
public import QCOW2
public import VMDK

/// What a new image is to be, in any format that can be written.
public enum NewImage: Hashable, Sendable {
    /// A raw disk.
    case raw(NewRaw)
    /// A QCOW2 image; with a level, what is written to it is compressed.
    case qcow2(NewQCOW2, compressionLevel: Int?)
    /// A VMDK disk.
    case vmdk(NewVMDK)

    /// What a new raw disk is to be.
    public struct NewRaw: Hashable, Sendable {
        /// Its size in bytes.
        public var size: UInt64
        /// What space its file gets where nothing is written.
        public var preallocation = RawWriter.Preallocation.off
    }

    /// A disk of `size` bytes in `format`, without a backing image, that is as `options` say.
    ///
    /// Throws for options that the format does not have, and values that they cannot have by themselves; whether they go
    /// together is seen when it is made.
    public init(_ format: ImageFormat, size: UInt64, _ options: ImageOptionList = .init()) throws(OptionFault) {
        switch format {
        case .raw:
            var new = NewRaw(size: size)
            try ImageOption.apply(options, NewRaw.options, to: &new, format: format)
            self = .raw(new)
        case .qcow2:
            var new = NewQCOW2(size: size)
            try ImageOption.apply(options, NewQCOW2.options, to: &new, format: format)
            self = .qcow2(new, compressionLevel: nil)
        case .vmdk:
            var new = NewVMDK(size: size)
            try ImageOption.apply(options, NewVMDK.options, to: &new, format: format)
            self = .vmdk(new)
        }
    }

    /// Its format.
    public var format: ImageFormat {
        switch self {
        case .raw: .raw
        case .qcow2: .qcow2
        case .vmdk: .vmdk
        }
    }

    /// The size of the disk in bytes, as it is made: in whole sectors, but for a raw one.
    public var size: UInt64 {
        switch self {
        case .raw(let new): new.size
        case .qcow2(let new, _): new.diskSize
        case .vmdk(let new): new.diskSize
        }
    }

    /// The options of a format and what they mean, a line each.
    public static func options(of format: ImageFormat) -> [(name: String, help: String)] {
        switch format {
        case .raw: NewRaw.options.map { ($0.name, $0.help) }
        case .qcow2: NewQCOW2.options.map { ($0.name, $0.help) }
        case .vmdk: NewVMDK.options.map { ($0.name, $0.help) }
        }
    }

    /// Has what is written to it compressed, by `type` if one is given, as hard as `level` says if one is given.
    ///
    /// Throws where the format cannot do that, or the level is none.
    public mutating func compress(_ type: NewQCOW2.CompressionType?, level: Int?) throws(OptionFault) {
        switch self {
        case .raw: throw OptionFault(message: "a raw image cannot be compressed; qcow2 and vmdk can")
        case .qcow2(var new, _):
            new.compressionType = type ?? new.compressionType
            let levels = new.compressionType.levels
            let level = level ?? new.compressionType.defaultLevel
            try Self.check(level, levels, new.compressionType.rawValue)
            self = .qcow2(new, compressionLevel: level)
        case .vmdk(var new):
            guard new.subformat == .streamOptimized else {
                throw OptionFault(
                    message: "\(new.subformat.rawValue) cannot be compressed; -o subformat=streamOptimized can")
            }
            guard type ?? .zlib == .zlib else { throw OptionFault(message: "a vmdk can be compressed by zlib only") }
            new.compressionLevel = level ?? new.compressionLevel
            try Self.check(new.compressionLevel, NewQCOW2.CompressionType.zlib.levels, "zlib")
            self = .vmdk(new)
        }
    }

    private static func check(_ level: Int, _ levels: ClosedRange<Int>, _ name: String) throws(OptionFault) {
        guard levels.contains(level) else {
            throw OptionFault(
                message: "level: is \(level), but must be from \(levels.lowerBound) to \(levels.upperBound) for \(name)"
            )
        }
    }

    /// Begins to write it to the file `name` of `files`, and to others beside it where the format wants that.
    ///
    /// Throws `unsupported` where its options do not go together, and what making the files throws.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        switch self {
        case .raw(let new):
            try RawWriter(size: new.size, preallocation: new.preallocation, in: try files.file(named: name))
        case .qcow2(let new, let level):
            try QCOW2Writer(new, compressionLevel: level, in: try files.file(named: name))
        case .vmdk(let new): try VMDKWriter(new, named: name, in: files)
        }
    }
}

extension NewImage {
    /// Has the image `opened`, of `format`, be under this one, which calls it `name`.
    ///
    /// Throws where this format cannot have that one under it.
    public mutating func setBacking(
        _ name: String, _ format: ImageFormat, _ opened: OpenedImage
    ) throws(OptionFault) {
        switch self {
        case .raw: throw OptionFault(message: "a raw image cannot have a backing image; qcow2 and vmdk can")
        case .qcow2(var new, let level):
            new.backing = NewQCOW2.Backing(name: name.nameBytes, format: format.rawValue)
            self = .qcow2(new, compressionLevel: level)
        case .vmdk(var new):
            guard format == .vmdk, case .vmdk(let description, _)? = opened.layers.first?.facts,
                let cid = description.cid
            else { throw OptionFault(message: "\(name): the parent of a VMDK delta must be a VMDK image with a CID") }
            new.parent = NewVMDK.Parent(name: name, cid: cid)
            self = .vmdk(new)
        }
    }
}
