import BlockImage
import Encryption
import FormatCore

/// A QCOW2 image, described and, where that is possible, ready to read.
public struct QCOW2Image: SnapshotImage, BitmapImage, CheckableImage {
    /// What the image says of itself.
    public let description: QCOW2Description
    /// Its own part of the disk; nil where it could not be made ready to read.
    public private(set) var clusters: QCOW2Layer?
    private let file: any HostFile
    /// What was read in place of the data file that the header names.
    public private(set) var nameNotes: [ErrorText] = []

    /// The image in `file`, which `description` describes.
    init(_ description: QCOW2Description, file: any HostFile) {
        self.description = description
        self.file = file
    }

    /// `clusters`
    public var layer: (any ImageLayer)? { clusters }
    /// The features that are not supported, or the want of a key.
    public var refusal: ImageError? { description.refusal }
    /// The refusal, where there is no key and nothing else is wrong.
    public var missingKey: ImageError? { clusters == nil && description.lacksKey ? description.refusal : nil }

    /// The backing file of the header, with the format of its extension.
    public var backing: BackingName? {
        description.backingFile.map { name in
            BackingName(
                bytes: name, sought: SoughtName(inHeader: name), role: .backing,
                storedFormat: description.extensions.backingFormat)
        }
    }

    /// What came up while it was described, while its data file was looked for, and while it was read.
    public var notes: [ErrorText] { description.notes + (clusters?.notes ?? []) + nameNotes }

    /// That of the header extension of this program.
    public var baseIdentity: [UInt8]? { description.extensions.baseIdentity }

    /// The header extensions that docs/interop/qcow2 does not give.
    public var unknownHeaderExtensions: [HeaderExtensionInfo] {
        description.extensions.unknown.map { HeaderExtensionInfo(type: $0.type, size: $0.length) }
    }

    /// Unlocks an encrypted image, and opens the data file.
    public mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        let cipher = try description.cipher(with: services.keys, in: file)
        // No file is opened for an image that cannot be read all the same.
        if let refusal = cipher == nil ? description.refusal : description.refusalWithKey { throw refusal }
        var dataFile: (any HostFile)?
        if let name = description.dataFile {
            dataFile = try services.find(SoughtName(inHeader: name), as: .dataFile, for: file, notes: &nameNotes)
        }
        clusters = try QCOW2Layer(
            description, file: file, dataFile: dataFile, cipher: cipher, resources: services.resources)
    }

    /// The keys that `qemu-img info` has, and the dirty bitmaps where all is listed.
    public func add(to info: inout ImageInfo, listsAll: Bool) {
        let header = description.header
        info.virtualSize = header.virtualSize
        info.clusterSize = header.clusterSize
        info.encrypted = header.cryptMethod == 0 ? nil : true
        info.dirtyFlag = header.incompatibleFeatures.contains(.dirty)
        info.formatSpecific = FormatSpecific(
            type: "qcow2", data: QCOW2Info(description, in: file, listsBitmaps: listsAll))
    }

    /// Checks clusters and refcounts: see `QCOW2Description.check`. Needs no key.
    public func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        try description.check(file, progress: progress)
    }
}

extension QCOW2Image {
    /// Those of the snapshot table.
    public var snapshots: [DiskSnapshot] {
        description.snapshots.map { snapshot in
            DiskSnapshot(
                idBytes: snapshot.idBytes, nameBytes: snapshot.nameBytes, dateSeconds: snapshot.dateSeconds,
                dateNanoseconds: snapshot.dateNanoseconds, vmClock: snapshot.vmClock, vmStateSize: snapshot.vmStateSize,
                diskSize: snapshot.diskSize, instructionCount: snapshot.instructionCount,
                content: DiskSnapshot.ContentID(snapshot.l1TableOffset, UInt64(snapshot.l1Size)))
        }
    }

    /// What is wrong with the snapshot table.
    public var snapshotFault: ImageError? { description.snapshotFault }

    /// The disk by the snapshot's L1 table.
    public func layer(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)? {
        try clusters?.layer(of: description.snapshots[index])
    }

    /// What the snapshot's L1 table has past the end of the disk.
    public func vmState(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)? {
        try clusters?.vmState(of: description.snapshots[index])
    }
}

extension QCOW2Image {
    /// Those of the bitmap directory.
    public var bitmaps: [DirtyBitmap] {
        description.bitmaps.enumerated().map { index, bitmap in
            DirtyBitmap(
                index: index, nameBytes: bitmap.nameBytes, granularity: bitmap.granularity,
                bitCount: bitmap.bitCount(diskSize: description.header.virtualSize), flagNames: bitmap.flags.names,
                isEnabled: bitmap.flags.contains(.auto), isInconsistent: bitmap.isInconsistent,
                entryOffset: bitmap.entryOffset)
        }
    }

    /// What is wrong with the bitmap directory.
    public var bitmapFault: ImageError? { description.bitmapFault }

    /// What the bitmap's table and clusters of bits mark.
    public func dirtyRanges(of bitmap: DirtyBitmap, from start: GuestOffset) throws(ImageError) -> any DirtyRangeReader
    {
        try description.dirtyRanges(of: description.bitmaps[bitmap.index], in: file, from: start)
    }

    /// The sum of these ranges.
    public func dirtyBytes(of bitmap: DirtyBitmap) throws(ImageError) -> UInt64 {
        try description.dirtyBytes(of: description.bitmaps[bitmap.index], in: file)
    }
}

extension QCOW2Description {
    /// What decrypts the clusters of the image in `file`; nil where they are not encrypted, or `keys` has no passphrase for it.
    ///
    /// Throws `denied` where the passphrase fits none of the image's key slots, `corrupt` where these are damaged, and
    /// `unsupported` for ciphers that are not done here.
    fileprivate func cipher(with keys: ImageKeys, in file: any HostFile) throws(ImageError) -> SectorCipher? {
        guard header.cryptMethod != 0, refusalWithKey == nil, keys.hasSecret(for: file) else { return nil }
        if header.cryptMethod == 1 { return try keys.legacyCipher(for: file) }
        guard let location = extensions.encryptionHeader else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(32),
                "crypt_method: encrypted with LUKS, but no header extension says where the LUKS header is")
        }
        return try keys.luksCipher(at: HostOffset(location.offset), in: file)
    }
}
