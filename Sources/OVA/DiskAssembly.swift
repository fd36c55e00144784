import BlockImage

/// The disks of an appliance while they are looked for.
struct DiskAssembly {
    let names: MemberNames
    let members: [TarMember]
    let files: [Result<any HostFile, ImageError>?]
    let archive: any HostFile
    private(set) var notes: NoteList
    private(set) var disks: [ApplianceDisk] = []
    private(set) var emptyDisks: [OVFEnvelope.Disk] = []
    /// The files of the descriptor that no disk has and that are not in the archive: why.
    private(set) var absentFiles: [ImageError] = []

    /// The folder in the archive that the descriptor lies in, from which its references are seen.
    private let folder: [UInt8]
    /// The members that are of a disk that was added.
    private var taken: Set<Int> = []
    /// The names of the files that `findStrayFiles` found.
    private var strayFiles: Set<[UInt8]> = []
    private var folderNames = FolderNames()

    init(
        names: MemberNames, members: [TarMember], files: [Result<any HostFile, ImageError>?], archive: any HostFile,
        folder: [UInt8], notes: NoteList
    ) {
        self.folder = folder
        self.names = names
        self.members = members
        self.files = files
        self.archive = archive
        self.notes = notes
    }

    /// Adds the disks that the descriptor has, in its order.
    mutating func addDisks(of envelope: OVFEnvelope) {
        let fileOfId = Dictionary(envelope.files.map { ($0.id, $0) }) { first, _ in first }
        var diskOfFile: [String: String] = [:]
        findStrayFiles(envelope.files)
        for disk in envelope.disks {
            guard let fileRef = disk.fileRef else {
                emptyDisks.append(disk)
                continue
            }
            if let other = diskOfFile[fileRef] {
                notes.append(
                    "Disk \"\(short(disk.diskId))\": has the same file as Disk \"\(short(other))\", and is shown as that one"
                )
                continue
            }
            diskOfFile[fileRef] = disk.diskId
            guard let file = fileOfId[fileRef] else {
                let name = Array(disk.diskId.utf8)
                let error = ImageError(
                    .corrupt, path: path(of: name),
                    "Disk \"\(short(disk.diskId))\": its fileRef \"\(short(fileRef))\" is the id of no File")
                add(name, Found(file: .failure(error)), disk: disk, reference: nil)
                continue
            }
            let found = find(file)
            taken.formUnion(found.members)
            let name = found.members.count == 1 ? members[found.members[0]].name : percentDecoded(Array(file.href.utf8))
            add(name, found, disk: disk, reference: file)
        }
        for file in envelope.files where diskOfFile[file.id] == nil {
            guard absentFiles.count < Appliance.noteLimit else { break }
            if let error = absence(of: file) { absentFiles.append(error) }
        }
    }

    /// Adds the images of the archive that no disk of the descriptor has, and the chunks of such.
    mutating func addOtherImages(beside envelope: OVFEnvelope?, isImage: ([UInt8]) -> Bool) {
        for index in names.all where !taken.contains(index) {
            let name = withoutDot(members[index].name)
            let part = chunk(name)
            guard part == nil || part?.number == 0, isImage(part?.file ?? name) else { continue }
            if envelope != nil {
                notes.append(
                    "\"\(path: members[index].shortText)\": looks like a disk image, but no Disk of the descriptor has it"
                )
            }
            var found = Found(file: file(index), members: [index])
            if let part, let chunks = names.chunks(part.file) { found = joined(chunks, reference: nil) }
            taken.formUnion(found.members)
            add(part?.file ?? name, found, disk: nil, reference: nil)
        }
    }

    // MARK: - Finding a file

    /// The file of a disk, and the members that it is made of.
    private struct Found {
        var file: Result<any HostFile, ImageError>
        var members: [Int] = []
    }

    private func member(_ href: [UInt8]) -> Int? { names.member(href, from: folder) }
    private func chunks(_ href: [UInt8]) -> MemberNames.Chunks? { names.chunks(href, from: folder) }

    /// Finds the references of the descriptor whose folders the archive does not have, and which may be taken for what
    /// has their last component: where that is no other reference's file, and no other such reference has the same one.
    private mutating func findStrayFiles(_ files: [OVFEnvelope.File]) {
        var known: Set<Int> = []
        var stray: [Int: Set<[UInt8]>] = [:]
        for file in files {
            let href = Array(file.href.utf8)
            let isRelative = href.first != UInt8(ascii: "/") && !isURL(href)
            if isRelative, let found = member(href) ?? chunks(href)?.members.first {
                known.insert(found)
            } else if let found = names.onlyMember(lastComponentOf: href)
                ?? names.onlyChunks(lastComponentOf: href)?.members.first
            {
                stray[found, default: []].insert(href)
            }
        }
        for (found, references) in stray where references.count == 1 && !known.contains(found) {
            strayFiles.formUnion(references)
        }
    }

    /// The file that the descriptor refers to.
    private mutating func find(_ reference: OVFEnvelope.File) -> Found {
        let href = Array(reference.href.utf8)
        let stray = strayFiles.contains(href)
        if let error = absence(of: reference) { return Found(file: .failure(error)) }
        var found: Found
        if let index = member(href) ?? (stray ? names.onlyMember(lastComponentOf: href) : nil) {
            found = Found(file: file(index), members: [index])
            if reference.chunkSize != nil {
                notes.append(
                    "\"\(path: short(reference.href))\": is whole, but the descriptor says that it is split into chunks"
                )
            }
            checkSize(reference, "the member has \(members[index].fileSize)", members[index].fileSize)
        } else if let chunks = chunks(href) ?? (stray ? names.onlyChunks(lastComponentOf: href) : nil) {
            found = joined(chunks, reference: reference)
        } else {
            return failure(.truncated, href, "is missing")
        }
        if stray, let first = found.members.first {
            notes.append(
                "\"\(path: short(reference.href))\": the archive has no such member, and \"\(path: members[first].shortText)\", the "
                    + "only one with that last component, is read")
        }
        if let compression = reference.compression {
            let isKnown = compression.lowercased() == "gzip"
            found.file =
                failure(
                    .unsupported, href,
                    "is compressed with \(isKnown ? "gzip" : "\"\(short(compression))\"") as a whole, and disks can be read in place only: "
                        + "unpack the archive, and decompress it"
                ).file
        }
        return found
    }

    /// Why nothing of the file that the descriptor refers to is in the archive: it lies elsewhere, or is missing; nil where
    /// something is.
    private func absence(of reference: OVFEnvelope.File) -> ImageError? {
        let href = Array(reference.href.utf8)
        let stray = strayFiles.contains(href)
        if isURL(href) || href.first == UInt8(ascii: "/") && !stray {
            return ImageError(
                .denied, path: path(of: href),
                "the descriptor says that it is at \"\(path: short(reference.href))\", which is not in the archive; "
                    + "nothing else is opened")
        }
        guard !stray, member(href) == nil, chunks(href) == nil else { return nil }
        let chunk = reference.chunkSize == nil ? "" : ", nor any chunk of it"
        return ImageError(
            .truncated, path: path(of: href), "is missing: the archive has no member of this name\(chunk)")
    }

    /// The chunks as one file.
    private mutating func joined(_ chunks: MemberNames.Chunks, reference: OVFEnvelope.File?) -> Found {
        let found = chunks.members
        func missing(_ code: ImageError.Code, _ message: ErrorText) -> Found {
            let name = chunks.file + chunkSuffix(found.count)
            var result = failure(code, chunks.file, "chunk \"\(path: short(name))\": is missing, \(message)")
            result.members = found
            return result
        }
        guard chunks.highest < found.count else {
            return missing(
                .corrupt, "but the archive has \"\(path: short(chunks.file + chunkSuffix(chunks.highest)))\"")
        }
        if let size = reference?.size, let chunkSize = reference?.chunkSize, size > 0, chunkSize > 0 {
            let expected = (size - 1) / chunkSize
            if expected >= UInt64(found.count) {
                return missing(
                    .truncated, "but \(size) bytes in chunks of \(chunkSize) need all up to number \(expected)")
            }
            let odd = found.dropLast().first { members[$0].fileSize != chunkSize }
            if let odd {
                notes.append(
                    "chunk \"\(path: members[odd].shortText)\": has \(members[odd].fileSize) bytes, but the descriptor says \(chunkSize)"
                )
            }
        }
        do throws(ImageError) {
            var parts: [any HostFile] = []
            for index in found { parts.append(try file(index).get()) }
            let whole = try JoinedFile(parts, path: path(of: chunks.file))
            if let reference { checkSize(reference, "its chunks have \(whole.size) together", whole.size) }
            return Found(file: .success(whole), members: found)
        } catch {
            return Found(file: .failure(error), members: found)
        }
    }

    /// Notes where the file has another size than the descriptor says; `found` says it in words.
    private mutating func checkSize(_ reference: OVFEnvelope.File, _ found: String, _ size: UInt64) {
        guard let expected = reference.size, expected != size else { return }
        notes.append(
            "\"\(path: short(reference.href))\": the descriptor says that it has \(expected) bytes, but \(found)")
    }

    private func file(_ index: Int) -> Result<any HostFile, ImageError> {
        files[index] ?? failure(.corrupt, members[index].name, "is no file").file
    }

    private func failure(_ code: ImageError.Code, _ name: [UInt8], _ message: ErrorText) -> Found {
        Found(file: .failure(ImageError(code, path: path(of: name), message)))
    }

    // MARK: - Names

    private mutating func add(
        _ name: [UInt8], _ found: Found, disk: OVFEnvelope.Disk?, reference: OVFEnvelope.File?
    ) {
        disks.append(
            ApplianceDisk(
                folderName: folderNames.add(name), file: found.file,
                memberNames: found.members.map { members[$0].name },
                disk: disk, reference: reference))
    }

    /// What messages call the file `name`.
    private func path(of name: [UInt8]) -> String {
        archive.path + "/" + short(withoutDot(name))
    }

    private func short(_ name: [UInt8]) -> String { String(decoding: name.prefix(200), as: UTF8.self) }
    private func short(_ text: String) -> String { String(text.prefix(200)) }

    /// Whether a reference has a scheme and an authority, as `https://…` has.
    private func isURL(_ href: [UInt8]) -> Bool {
        guard let colon = href.firstIndex(of: UInt8(ascii: ":")) else { return false }
        return href[colon...].starts(with: Array("://".utf8)) || href.starts(with: Array("file:".utf8))
    }
}

/// Names for the folders of disks, each given out once.
struct FolderNames {
    /// The most bytes of a name, NAME_MAX of Linux.
    private static let limit = 255

    private var used: Set<[UInt8]> = []
    /// The last number that was put after a name.
    private var lastNumbers: [[UInt8]: Int] = [:]

    /// A name that was not given out before, as like the last component of `name` as can be: `disk-2.vmdk` where there
    /// is a `disk.vmdk`.
    mutating func add(_ name: [UInt8]) -> [UInt8] {
        var base = lastComponent(of: name).filter { $0 != 0 }
        // Twenty bytes are left for a number.
        if base.count > Self.limit { base = Array(base.suffix(Self.limit - 20)) }
        let reserved = ["", ".", "..", "stats.json"].map { Array($0.utf8) }
        if reserved.contains(base) { base = Array("disk".utf8) }
        var result = base
        while !used.insert(result).inserted {
            let number = lastNumbers[base, default: 1] + 1
            lastNumbers[base] = number
            // What begins with a dot has no extension there.
            let dot = base.lastIndex(of: UInt8(ascii: ".")).flatMap { $0 == 0 ? nil : $0 } ?? base.count
            result = base[..<dot] + Array("-\(number)".utf8) + base[dot...]
            if result.count > Self.limit { result = Array(result.suffix(Self.limit)) }
        }
        return result
    }
}
