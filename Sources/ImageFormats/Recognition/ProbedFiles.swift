import BlockImage
import FormatCore

/// Those files of a folder whose names do not call them images, but whose content does: an image of a format with a magic, or a disk that
/// begins with a partition table.
public struct ProbedFiles: Sendable {
    private var formats: [[UInt8]: ImageFormat?] = [:]

    /// None.
    public init() {}

    /// Looks into the files `unnamed` of a folder; `images` are those that their names call images, and `open` opens both.
    ///
    /// What such an image names may be opened only where an image that is called one says, as its backing file with a
    /// format, what it is: else a guest may have written it.
    public init(_ unnamed: [[UInt8]], besides images: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) {
        for name in unnamed {
            if let file = open(name), Self.isImage(file) { formats.updateValue(nil, forKey: name) }
        }
        guard !formats.isEmpty else { return }
        // Those that may say the format of what they name.
        var pending = images.compactMap { name -> (name: [UInt8], driver: any FormatDriver)? in
            guard case .format(let format)? = ImageFormat.naming(of: name) else { return nil }
            return format.driver.storesBackingFormat ? (name, format.driver) : nil
        }
        while let (name, driver) = pending.popLast() {
            guard let file = open(name), let backing = (try? driver.describe(file))?.backing,
                let known = formats[backing.bytes], known == nil,
                let format = backing.storedFormat.flatMap({ ImageFormat(rawValue: $0) })
            else { continue }
            formats.updateValue(format, forKey: backing.bytes)
            if format.driver.storesBackingFormat { pending.append((backing.bytes, format.driver)) }
        }
    }

    /// Whether `name` is one of them, and its format, where another image says it; nil: only its content does.
    public subscript(name: [UInt8]) -> (isImage: Bool, format: ImageFormat?) {
        guard let format = formats[name] else { return (false, nil) }
        return (true, format)
    }

    private static func isImage(_ file: any HostFile) -> Bool {
        guard let format = try? ImageFormat.probe(file) else { return false }
        guard format == .raw else { return true }
        guard file.size >= 1024, let start = try? file.bytes(520, at: HostOffset(0), of: "first sectors") else {
            return false
        }
        let isDisk = start[510..<512].elementsEqual([0x55, 0xaa]) || start[512...].elementsEqual("EFI PART".utf8)
        let foreign = try? ForeignContent(of: file)
        return isDisk && foreign == .some(nil)
    }
}
