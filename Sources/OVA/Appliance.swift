import BlockImage
import ByteFormat
import FormatCore

/// A file in an appliance's archive, and what is known of it.
package struct ApplianceMember: Hashable, Sendable {
    /// What the archive says of it.
    package var entry: TarMember
    /// Its digest, as the manifest says; nil where it says none. `rblock check` compares it.
    package var digest: FileDigest?

    /// Its name as the archive has it.
    package var name: [UInt8] { entry.name }
    /// How many bytes it has.
    package var size: UInt64 { entry.fileSize }
    /// Where its bytes begin in the archive; of a sparse file, where what is stored of it does.
    package var offset: HostOffset { entry.dataOffset }
}

/// A disk image inside an appliance.
package struct ApplianceDisk: Sendable {
    /// A name for it that no other disk of the appliance has: the last component of the name in the archive, changed where
    /// it must be. Has 1 to 255 bytes, no slash and no NUL, and is none of ".", ".." and "stats.json".
    package var folderName: [UInt8]
    /// The image, read in place; or why it cannot be.
    package var file: Result<any HostFile, ImageError>
    /// The names of the members that hold it: one, or its chunks; none where they are missing.
    package var memberNames: [[UInt8]]
    /// What the descriptor says of the disk; nil where it does not mention it.
    package var disk: OVFEnvelope.Disk?
    /// What the descriptor says of its file; nil where it does not mention it.
    package var reference: OVFEnvelope.File?
}

/// A virtual appliance in one file, an OVA: a tar archive of an OVF descriptor, a manifest and disk images (DMTF
/// DSP0243, "OVF Package Structure", "Distribution as a Single File"). Nothing is unpacked: the images are parts of the
/// archive. Immutable; everything may be called from any thread.
package final class Appliance: Sendable {
    /// The archive.
    package let file: any HostFile
    /// The members of the archive, in their order.
    package let members: [ApplianceMember]
    /// Why the list of members ends before the archive does; nil when it does not.
    package let fault: ImageError?
    /// What the descriptor says; nil where there is none, or it cannot be read, which `notes` say.
    package let envelope: OVFEnvelope?
    /// Why there is a descriptor and it cannot be read; nil otherwise.
    package let envelopeError: ImageError?
    /// What the manifest says; nil where there is none, or it cannot be read.
    package let manifest: OVFManifest?
    /// Why there is a manifest and it cannot be read; nil otherwise.
    package let manifestError: ImageError?
    /// The digests of the manifest, and the place in `members` of the file that each is of; nil where the archive has no
    /// such file.
    package let digests: [(entry: FileDigest, member: Int?)]
    /// Whether there is a certificate. It is not looked at.
    package let hasCertificate: Bool
    /// The disk images: first those of the descriptor, in its order, then those that it does not mention.
    package let disks: [ApplianceDisk]
    /// The disks of the descriptor that have no file, because they are made empty when the appliance is deployed.
    package let emptyDisks: [OVFEnvelope.Disk]
    /// The files of the descriptor that no disk has and that are not in the archive: why; at most `noteLimit`.
    package let absentFiles: [ImageError]
    /// What is odd about the appliance; at most `noteLimit` sentences.
    package let notes: [ErrorText]

    /// The most notes; one more says how many are left out.
    package static let noteLimit = 100

    let names: MemberNames
    /// The members as files, by their index; nil for those that are no files.
    let files: [Result<any HostFile, ImageError>?]

    /// Opens the appliance in `file`. Reads the headers of the archive, the descriptor and the manifest, and no image. `isImage`:
    /// whether a member with that name is a disk, where the descriptor does not say it.
    ///
    /// Throws when the file is no tar archive, as `TarArchive` does. Whatever else is wrong is in `fault`, `notes`,
    /// and the disks.
    package init(_ file: any HostFile, isImage: ([UInt8]) -> Bool) throws(ImageError) {
        let archive = try TarArchive(reading: file)
        var notes = NoteList(limit: Self.noteLimit)
        if let fault = archive.fault { notes.append("the archive is read up to where it is damaged: \(fault)") }
        for note in archive.notes { notes.append(note) }
        let names = MemberNames(archive.members)
        let files = archive.members.map { Self.open($0, in: file) }

        let package = PackageFiles(names, members: archive.members, files: files)
        let (envelope, envelopeError) = package.envelope(&notes)
        let (manifest, manifestError) = package.manifest(&notes)
        let descriptorFolder = package.descriptor.map { folder(of: archive.members[$0].name) } ?? []
        var assembly = DiskAssembly(
            names: names, members: archive.members, files: files, archive: file, folder: descriptorFolder, notes: notes)
        if let envelope { assembly.addDisks(of: envelope) }
        assembly.addOtherImages(beside: envelope, isImage: isImage)

        self.file = file
        self.names = names
        self.files = files
        self.envelope = envelope
        self.envelopeError = envelopeError
        self.manifest = manifest
        self.manifestError = manifestError
        fault = archive.fault
        digests = package.digests(manifest)
        members = package.members(with: digests)
        hasCertificate = package.certificate != nil
        disks = assembly.disks
        emptyDisks = assembly.emptyDisks
        absentFiles = assembly.absentFiles
        self.notes = assembly.notes.finished
    }

    /// The member `index` as a file, or why it cannot be read; nil for what is no file.
    package func file(_ index: Int) -> Result<any HostFile, ImageError>? { files[index] }

    /// What opens the files that an image in this appliance names: other members of the same archive.
    package var policy: ApplianceOpenPolicy { ApplianceOpenPolicy(self) }

    /// The member as a file, or why it cannot be one; nil for what is no file.
    private static func open(_ member: TarMember, in file: any HostFile) -> Result<any HostFile, ImageError>? {
        guard member.isFile else { return nil }
        let path = file.path + "/" + nameText(withoutDot(member.name))
        switch member.sparseMap {
        case .success(let map)?: return .success(SparseFile(in: file, map, path: path))
        case .failure(let error)?: return .failure(error)
        case nil: break
        }
        guard !member.isCut else {
            let rest = file.size - min(member.dataOffset.rawValue, file.size)
            return .failure(
                ImageError(
                    .truncated, path: path,
                    "has \(member.size) bytes, but the archive, which was cut, holds only the first \(rest)"))
        }
        do throws(ImageError) {
            return .success(try FileSlice(of: file, offset: member.dataOffset, size: member.size, path: path))
        } catch {
            return .failure(error)
        }
    }
}

/// Notes, as many as are of use.
struct NoteList: Sendable {
    private let limit: Int
    private var notes: [ErrorText] = []
    private var dropped = 0

    init(limit: Int) {
        self.limit = limit
    }

    mutating func append(_ note: ErrorText) {
        if notes.count < limit { notes.append(note) } else { dropped += 1 }
    }

    /// The notes, the last of which says how many were left out.
    var finished: [ErrorText] {
        dropped == 0 ? notes : notes + ["\(dropped) more notes are left out"]
    }
}

/// The files of a package that are no images.
private struct PackageFiles {
    let members: [TarMember]
    let names: MemberNames
    let files: [Result<any HostFile, ImageError>?]
    /// The first member that is a descriptor, as the specification has it first of all.
    let descriptor: Int?
    /// How many descriptors there are.
    let descriptorCount: Int
    /// The manifest: the one with the descriptor's name, else the first.
    let manifestMember: Int?
    /// The first certificate.
    let certificate: Int?

    init(_ names: MemberNames, members: [TarMember], files: [Result<any HostFile, ImageError>?]) {
        func all(_ suffix: String) -> [Int] {
            names.all.filter { lowercased(members[$0].name).reversed().starts(with: suffix.utf8.reversed()) }
        }
        let descriptors = all(".ovf")
        let manifests = all(".mf")
        self.members = members
        self.names = names
        self.files = files
        descriptor = descriptors.first
        descriptorCount = descriptors.count
        let base = descriptors.first.map { members[$0].name.dropLast(4) }
        manifestMember = manifests.first { members[$0].name.dropLast(3) == base } ?? manifests.first
        certificate = all(".cert").first
    }

    /// The descriptor, if there is one, or why it cannot be read.
    func envelope(_ notes: inout NoteList) -> (OVFEnvelope?, ImageError?) {
        guard let descriptor else {
            notes.append("the archive has no OVF descriptor: its disks are the members whose names are those of images")
            return (nil, nil)
        }
        if descriptorCount > 1 {
            notes.append(
                "the archive has \(descriptorCount) OVF descriptors, of which the first, "
                    + "\"\(path: members[descriptor].shortText)\", is read")
        }
        do throws(ImageError) {
            let envelope = try read(descriptor, limit: OVFEnvelope.sizeLimit, "OVF descriptor") {
                (bytes) throws(ParseFault) in try OVFEnvelope(parsing: bytes)
            }
            for note in envelope.notes { notes.append(note) }
            return (envelope, nil)
        } catch {
            notes.append(error.text)
            return (nil, error)
        }
    }

    /// The manifest, if there is one, or why it cannot be read.
    func manifest(_ notes: inout NoteList) -> (OVFManifest?, ImageError?) {
        guard let manifestMember else { return (nil, nil) }
        do throws(ImageError) {
            let manifest = try read(manifestMember, limit: OVFManifest.sizeLimit, "manifest") {
                (bytes) throws(ParseFault) in try OVFManifest(parsing: bytes)
            }
            if let line = manifest.unreadLines.first {
                notes.append(
                    "manifest \"\(path: members[manifestMember].shortText)\": line \(line) is no digest of a file")
            }
            return (manifest, nil)
        } catch {
            notes.append(error.text)
            return (nil, error)
        }
    }

    /// What `manifest` has digests of, seen from its folder.
    func digests(_ manifest: OVFManifest?) -> [(entry: FileDigest, member: Int?)] {
        let folder = manifestMember.map { OVA.folder(of: members[$0].name) } ?? []
        return (manifest?.entries ?? []).map { entry in
            (entry, names.member(entry.name, from: folder) ?? names.onlyMember(lastComponentOf: entry.name))
        }
    }

    /// All members with their digests.
    func members(with digests: [(entry: FileDigest, member: Int?)]) -> [ApplianceMember] {
        var result = members.map { ApplianceMember(entry: $0, digest: nil) }
        for (entry, member) in digests {
            if let member { result[member].digest = entry }
        }
        return result
    }

    private func read<Value>(
        _ index: Int, limit: Int, _ what: String, _ parse: ([UInt8]) throws(ParseFault) -> Value
    ) throws(ImageError) -> Value {
        guard let file = try files[index]?.get() else {
            throw ImageError(.corrupt, path: members[index].shortText, "\(what): is no file")
        }
        guard file.size <= UInt64(limit) else {
            throw ImageError(
                .unsupported, path: file.path,
                "\(what): has \(file.size) bytes, and must have no more than \(limit)")
        }
        let bytes = try file.bytes(Int(file.size), at: HostOffset(0), of: what)
        do throws(ParseFault) {
            return try parse(bytes)
        } catch {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(UInt64(error.position)), "\(error.message)")
        }
    }
}
