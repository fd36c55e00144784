import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats

/// The file of an image as `inspect` shows it: its structures and what its parts are used for. Nothing that it names is
/// opened.
package struct InspectedImage: Sendable {
    /// The file.
    package let file: any HostFile
    /// What it is taken for: what was said, else what its content says, else what its name says.
    package let format: ImageFormat
    /// What people should know of that: that it only looks like an image, that its name says something else.
    package let notes: [ErrorText]

    private let layout: any FormatLayout

    /// Opens the image's own file. Throws where that cannot be opened or its first bytes cannot be read; damage is no
    /// reason to throw.
    package init(_ image: NamedImage) throws(ImageError) {
        try image.checkIsWhole()
        let own = try image.openFile()
        try self.init(own.file, as: image.format, named: own.formatOfName, policy: own.policy)
    }

    /// Looks at `file`, which is of the format `said`, else of the one that its content says, else of `named`; `policy`
    /// opens what the extent lines of a VMDK name, to say where they lead.
    ///
    /// Of a file of which only the content says what it is, no line is followed: a guest may have written it. Throws
    /// `unsupported` where it says that it is neither an image nor a disk, and for the flat extent of a disk.
    package init(
        _ file: any HostFile, as said: ImageFormat? = nil, named: ImageFormat? = nil,
        policy: (any OpenPolicy)? = nil
    ) throws(ImageError) {
        self.file = file
        var notes: [ErrorText] = []
        let probed = try ImageFormat.probe(file)
        let named = named?.ofContent(of: file)
        // A file whose magic is damaged is of the format that its name says.
        var format = said ?? (probed == .raw ? named ?? .raw : probed)
        if said == nil, let split = format.splitting(isNamed: named != nil), let policy, split.mayBePart(file) {
            if let error = split.partError(of: file, policy: policy) {
                // What begins as an image has a layout of its own.
                guard probed == format else { throw error }
                notes.append(error.detail)
            } else if let recognition = try Recognition(flatExtent: file, of: split) {
                format = recognition.format
                notes += recognition.notes
            }
        }
        self.format = format
        if said == nil, let named, probed != .raw, probed != named {
            notes.append("the name says \(named.rawValue), and the content \(probed.rawValue), which holds here")
        }
        if said == nil, named == nil {
            notes += try Recognition(file, named: nil).notes
        } else if probed == .raw, let foreign = try ForeignContent(of: file) {
            notes.append("its content is that of \(foreign.name), which is not read here")
        }
        guard let driver = format.driver as? any InspectableFormat else {
            throw ImageError(.unsupported, path: file.path, "is \(format.rawValue), whose structures cannot be shown")
        }
        layout = try driver.layout(of: file, policy: (said ?? named) == format ? policy : nil)
        self.notes = notes
    }

    /// Tells `consumer` of every structure of the file. Throws what the consumer throws.
    package func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try layout.list(to: consumer, options)
    }

    /// What the parts of the file are used for, in at most `cellLimit` cells, and which parts of the disk they stand for,
    /// in at most `storedLimit` parts. `onProgress` is called now and then with how many bytes that is known.
    package func hostMap(
        cellLimit: Int, storedLimit: Int = 0, onProgress: @escaping (UInt64) -> Void = { _ in }
    ) throws(ImageError) -> HostMap {
        let map = HostMap(
            size: file.size, unit: layout.unit, cellLimit: cellLimit, storedLimit: storedLimit, onProgress: onProgress)
        try layout.recordUse(in: map)
        return map
    }
}
