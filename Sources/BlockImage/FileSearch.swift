import Glibc

/// Looks for the files that one image names. To be used by one thread.
public struct FileSearch {
    /// The file that names them.
    private let image: any HostFile
    private let policy: any OpenPolicy
    /// The images that it lies under. A name that is not what the image says must not lead back to one of them.
    private let above: Set<FileIdentity>
    /// What was read in place of what the image says, in the order in which it was found.
    private var replacements: [ErrorText] = []
    /// The names beside the image by their ASCII letters in lower case, once they were needed.
    private var names: [FileReference.Folder: [[UInt8]: [[UInt8]]]] = [:]
    /// The names in the folders that were looked through for equivalent ones.
    private var listings: [FileReference: [[UInt8]]] = [:]

    /// The most replacements that are noted one by one: a disk of 8,192 extents that was moved must not have as many
    /// notes.
    private static let noteLimit = 4
    /// The most components of a name that equivalent ones are looked for to, and the most folders that are listed for it:
    /// an image can have many long names.
    private static let (componentLimit, listingLimit) = (16, 64)

    /// A search for what `image` names, among the files that `policy` allows. `above`: the images that it lies under.
    public init(of image: any HostFile, policy: any OpenPolicy, above: Set<FileIdentity> = []) {
        self.image = image
        self.policy = policy
        self.above = image.identity.map { above.union([$0]) } ?? above
    }

    /// What people should know of what was found.
    public var notes: [ErrorText] {
        let more = replacements.count - Self.noteLimit
        return replacements.prefix(Self.noteLimit)
            + (more > 0 ? ["\(path: image.path): \(more) more names are read so"] : [])
    }

    /// Opens the file called `name`, the first of its candidates that is there and allowed.
    ///
    /// A relative candidate is looked for beside the link by which the image was opened, as QEMU does, and then beside
    /// the image's own file; in both under exactly its bytes, and then under the only name that is equivalent in Unicode.
    /// Where none is, and the name is of a system that ignores case, the only file beside the image whose name differs
    /// from the last component just in the case of its letters is opened. Throws what the policy says of the first
    /// candidate, and `denied` for devices, for a candidate that is there and may not be opened, and where several names
    /// are equivalent.
    public mutating func open(
        _ name: SoughtName, as role: FileReference.Role
    ) throws(ImageError) -> any HostFile {
        var failure: ImageError?
        for candidate in name.candidates {
            for folder in folders(for: candidate.name) {
                let reference = FileReference(candidate.name, role: role, in: folder)
                do throws(ImageError) {
                    let file = try policy.open(reference, namedBy: image)
                    if candidate.reading != nil, isAbove(file) { continue }
                    note(candidate, of: name, reference, file)
                    return file
                } catch {
                    guard error.letsSearchGoOn else { throw error }
                    // What is there is meant, and no file of the same name elsewhere.
                    if error.code == .denied, policy.isThere(reference, namedBy: image) { throw error }
                    failure = failure ?? error
                }
                if let file = try openEquivalent(of: reference, for: name) { return file }
            }
        }
        if let file = try openIgnoringCase(name, as: role) { return file }
        guard var failure else {
            throw ImageError(
                .denied, path: image.path,
                "\(role.rawValue) \"\(path: name.text)\": is a device, and only files are opened")
        }
        let others: [ErrorText] = name.candidates.dropFirst().map { "\"\(path: nameText($0.name))\"" }
        if !others.isEmpty { failure.detail += "; looked for \(ErrorText(others, separator: " and ")) as well" }
        throw failure
    }

    /// Where `name` is looked for.
    private func folders(for name: [UInt8]) -> [FileReference.Folder] {
        image.isLinked && !isAbsolute(name) ? [.ofName, .ofFile] : [.ofName]
    }

    private func isAbove(_ file: any HostFile) -> Bool {
        file.identity.map(above.contains) ?? false
    }

    private func isAbsolute(_ name: [UInt8]) -> Bool {
        name.first == UInt8(ascii: "/") || name.starts(with: "file:/".utf8)
    }

    /// Notes that `candidate` was opened as `file`, where people should know that.
    private mutating func note(
        _ candidate: SoughtName.Candidate, of name: SoughtName, _ reference: FileReference, _ file: any HostFile
    ) {
        if let reading = candidate.reading { return noteReplacement(of: name, reading) }
        guard image.isLinked, !isAbsolute(reference.name) else { return }
        switch reference.folder {
        case .ofFile:
            noteReplacement(
                of: name, "it is not beside the link by which the image was opened, and that beside its file is read")
        case .ofName:
            var other = reference
            other.folder = .ofFile
            guard let found = try? policy.open(other, namedBy: image), found.identity != file.identity else { return }
            noteReplacement(
                of: name,
                "that beside the link by which the image was opened is read, as QEMU does, and not the other one beside "
                    + "its file")
        }
    }

    private mutating func noteReplacement(of name: SoughtName, _ reading: ErrorText) {
        replacements.append("\(path: image.path): the \(name.place) names \"\(path: name.text)\"; \(reading)")
    }

    /// The file whose name alone is equivalent to that of `reference`, which was not found; nil where there is none.
    private mutating func openEquivalent(
        of reference: FileReference, for name: SoughtName
    ) throws(ImageError) -> (any HostFile)? {
        // Nothing that is written otherwise is equivalent to ASCII.
        guard reference.name.contains(where: { $0 >= 0x80 }) else { return nil }
        let components = reference.name.split(separator: slash).filter { !$0.elementsEqual(".".utf8) }
        guard components.count <= Self.componentLimit else { return nil }
        var found = reference
        // Without `./` in front, what comes before a colon would be a protocol.
        found.name = isAbsolute(reference.name) ? [slash] : reference.name.starts(with: "./".utf8) ? [dot, slash] : []
        var isOther = false
        for component in components.map(Array.init) {
            var next = found
            next.name += (found.name.last.map { $0 != slash } ?? false ? [slash] : []) + component
            if component.contains(where: { $0 >= 0x80 }), !policy.isThere(next, namedBy: image) {
                guard let names = names(in: found) else { return nil }
                switch NameMatch(component, among: names) {
                case .exact: break
                case .equivalent(let index):
                    next.name.removeLast(component.count)
                    next.name += names[index]
                    isOther = true
                case .none: return nil
                case .ambiguous(let indices):
                    throw ambiguous(indices.map { names[$0] }, reference, of: name, at: component)
                }
            }
            found = next
        }
        guard isOther else { return nil }
        let file: any HostFile
        do throws(ImageError) {
            file = try policy.open(found, namedBy: image)
        } catch {
            guard error.letsSearchGoOn else { throw error }
            return nil
        }
        guard !isAbove(file) else { return nil }
        noteReplacement(
            of: name,
            "\"\(path: spelled(found.name))\" is read, which looks the same and is written with other characters")
        return file
    }

    /// The names in `folder`; nil where as many folders were listed as may be.
    private mutating func names(in folder: FileReference) -> [[UInt8]]? {
        if let known = listings[folder] { return known }
        guard listings.count < Self.listingLimit else { return nil }
        let names = policy.names(in: folder, besides: image)
        listings[folder] = names
        return names
    }

    private func ambiguous(
        _ found: [[UInt8]], _ reference: FileReference, of name: SoughtName, at component: [UInt8]
    ) -> ImageError {
        let list = ErrorText(found.map { "\"\(path: spelled($0))\"" }, separator: " and ")
        return ImageError(
            .denied, path: image.path,
            "\(reference.role.rawValue) \"\(path: name.text)\": is not there as it is written (\(spelled(component))), "
                + "and \(list) look the same, so that none of them is taken")
    }

    /// The only file beside the image whose name is that of `name` but for the case of its ASCII letters.
    private mutating func openIgnoringCase(
        _ name: SoughtName, as role: FileReference.Role
    ) throws(ImageError) -> (any HostFile)? {
        guard name.ignoresCase, let last = name.lastComponent, !name.candidates.isEmpty else { return nil }
        for folder in folders(for: last) {
            let beside = FileReference([], role: role, in: folder)
            let names =
                self.names[folder] ?? Dictionary(grouping: policy.names(in: beside, besides: image), by: lowercase)
            self.names[folder] = names
            guard let found = names[lowercase(last)], found.count == 1 else { continue }
            let file = try policy.open(FileReference(found[0], role: role, in: folder), namedBy: image)
            guard !isAbove(file) else { continue }
            noteReplacement(of: name, "\(path: nameText(found[0])) beside it is read")
            return file
        }
        return nil
    }
}

extension ImageError {
    /// Whether another name may lead to the file that this is about.
    fileprivate var letsSearchGoOn: Bool {
        switch code {
        case .denied, .system(ENOENT), .system(ENOTDIR), .system(ENAMETOOLONG): true
        default: false
        }
    }
}

private let slash = UInt8(ascii: "/")
private let dot = UInt8(ascii: ".")

private func lowercase(_ bytes: [UInt8]) -> [UInt8] {
    bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
}
