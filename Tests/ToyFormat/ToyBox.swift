import BlockImage
import FormatCore

/// A format of containers that only tests have: images one after the other.
///
///     OFFSET SIZE FIELD
///          0    7 magic: "TOYBOX\n"
///     then, for each image:
///          0   32 its name, and zeros
///         32    8 how many bytes it has, little-endian; they follow
struct ToyBoxDriver: ContainerDriver {
    let name = "toybox"
    let noun = "toy box"
    let extensions = ["toybox"]

    func open(_ file: any HostFile, isImage: @Sendable ([UInt8]) -> Bool) throws(ImageError) -> any DiskContainer {
        let magic = Array("TOYBOX\n".utf8)
        guard try file.bytes(magic.count, at: HostOffset(0), of: "magic") == magic else {
            throw ImageError(.corrupt, path: file.path, offset: HostOffset(0), "magic: must be \"TOYBOX\"")
        }
        var disks: [ContainedDisk] = []
        var position = UInt64(magic.count)
        while position < file.size {
            let header = try file.bytes(40, at: HostOffset(position), of: "image header")
            let name = Array(header[..<32].prefix { $0 != 0 })
            let size = header[32...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let slice = try FileSlice(
                of: file, offset: HostOffset(position + 40), size: size, path: "\(file.path)/\(nameText(name))")
            disks.append(ContainedDisk(name: name, file: .success(slice)))
            position += 40 + size
        }
        return ToyBox(file: file, disks: disks)
    }
}

/// An open one; an image in it may name no file.
private final class ToyBox: DiskContainer, OpenPolicy {
    private struct Info: Encodable {
        var count: Int
    }

    let file: any HostFile
    let disks: [ContainedDisk]
    let fault: ImageError? = nil
    let notes: [ErrorText] = []

    init(file: any HostFile, disks: [ContainedDisk]) {
        self.file = file
        self.disks = disks
    }

    var policy: any OpenPolicy { self }
    var info: any Encodable & Sendable { Info(count: disks.count) }

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "an image in a toy box may name no file")
    }
}
