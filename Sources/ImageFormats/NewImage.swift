import BlockImage
import FormatCore

/// What a new image is to be, in any format that can be written.
public struct NewImage: Sendable {
    /// Its format.
    public let format: ImageFormat
    /// What the format's driver makes.
    public private(set) var image: any NewFormatImage

    /// A disk of `size` bytes in `format`, without a backing image, that is as `options` say.
    ///
    /// Throws for options that the format does not have, and values that they cannot have by themselves; whether they go
    /// together is seen when it is made. Throws as well for a format in which no image can be made.
    public init(_ format: ImageFormat, size: UInt64, _ options: ImageOptionList = .init()) throws(OptionFault) {
        self.format = format
        image = try Self.driver(of: format).newImage(size: size, options)
    }

    private static func driver(of format: ImageFormat) throws(OptionFault) -> any CreatableFormat {
        guard let driver = format.driver as? any CreatableFormat else {
            let names = ImageFormat.names { $0.driver is any CreatableFormat }
            throw OptionFault(message: "\(format.rawValue) images can be read, and not made; \(names) can")
        }
        return driver
    }

    /// The size of the disk in bytes, as it is made: in whole sectors, but for a raw one.
    public var size: UInt64 { image.diskSize }

    /// The options of a format, what they mean, a line each, and those of their values that have names. Throws for a format in
    /// which no image can be made.
    public static func options(
        of format: ImageFormat
    ) throws(OptionFault) -> [(name: String, help: String, values: [String])] {
        try driver(of: format).options
    }

    /// The same where nothing but the sizes of its files matters.
    public consuming func measured() -> NewImage {
        image.isMeasured = true
        return self
    }

    /// Has what is written to it compressed, by `type` if one is given, as hard as `level` says if one is given.
    ///
    /// Throws where the format cannot do that, or the level is none.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        try image.compress(type, level: level)
    }

    /// Has `backing` be under it. Throws where this format cannot have that one under it.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        try image.setBacking(backing)
    }

    /// Throws where its options cannot be as they are, before anything is opened or written; `sizeIsSaid`: so is the size of the
    /// disk, where that was said as well and is not that of a disk that is there.
    public func check(sizeIsSaid: Bool = false) throws(OptionFault) {
        if let fault = image.optionFault ?? (sizeIsSaid ? image.sizeFault : nil) { throw fault }
    }

    /// Begins to write it to the file `name` of `files`, and to others beside it where the format wants that.
    ///
    /// Throws `unsupported` where its options do not go together, and what making the files throws.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        try image.writer(named: name, in: files)
    }
}
