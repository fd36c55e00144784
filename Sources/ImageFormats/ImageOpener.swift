import BlockImage
import HostStorage
import QCOW2
import VMDK

/// Opens images with the chains under them: finds the format of each file, and follows what it names as far as the
/// policy goes. May be used from any thread.
public struct ImageOpener: Sendable {
    /// The most files that one chain may have. QEMU sets no limit; chains of more than a few dozen are not seen.
    public static let depthLimit = 256

    private let policy: any OpenPolicy
    private let keys: ImageKeys
    private let resources: LayerResources
    private let ignoresCID: Bool
    /// The place in the chain of the last image that is opened: 0 is the topmost alone. What the deeper ones store reads
    /// as zeros that no file stores, which is good for looking at one image's part of a disk and not for its content.
    public var deepest = Int.max
    /// Whether the chain is followed also below an image that is encrypted and has no key, to be described.
    public var followsEncrypted = false
    /// Whether a person said the format of the topmost image, so that what its content says is of no interest.
    public var isFormatSaid = false
    /// What lies under the topmost image, whatever that names; nil: what it names.
    public var backing: GivenBacking?
    /// The option by which a person can say what that is; nil where there is none.
    public var backingOption: String?

    /// The image under another one, as a person gave it.
    public struct GivenBacking: Sendable {
        /// Its file.
        public var file: any HostFile
        /// The format that its name says; nil where it says none.
        public var format: ImageFormat?

        /// The image in `file`, whose name says that it is of `format`.
        public init(_ file: any HostFile, format: ImageFormat?) {
            self.file = file
            self.format = format
        }
    }

    /// An opener of files that `policy` allows, with the keys of those that are encrypted, whose layers share the caches
    /// of `resources`. `ignoresCID`: whether a VMDK delta is read although its parent was changed since.
    public init(
        policy: any OpenPolicy, keys: ImageKeys = ImageKeys(), resources: LayerResources, ignoresCID: Bool = false
    ) {
        self.policy = policy
        self.keys = keys
        self.resources = resources
        self.ignoresCID = ignoresCID
    }

    /// An opener with the same keys and caches of files that `policy` allows.
    public func confined(to policy: any OpenPolicy) -> ImageOpener {
        var opener = ImageOpener(policy: policy, keys: keys, resources: resources, ignoresCID: ignoresCID)
        opener.deepest = deepest
        opener.followsEncrypted = followsEncrypted
        opener.isFormatSaid = isFormatSaid
        opener.backing = backing
        opener.backingOption = backingOption
        return opener
    }

    /// Opens the image in `file`; what it does while it is read is counted in `counters`.
    ///
    /// `format` nil: the content decides, and then the image may name no other file, since a guest can write whatever
    /// it likes to the start of a raw disk; what is neither an image nor a disk by its content is refused. Never throws: what is wrong is the result of the answer.
    public func open(_ file: any HostFile, as format: ImageFormat?, counters: ReadCounters) -> OpenedImage {
        var chain = Chain(
            policy: policy, keys: keys, resources: resources.counting(in: counters), ignoresCID: ignoresCID,
            deepest: deepest, followsEncrypted: followsEncrypted, isFormatSaid: isFormatSaid, backing: backing,
            backingOption: backingOption)
        do throws(ImageError) {
            let image = try chain.open(file, as: format)
            return OpenedImage(layers: chain.layers, result: .success(image))
        } catch {
            return OpenedImage(layers: chain.layers, result: .failure(error))
        }
    }
}

/// A chain while it is being opened, from the top down.
private struct Chain {
    let policy: any OpenPolicy
    let keys: ImageKeys
    let resources: LayerResources
    let ignoresCID: Bool
    let deepest: Int
    let followsEncrypted: Bool
    let isFormatSaid: Bool
    let backing: ImageOpener.GivenBacking?
    let backingOption: String?
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
        let recognition = try Recognition(
            file, named: named, isSaid: isFormatSaid && layers.isEmpty, under: commandSaying(.raw))
        let command = commandSaying(recognition.format)
        var layer = LayerDescription(
            file: file, format: recognition.format, wasProbed: named == nil, facts: .raw)
        layer.contentNotes = recognition.notes
        layers.append(layer)
        let names: any OpenPolicy =
            layer.wasProbed ? NoOtherFiles(format: layer.format, command: command) : policy
        switch layer.format {
        case .raw: return Image(layer: RawLayer(file: file))
        case .qcow2: return try openQCOW2(file, naming: names)
        case .vmdk: return try openVMDK(file, naming: names)
        }
    }

    /// The command by which the last of `layers` says that the file under it has `format`; empty where that can say none,
    /// and nil where there is none.
    private func commandSaying(_ format: ImageFormat) -> String? {
        guard let last = layers.last else { return nil }
        guard case .qcow2(let description, _) = last.facts, let name = description.backingFile else { return "" }
        return "qemu-img rebase -u -b \(shellWord(nameText(name))) -F \(format.rawValue) \(shellWord(last.file.path))"
    }

    private mutating func openQCOW2(_ file: any HostFile, naming names: any OpenPolicy) throws(ImageError) -> Image {
        let description: QCOW2Description
        do throws(ImageError) {
            description = try QCOW2Description(file)
        } catch {
            throw Recognition.error(error, of: file, as: .qcow2, isNamed: layers.count == 1)
        }
        layers[layers.count - 1].facts = .qcow2(description, nil)
        let cipher = try keys.cipher(for: description, in: file)
        // No file is opened for an image that cannot be read all the same.
        if let refusal = cipher == nil ? description.refusal : description.refusalWithKey {
            if followsEncrypted && description.lacksKey { _ = try openBacking(of: description, file, naming: names) }
            throw refusal
        }
        var dataFile: (any HostFile)?
        if let name = description.dataFile {
            dataFile = try find(SoughtName(inHeader: name), as: .dataFile, for: file, naming: names)
        }
        let layer = try QCOW2Layer(
            description, file: file, dataFile: dataFile, cipher: cipher, resources: resources)
        layers[layers.count - 1].facts = .qcow2(description, layer)
        return Image(layer: layer, backing: try openBacking(of: description, file, naming: names))
    }

    /// The image under the topmost of `layers` so far, which `description` describes; nil where it names none.
    private mutating func openBacking(
        of description: QCOW2Description, _ file: any HostFile, naming names: any OpenPolicy
    ) throws(ImageError) -> Image? {
        guard let name = description.backingFile, layers.count <= deepest else { return nil }
        if let given = takeGiven(named: nameText(name), by: "header") {
            let stored = description.extensions.backingFormat
            let format = try stored.map { stored throws(ImageError) in try Self.format(stored: stored, of: file) }
            return try open(given.file, as: format ?? given.format)
        }
        let format = try Self.backingFormat(description, named: name, of: file)
        return try open(try find(SoughtName(inHeader: name), as: .backing, for: file, naming: names), as: format)
    }

    /// The image that was given to lie under the topmost of `layers` so far, in place of what its `place` calls `name`; nil
    /// where none was.
    private mutating func takeGiven(named name: String, by place: String) -> ImageOpener.GivenBacking? {
        guard layers.count == 1, let backing else { return nil }
        layers[0].chainNotes.append(
            "\(path: layers[0].file.path): the \(place) names \"\(path: name)\"; \(path: backing.file.path) was given in its place"
        )
        return backing
    }

    /// Opens what the topmost of `layers` so far, which is in `file`, calls `name`, and notes in it what was found instead.
    private mutating func find(
        _ name: SoughtName, as role: FileReference.Role, for file: any HostFile, naming names: any OpenPolicy
    ) throws(ImageError) -> any HostFile {
        // One that may name no file is not searched for either.
        if layers.last?.wasProbed == true {
            return try names.open(FileReference(Array(name.candidates[0].name), role: role), namedBy: file)
        }
        var search = FileSearch(of: file, policy: names, above: identities)
        defer { layers[layers.count - 1].searchNotes += search.notes }
        do throws(ImageError) {
            return try search.open(name, as: role)
        } catch {
            throw advised(error, role)
        }
    }

    /// The same for the parent of a VMDK delta.
    private mutating func findParent(
        _ name: DescriptorName, for file: any HostFile, naming names: any OpenPolicy
    ) throws(ImageError) -> any HostFile {
        var search = FileSearch(of: file, policy: names, above: identities)
        defer { layers[layers.count - 1].searchNotes += search.notes }
        do throws(ImageError) {
            return try search.open(name, as: .parent)
        } catch {
            throw advised(error, .parent)
        }
    }

    /// `error`, which is about what the topmost of `layers` names, with what can be said of it by hand.
    private func advised(_ error: ImageError, _ role: FileReference.Role) -> ImageError {
        guard let backingOption, layers.count == 1, role == .backing || role == .parent else { return error }
        var advised = error
        let advice = "\(backingOption) FILE names it by hand"
        advised.hint = error.hint.map { "\($0); \(advice)" } ?? advice
        return advised
    }

    private mutating func openVMDK(_ file: any HostFile, naming names: any OpenPolicy) throws(ImageError) -> Image {
        let description: VMDKDescription
        do throws(ImageError) {
            description = try VMDKDescription.describe(file)
        } catch {
            let error = Recognition.error(error, of: file, as: .vmdk, isNamed: layers.count == 1)
            guard layers.count == 1, !isFormatSaid else { throw error }
            if let part = DiskPart(file, policy: policy) { throw part.error }
            guard try ImageFormat.probe(file) == .raw else { throw error }
            return try openFlat(file, error)
        }
        if DiskPart.needsDescriptor(description), layers.count == 1, !isFormatSaid,
            let part = DiskPart(file, policy: policy)
        {
            throw part.error
        }
        layers[layers.count - 1].facts = .vmdk(description, nil)
        let layer = try VMDKLayer(description, file: file, policy: names, resources: resources)
        let index = layers.count - 1
        layers[index].facts = .vmdk(description, layer)
        guard let name = description.parent, layers.count <= deepest else { return Image(layer: layer) }
        let image: Image
        if let given = takeGiven(named: name.text, by: "descriptor") {
            image = try open(given.file, as: given.format ?? .vmdk)
        } else {
            let parent = try findParent(name, for: file, naming: names)
            image = try open(parent, as: ImageFormat.ofParent(called: name))
        }
        try checkContentID(of: index, description)
        return Image(layer: layer, backing: image)
    }

    /// Opens `file`, which is called a VMDK image, is none, as `error` says, and no part of one, as the flat extent that it may be.
    private mutating func openFlat(_ file: any HostFile, _ error: ImageError) throws(ImageError) -> Image {
        guard let recognition = try Recognition(flatExtent: file) else {
            throw DiskPart.lostDescriptor(file, error, policy: policy)
        }
        layers[0].format = recognition.format
        layers[0].contentNotes = recognition.notes
        return Image(layer: RawLayer(file: file))
    }

    /// Whether the parent of the delta that is the layer `index`, which is the next layer, is as it was when the delta
    /// was made: whoever writes to a disk changes its CID.
    private mutating func checkContentID(of index: Int, _ delta: VMDKDescription) throws(ImageError) {
        // Where the delta does not say it, its description has a note.
        guard let wanted = delta.parentCID else { return }
        let parent = layers[index + 1]
        var found: UInt32?
        if case .vmdk(let description, _) = parent.facts { found = description.cid }
        guard let found else {
            layers[index].chainNotes.append(
                "\(path: delta.path): parentCID is \(contentIDText(wanted)), but the parent \(path: parent.file.path) has no CID, so "
                    + "that it is unknown whether it was changed after this image was made")
            return
        }
        guard found != wanted else { return }
        let message: ErrorText =
            "parentCID: is \(contentIDText(wanted)), but the CID of the parent \(path: parent.file.path) is "
            + "\(contentIDText(found)), so the parent was changed after this image was made"
        guard ignoresCID else {
            throw ImageError(
                .corrupt, path: delta.path, offset: delta.parentCIDOffset, message,
                hint: "--ignore-cid reads it all the same")
        }
        layers[index].chainNotes.append("\(path: delta.path): \(message); it is read all the same")
    }

    /// The format of the backing file: what the image says, else what the file's name says; nil: its content decides.
    private static func backingFormat(
        _ description: QCOW2Description, named name: [UInt8], of file: any HostFile
    ) throws(ImageError) -> ImageFormat? {
        if let stored = description.extensions.backingFormat { return try format(stored: stored, of: file) }
        guard case .format(let format) = ImageFormat.naming(of: name) else { return nil }
        return format
    }
}

extension Chain {
    /// The format that the image in `file` says its backing file to be of.
    private static func format(stored: String, of file: any HostFile) throws(ImageError) -> ImageFormat {
        // The name of QEMU's driver for files: the file as it is.
        if stored == "file" { return .raw }
        guard let format = ImageFormat(rawValue: stored) else {
            throw ImageError(
                .unsupported, path: file.path,
                "backing format \"\(stored)\": not supported as a backing image, only raw, qcow2 and vmdk are")
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

/// `text` as one word of a shell's command line.
private func shellWord(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
        (byte >= 0x80 || byte > 0x20 && byte < 0x7f) && !#"\"'`$&|;<>()*?[]{}!#~"#.utf8.contains(byte)
    }
    return isPlain && !text.isEmpty ? text : "'" + text.replacing("'", with: #"'\''"#) + "'"
}
