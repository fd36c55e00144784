import BlockImage
import ByteFormat

/// A VMDK disk, open for reading: its extents one after the other.
///
/// Immutable; every method may be called from any thread.
public final class VMDKLayer: ImageLayer {
    /// What the image says of itself.
    public let description: VMDKDescription
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    /// The parts of the disk in their order. Lines of 0 sectors are left out.
    public let extents: [VMDKExtent]
    /// Every file that the layer holds open, the descriptor's first, each once.
    public let files: [any HostFile]
    /// What was read in place of the files that the image names.
    public let nameNotes: [ErrorText]
    private let openingNotes: [VMDKNote]
    private let resources: LayerResources

    /// What people should know of the image and of the files that it names; it grows when more comes up.
    public var notes: [ErrorText] { kindNotes.map(\.text) }

    /// The same, with the kinds of findings that they are.
    var kindNotes: [VMDKNote] {
        // Several lines can name one file.
        var known: Set<ObjectIdentifier> = []
        let found = extents.compactMap(\.findings).filter { known.insert(ObjectIdentifier($0)).inserted }
        return openingNotes + found.flatMap(\.all).map { VMDKNote($0) }
    }

    /// The bytes of a grain, where all extents that have a file have grains of one size; nil otherwise.
    public var clusterSize: Int? {
        let sizes = Set(extents.filter { $0.file != nil }.map(\.clusterSize))
        return sizes.count == 1 ? sizes.first ?? nil : nil
    }

    /// Opens the extents of the image `file`, which `description` was made of; `policy` opens the files that it names.
    ///
    /// Throws the description's refusal, what `policy` throws, and `corrupt`, `truncated` or `unsupported` for an
    /// extent's file.
    public init(
        _ description: VMDKDescription, file: any HostFile, policy: any OpenPolicy, resources: LayerResources
    ) throws(ImageError) {
        if let refusal = description.refusal { throw refusal }
        var assembly = ExtentAssembly(image: file, policy: policy, resources: resources)
        if let descriptor = description.descriptor, description.namesExtents {
            for line in descriptor.extents where line.sectors > 0 { try assembly.append(line) }
        } else {
            try assembly.appendOwn(description.extents.first { $0.sectors > 0 })
        }
        self.description = description
        virtualSize = assembly.size
        extents = assembly.extents
        files = assembly.files
        nameNotes = assembly.search.notes
        openingNotes = description.notes.map { VMDKNote($0) } + assembly.notes + nameNotes.map { VMDKNote($0) }
        self.resources = resources
    }

    deinit {
        for file in files {
            resources.tables.removeTables(of: file.id)
            resources.clusters.removeClusters(of: file.id)
        }
    }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        try extent(holding: start).extent(at: start, limit: limit)
    }

    /// Appends the `extent.count` bytes of an `encoded` extent that this layer answered to `output`.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        try self.extent(holding: extent.start).decode(extent, into: &output)
    }

    /// The part of the disk that holds `start`.
    func extent(holding start: GuestOffset) throws(ImageError) -> VMDKExtent {
        // The first extent that ends after `start`, by bisection.
        var index = 0
        var end = extents.count
        while index < end {
            let middle = index + (end - index) / 2
            if extents[middle].end <= start.rawValue { index = middle + 1 } else { end = middle }
        }
        guard index < extents.count else {
            throw ImageError(
                .outOfRange, path: description.path, "nothing at \(start): the disk has \(virtualSize) bytes")
        }
        return extents[index]
    }
}

/// What people should know of a disk.
struct VMDKNote {
    var text: ErrorText
    /// What a finding of a check is that says it.
    var kind = CheckFinding.Kind.descriptor

    init(_ text: ErrorText) {
        self.text = text
    }

    /// That the last writer of `file` did not close it, as the field uncleanShutdown of its header says.
    init(uncleanShutdownOf file: any HostFile) {
        text = "\(path: file.path): its last writer did not close it (uncleanShutdown)"
        kind = .flag
    }
}

/// The extents of a disk while they are opened, one after the other.
private struct ExtentAssembly {
    let image: any HostFile
    let resources: LayerResources
    private(set) var search: FileSearch
    private(set) var extents: [VMDKExtent] = []
    private(set) var notes: [VMDKNote] = []
    private(set) var files: [any HostFile]
    private var fileOfName: [[UInt8]: any HostFile] = [:]
    private var fileOfIdentity: [FileIdentity: any HostFile] = [:]
    /// The extents in grains that were opened, by their file and the kind that their first line says.
    private var extentOfFile: [HostFileID: (expected: Magic, extent: SparseExtent)] = [:]

    /// How many bytes of the disk there are so far.
    var size: UInt64 { extents.last?.end ?? 0 }

    init(image: any HostFile, policy: any OpenPolicy, resources: LayerResources) {
        self.image = image
        search = FileSearch(of: image, policy: policy)
        self.resources = resources
        files = [image]
        if let identity = image.identity { fileOfIdentity[identity] = image }
    }

    private mutating func note(_ text: ErrorText) { notes.append(VMDKNote(text)) }

    mutating func append(_ line: DescriptorExtent) throws(ImageError) {
        // Held to `sectorLimit` when the line was parsed.
        let size = line.sectors * sectorSize
        guard line.needsFile, let name = line.name else { return try append(size, line: line, storage: .zero) }
        if line.needsDevice { return try append(size, line: line, storage: .unreadable(onDevice(name, size))) }
        let file = try open(name)
        guard let expected = Magic(line.kind) else {
            let begin = line.offset * sectorSize
            if file.sectorCount < line.offset + line.sectors {
                note(
                    "\(path: file.path): has \(file.size) bytes, but the extent needs \(begin + size); the rest is lost"
                )
            } else if file.size < begin + size {
                note(
                    "\(path: file.path): has \(file.size) bytes, but the extent needs \(begin + size); the rest of its last sector "
                        + "is read as zeros")
            }
            return try append(size, line: line, storage: .flat(file, HostOffset(begin)))
        }
        // A file that is named again is not looked through again either.
        let known = extentOfFile[file.id].flatMap { $0.expected == expected ? $0.extent : nil }
        let extent: SparseExtent
        if let known {
            extent = known
        } else {
            extent = try sparseExtent(in: file, as: expected)
            extentOfFile[file.id] = (expected, extent)
            notes += extent.notes
        }
        if extent.magic != expected {
            note(
                "\(path: file.path): the descriptor says \(line.kindName), but the file is a "
                    + "\(extent.magic.lineKind.rawValue) extent, and is read as that")
        }
        if extent.capacity != size {
            note(
                "\(path: file.path): the descriptor says \(line.sectors) sectors and the sparse header "
                    + "\(extent.capacity / sectorSize), which holds")
        }
        try append(extent, kindName: line.kindName, line: line)
    }

    /// Appends the extent in grains that the image itself is.
    mutating func appendOwn(_ line: DescriptorExtent?) throws(ImageError) {
        let extent = try sparseExtent(in: image, as: .hostedSparse)
        notes += extent.notes
        try append(extent, kindName: "", line: line)
    }

    private mutating func append(
        _ extent: SparseExtent, kindName: String, line: DescriptorExtent?
    ) throws(ImageError) {
        guard extent.capacity > 0 else { return }
        try append(extent.capacity, kindName: kindName, line: line, storage: .sparse(extent))
    }

    private mutating func append(
        _ count: UInt64, kindName: String? = nil, line: DescriptorExtent?, storage: VMDKExtent.Storage
    ) throws(ImageError) {
        // Both are at most 2^63 - 512, so that the sum fits.
        guard size + count <= sectorLimit * sectorSize else {
            throw ImageError(
                .corrupt, path: image.path, "the extents have more than \(sectorLimit) sectors together")
        }
        extents.append(
            VMDKExtent(
                start: GuestOffset(size), virtualSize: count, kindName: kindName ?? line?.kindName ?? "", line: line,
                storage: storage))
    }

    /// Why the next `count` bytes of the disk, which lie on the device `name`, cannot be read.
    private func onDevice(_ name: DescriptorName, _ count: UInt64) -> ImageError {
        let start = GuestOffset(size)
        return ImageError(
            .denied, path: image.path,
            "extent \"\(path: name.text)\": is a device, and only files are opened; the disk from \(start) to "
                + "\(start.advanced(by: count)) lies there")
    }

    /// The extent in grains that `file` holds: of the kind that the file says, or else `expected`.
    private func sparseExtent(in file: any HostFile, as expected: Magic) throws(ImageError) -> SparseExtent {
        try SparseExtent.open(file, as: expected, resources: resources)
    }

    /// The file called `name`, opened once however often it is named.
    private mutating func open(_ name: DescriptorName) throws(ImageError) -> any HostFile {
        if let file = fileOfName[name.bytes] { return file }
        let opened = try search.open(name.sought, as: .extent)
        // Two names may lead to one file, whose bytes on the host must not be counted twice.
        let known = opened.identity.flatMap { fileOfIdentity[$0] }
        let file = known ?? opened
        if known == nil { files.append(file) }
        if let identity = file.identity { fileOfIdentity[identity] = file }
        fileOfName[name.bytes] = file
        return file
    }
}
