import BlockImage
import FormatCore
import HostStorage

/// Opens images with the chains under them: finds the format of each file, and follows what it names as far as the
/// policy goes. May be used from any thread.
public struct ImageOpener: Sendable {
    /// The most files that one chain may have. QEMU sets no limit; chains of more than a few dozen are not seen.
    public static let depthLimit = 256

    let policy: any OpenPolicy
    private let resources: LayerResources
    /// How images are opened.
    public var options: OpeningOptions

    /// An opener of files that `policy` allows, as `options` say, whose layers share the caches of `resources`.
    public init(policy: any OpenPolicy, resources: LayerResources, options: OpeningOptions = OpeningOptions()) {
        self.policy = policy
        self.resources = resources
        self.options = options
    }

    /// An opener with the same options and caches of files that `policy` allows.
    public func confined(to policy: any OpenPolicy) -> ImageOpener {
        ImageOpener(policy: policy, resources: resources, options: options)
    }

    /// Opens the image in `file`; what it does while it is read is counted in `counters`.
    ///
    /// `format` nil: the content decides, and then the image may name no other file, since a guest can write whatever
    /// it likes to the start of a raw disk; what is neither an image nor a disk by its content is refused. Never throws: what is wrong is the result of the answer.
    public func open(_ file: any HostFile, as format: ImageFormat?, counters: ReadCounters) -> OpenedImage {
        var chain = Chain(policy: policy, resources: resources.counting(in: counters), options: options)
        do throws(ImageError) {
            let image = try chain.open(file, as: format)
            return OpenedImage(
                layers: chain.layers, result: .success(image), neighbours: ImageNeighbours(of: file, opener: self))
        } catch {
            return OpenedImage(layers: chain.layers, result: .failure(error))
        }
    }
}

/// A chain while it is being opened, from the top down.
private struct Chain {
    /// Opens what images name: from a container on down, its files.
    var policy: any OpenPolicy
    let resources: LayerResources
    let options: OpeningOptions
    var layers: [LayerDescription] = []
    var identities: Set<FileIdentity> = []

    mutating func open(_ file: any HostFile, as named: ImageFormat?) throws(ImageError) -> Image {
        if let identity = file.identity, !identities.insert(identity).inserted {
            throw ImageError(.corrupt, path: file.path, "backing chain: comes back to this file, and has no end")
        }
        guard layers.count < ImageOpener.depthLimit else {
            throw ImageError(
                .unsupported, path: file.path,
                "backing chain: has more than \(ImageOpener.depthLimit) images, which is the limit")
        }
        let isSaid = options.isFormatSaid && layers.isEmpty
        let recognition = try Recognition(file, named: named, isSaid: isSaid, under: commandSaying(.raw))
        let command = commandSaying(recognition.format)
        var layer = LayerDescription(file: file, format: recognition.format, wasProbed: named == nil)
        layer.contentNotes = recognition.notes
        layers.append(layer)
        return try openLast(
            naming: layer.wasProbed ? NoOtherFiles(format: layer.format, command: command) : policy)
    }

    /// Opens the last of `layers`, and what lies under it; `names` opens the files that it names.
    private mutating func openLast(naming names: any OpenPolicy) throws(ImageError) -> Image {
        let index = layers.count - 1
        let file = layers[index].file
        try describe(index)
        let services = LayerServices(
            policy: names, keys: options.keys, resources: resources, above: identities,
            isSearching: !layers[index].wasProbed)
        do throws(ImageError) {
            try layers[index].image?.makeReadable(with: services)
        } catch {
            if options.followsEncrypted, error == layers[index].missingKey { _ = try openBacking(of: index, services) }
            throw error
        }
        guard let layer = layers[index].image?.layer else {
            throw ImageError(.unsupported, path: file.path, "could not be made ready to read")
        }
        return Image(layer: layer, backing: try openBacking(of: index, services))
    }

    /// Has the layer `index` say what it is. Throws why it is no image of its format, or none by itself.
    private mutating func describe(_ index: Int) throws(ImageError) {
        let (file, format) = (layers[index].file, layers[index].format)
        // What a person says the format of is no part of another disk.
        let split = index == 0 && !options.isFormatSaid ? format.splitting(isNamed: !layers[index].wasProbed) : nil
        let image: any FormatImage
        do throws(ImageError) {
            image = try format.driver.describe(file)
        } catch {
            let error = Recognition.error(error, of: file, as: format, isNamed: index == 0)
            guard let split else { throw error }
            if let error = split.partError(of: file, policy: policy) { throw error }
            guard try ImageFormat.probe(file) == .raw else { throw error }
            return try describeFlat(index, split, error)
        }
        if let split, split.mayBePart(image), let error = split.partError(of: file, policy: policy) { throw error }
        layers[index].image = image
    }

    /// Has the layer `index`, which is called an image of a format that splits disks, is none, as `error` says, and no part of
    /// one, be the flat extent that it may be.
    private mutating func describeFlat(
        _ index: Int, _ driver: any SplitFormat, _ error: ImageError
    ) throws(ImageError) {
        let file = layers[index].file
        guard let recognition = try Recognition(flatExtent: file, of: driver) else {
            throw driver.namingFlatExtent(in: error, of: file, policy: policy)
        }
        layers[index].format = recognition.format
        layers[index].contentNotes = recognition.notes
        layers[index].image = try recognition.format.driver.describe(file)
    }

    /// The command by which the last of `layers` says that the file under it has `format`; empty where that can say none,
    /// and nil where there is none.
    private func commandSaying(_ format: ImageFormat) -> String? {
        guard let last = layers.last else { return nil }
        guard last.format.driver.storesBackingFormat, let name = last.image?.backing?.bytes else { return "" }
        return "qemu-img rebase -u -b \(shellWord(nameText(name))) -F \(format.rawValue) \(shellWord(last.file.path))"
    }

    /// The image under the layer `index`, the last so far, which may use `services`; nil where it names none.
    private mutating func openBacking(of index: Int, _ services: LayerServices) throws(ImageError) -> Image? {
        guard let name = layers[index].image?.backing, index < options.deepest else { return nil }
        let file = layers[index].file
        let stored = try name.storedFormat.map { stored throws(ImageError) in try Self.format(stored: stored, of: file)
        }
        let image: Image
        if let given = takeGiven(in: name) {
            let usual = name.usualFormat.flatMap { ImageFormat(rawValue: $0) }
            image = try open(given.file, as: stored ?? given.format ?? usual)
        } else if let inside = try openInContainer(name, of: index, services) {
            policy = inside.container.policy
            image = try open(try inside.disk.file.get(), as: stored ?? inside.disk.imageFormat())
        } else {
            let found = try find(name, of: index, services)
            image = try open(found.file, as: stored ?? found.format ?? ImageFormat.ofBacking(name))
        }
        try checkBacking(of: index)
        return image
    }

    /// The image that was given to lie under the topmost of `layers` so far, in place of the one that it calls `name`; nil
    /// where none was.
    private mutating func takeGiven(in name: BackingName) -> OpeningOptions.GivenBacking? {
        guard layers.count == 1, let backing = options.backing else { return nil }
        layers[0].chainNotes.append(
            "\(path: layers[0].file.path): the \(name.sought.place) names \"\(path: name.sought.text)\"; \(path: backing.file.path) was given in its place"
        )
        return backing
    }

    /// The disk of a container that the layer `index`, an overlay of this program, calls `name`: `x.ova/DISK`. Nil where it is no
    /// such name, or leads to a file of its own. Throws what opening the container throws.
    private func openInContainer(
        _ name: BackingName, of index: Int, _ services: LayerServices
    ) throws(ImageError) -> (container: any DiskContainer, disk: ContainedDisk)? {
        guard layers[index].image?.baseIdentity != nil, let slash = name.bytes.lastIndex(of: UInt8(ascii: "/")) else {
            return nil
        }
        let (archive, disk) = (Array(name.bytes[..<slash]), Array(name.bytes[(slash + 1)...]))
        let named = layers[index].file
        // A folder may be called so.
        guard let format = ContainerFormat.naming(of: archive),
            !services.policy.isThere(FileReference(name.bytes, role: name.role), namedBy: named)
        else { return nil }
        let file: any HostFile
        do throws(ImageError) {
            file = try services.policy.open(FileReference(archive, role: name.role), namedBy: named)
        } catch {
            // Neither may its disks be opened then.
            if error.code == .denied { throw error }
            return nil
        }
        let container = try format.open(file)
        guard let found = container.disks.first(where: { $0.name == disk }) else {
            throw ImageError(
                .missing, path: named.path,
                "\(name.role.rawValue) \"\(path: name.sought.text)\": the \(format.driver.noun) has no such disk")
        }
        return (container, found)
    }

    /// Opens what the layer `index` calls `name`, and notes in it what was found instead. `format`: that of what was found by
    /// its identity.
    private mutating func find(
        _ name: BackingName, of index: Int, _ services: LayerServices
    ) throws(ImageError) -> (file: any HostFile, format: ImageFormat?) {
        var notes: [ErrorText] = []
        defer { layers[index].searchNotes += notes }
        let file = layers[index].file
        do throws(ImageError) {
            if services.isSearching, name.identity != nil {
                let search = IdentitySearch(
                    image: file, policy: services.policy, above: services.above, index: resources.identities)
                if let found = try search.find(name) {
                    if let note = found.note(name, in: file) { notes.append(note) }
                    return (found.file, found.format)
                }
                if name.sought.candidates.isEmpty { throw search.missing(name) }
            }
            return (try services.find(name.sought, as: name.role, for: file, notes: &notes), nil)
        } catch {
            guard let option = options.backingOption, index == 0 else { throw error }
            var advised = error
            let advice = "\(option) FILE names it by hand"
            advised.hint = error.hint.map { "\($0); \(advice)" } ?? advice
            throw advised
        }
    }

    /// Whether what lies under the layer `index` is what that was made over. Throws `corrupt` where it is known to be another,
    /// unless that is to be ignored; then, and where nothing tells, the layer gets a note.
    private mutating func checkBacking(of index: Int) throws(ImageError) {
        let file = layers[index].file
        let advice = "--ignore-parent-id reads it all the same"
        let found: BackingFault?
        do throws(ImageError) { found = try layers.backingFault(of: index) } catch {
            // Where it cannot be read to be compared, all else of it may be.
            guard !options.ignoresParentID else {
                layers[index].chainNotes.append("\(path: file.path): is not compared with what is under it: \(error)")
                return
            }
            var said = error
            said.hint = error.hint.map { "\($0); \(advice)" } ?? advice
            throw said
        }
        guard let fault = found else { return }
        guard fault.isKnown else {
            layers[index].chainNotes.append("\(path: file.path): \(fault.message)")
            return
        }
        guard options.ignoresParentID else {
            throw ImageError(
                .corrupt, path: file.path, offset: fault.offset, fault.message,
                hint: fault.hint.map { "\($0); \(advice)" } ?? advice)
        }
        layers[index].chainNotes.append("\(path: file.path): \(fault.message); it is read all the same")
    }

    /// The format that the image in `file` says its backing file to be of.
    private static func format(stored: String, of file: any HostFile) throws(ImageError) -> ImageFormat {
        // The name of QEMU's driver for files: the file as it is.
        if stored == "file" { return .raw }
        guard let format = ImageFormat(rawValue: stored) else {
            throw ImageError(
                .unsupported, path: file.path,
                "backing format \"\(stored)\": not supported as a backing image, only \(ImageFormat.names()) are")
        }
        return format
    }
}

/// The policy for an image that was recognised by its content only.
private struct NoOtherFiles: OpenPolicy {
    let format: ImageFormat
    /// The command by which the image that names it says its format, empty where that can say none; nil where it is the
    /// image itself.
    let command: String?

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(
            .denied, path: file.path,
            "\(reference.role.rawValue) \"\(path: reference.text)\": only the content of this file says that it is a "
                + "\(format.rawValue) image, and such an image may name no other file, since a guest can write a "
                + "header to a raw disk",
            hint: hint(file))
    }

    private func hint(_ file: any HostFile) -> String? {
        guard let command else {
            let other = file is DeviceFile ? "" : ", or its extension .\(format.rawValue)"
            return "if it is one, --format \(format.rawValue) says so\(other)"
        }
        return command.isEmpty ? nil : "if it is one, the image that names it must say its format (\(command))"
    }
}
