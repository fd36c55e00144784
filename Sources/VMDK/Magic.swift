/// Which of the binary structures of the VMDK family a file begins with.
enum Magic: Sendable {
    /// A hosted sparse extent (`SparseHeader`).
    case hostedSparse
    /// The copy-on-write disk of ESX, called VMFSSPARSE in descriptors.
    case cowd
    /// The space-efficient sparse extent of ESXi, called SESPARSE in descriptors.
    case seSparse

    /// What `bytes`, the first of a file, announce; nil for anything else, text descriptors among them.
    init?(firstBytes bytes: [UInt8]) {
        if bytes.starts(with: "KDMV".utf8) {
            self = .hostedSparse
        } else if bytes.starts(with: "COWD".utf8) {
            self = .cowd
        } else if bytes.starts(with: [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0]) {
            // 0x00000000cafebabe, little-endian: eight bytes, so that it is not taken for anything else.
            self = .seSparse
        } else {
            return nil
        }
    }

    /// Why a file that begins so is refused; nil for the one that is read.
    var refusal: String? {
        switch self {
        case .hostedSparse: nil
        case .cowd: "magic: is \"COWD\", a VMFSSPARSE extent, which is not supported; only \"KDMV\" is read"
        case .seSparse: "magic: is 0xcafebabe, a SESPARSE extent, which is not supported; only \"KDMV\" is read"
        }
    }
}

/// Whether a file that begins with `bytes` is a VMDK image by its content; a few KiB are enough.
///
/// It is one when it begins with the magic of a sparse extent, or with comment and blank lines of which one says
/// `# Disk DescriptorFile`, in any case and spacing, as products write it.
public func isVMDK(firstBytes bytes: [UInt8]) -> Bool {
    if Magic(firstBytes: bytes) != nil { return true }
    for line in DescriptorLines(bytes) {
        guard let first = line.first else { continue }
        guard first == UInt8(ascii: "#") else { return false }
        let letters = line.dropFirst().filter { !isBlank($0) }
        if uppercase(letters) == "DISKDESCRIPTORFILE" { return true }
    }
    return false
}
