import BlockImage
import FormatCore

/// Disks that are stored byte for byte in several files: `disk.001`, `disk.002` and so on, or from `disk.000` on.
public struct SplitRawDriver: SplitFormat, InspectableFormat {
    /// "split-raw"
    public let name = "split-raw"
    /// No content makes a file a part of a disk.
    public let imageName: String? = nil
    /// `.001`, and `.000` where that is the first.
    public let extensions = ["001", "000"]

    /// The driver.
    public init() {}

    /// Never: see `imageName`.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { false }

    /// Never throws: every file may be the first part of a disk.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage { SplitRawImage(file: file) }

    /// Says that there are no structures, and what the host keeps of this part.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        RawLayout(file: file)
    }

    /// Whether something may come before it: `disk.000` before `disk.001`.
    public func mayBePart(_ image: any FormatImage) -> Bool { true }

    /// That it is a later part.
    public func partError(of file: any HostFile, policy: any OpenPolicy) -> ImageError? {
        guard let part = PartName(of: file), let first = part.first(among: policy.names(besides: file)) else {
            return nil
        }
        return ImageError(
            .unsupported, path: file.path,
            "holds a part of the disk that begins in \(path: nameText(first)), and is no image by itself: use that")
    }

    /// None: a part is never the whole disk.
    public func isFlatExtent(_ file: any HostFile) -> Bool { false }

    /// As it is.
    public func namingFlatExtent(
        in error: ImageError, of file: any HostFile, policy: any OpenPolicy
    ) -> ImageError { error }

    /// By the names alone: every file may be a part.
    public func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]> {
        parts(named: names)
    }

    /// Those with a number for which there is a first part of the same name.
    public func parts(named names: [[UInt8]]) -> Set<[UInt8]> {
        let numbered = names.filter { PartName($0) != nil }
        guard numbered.count > 1 else { return [] }
        let all = Set(numbered)
        return Set(numbered.filter { PartName($0)?.first { all.contains($0) } != nil })
    }
}

/// The name of a part: what comes before the dot, and three digits.
struct PartName: Hashable {
    /// The name with its dot.
    private let stem: [UInt8]
    /// More parts than this can count no folder has.
    private static let digitLimit = 6
    /// The number.
    let number: Int

    /// What `name` says; nil where it does not end with a dot and three digits, or more behind 999.
    init?(_ name: [UInt8]) {
        guard let dot = name.lastIndex(of: UInt8(ascii: ".")), dot > 0 else { return nil }
        let digits = name[(dot + 1)...]
        guard (3...Self.digitLimit).contains(digits.count), digits.count == 3 || digits.first != UInt8(ascii: "0"),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        stem = Array(name[...dot])
        number = digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    /// What the name of `file` says.
    init?(of file: any HostFile) {
        let path = file.path.nameBytes
        self.init(Array(path[((path.lastIndex(of: UInt8(ascii: "/")) ?? -1) + 1)...]))
    }

    /// The name of the part `number` of the same disk.
    func name(of number: Int) -> [UInt8] {
        let digits = Array("\(number)".utf8)
        return stem + [UInt8](repeating: UInt8(ascii: "0"), count: max(0, 3 - digits.count)) + digits
    }

    /// The name of the first part of the disk, where this is a later one and `isThere` knows the first.
    func first(where isThere: ([UInt8]) -> Bool) -> [UInt8]? {
        if number > 0, isThere(name(of: 0)) { return name(of: 0) }
        return number > 1 && isThere(name(of: 1)) ? name(of: 1) : nil
    }

    /// The same by the names of a folder.
    func first(among names: [[UInt8]]) -> [UInt8]? { first { names.contains($0) } }
}

/// A disk in parts, of which the first is in `file`.
struct SplitRawImage: FormatImage {
    private struct Info: Encodable {
        var parts: Int
    }

    private let file: any HostFile
    private var disk: SplitRawLayer?

    init(file: any HostFile) {
        self.file = file
    }

    var layer: (any ImageLayer)? { disk }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        var parts = [file]
        if let name = PartName(of: file) {
            let numbers = services.policy.names(besides: file).compactMap { other -> Int? in
                guard let part = PartName(other), part.number > name.number, name.name(of: part.number) == other else {
                    return nil
                }
                return part.number
            }
            for (index, number) in numbers.sorted().enumerated() {
                let wanted = name.number + 1 + index
                guard number == wanted else {
                    throw ImageError(
                        .truncated, path: file.path,
                        "the part \(path: nameText(name.name(of: wanted))) is missing, but "
                            + "\(path: nameText(name.name(of: number))) is there")
                }
                parts.append(
                    try services.policy.open(FileReference(name.name(of: number), role: .segment), namedBy: file))
            }
        }
        for (index, part) in parts.enumerated() {
            let isLast = index == parts.count - 1
            guard part.size == file.size || isLast && part.size < file.size else {
                throw ImageError(
                    .corrupt, path: part.path,
                    "has \(counted(part.size, "byte")), but each part must have \(file.size) as the first one, or fewer in the last"
                )
            }
        }
        disk = try SplitRawLayer(parts)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = disk?.virtualSize
        info.setActualSize(of: disk?.files ?? [file])
        info.dirtyFlag = false
        if let disk { info.formatSpecific = FormatSpecific(type: "split-raw", data: Info(parts: disk.files.count)) }
    }
}

/// A disk kept byte for byte in files of one size, one after the other, of which the last may be shorter.
final class SplitRawLayer: ImageLayer {
    let files: [any HostFile]
    let virtualSize: UInt64

    /// The disk in `files`, of which there is one at least. Throws `corrupt` where they have more bytes than a disk may have.
    init(_ files: [any HostFile]) throws(ImageError) {
        var size: UInt64 = 0
        for file in files {
            let (sum, overflow) = size.addingReportingOverflow(file.size)
            guard !overflow, sum <= UInt64(Int64.max) else {
                throw ImageError(
                    .corrupt, path: files[0].path, "its \(files.count) parts have 2^63 bytes or more together")
            }
            size = sum
        }
        self.files = files
        virtualSize = size
    }

    var hostSize: UInt64 { virtualSize }
    var granuleSize: UInt64 { max(1, files[0].size) }

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        // The disk has a byte, and so has its first part.
        let size = files[0].size
        let (index, offset) = (Int(start.rawValue / size), start.rawValue % size)
        let file = files[index]
        return Extent(
            start: start, count: min(limit, file.size - offset), storage: .data(file: file, offset: HostOffset(offset)))
    }
}
