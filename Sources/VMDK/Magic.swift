/// Which of the binary structures of the VMDK family a file begins with.
enum Magic: Sendable {
    /// A hosted sparse extent (`SparseHeader`).
    case hostedSparse
    /// The copy-on-write disk of ESX (`COWDHeader`).
    case cowd
    /// The space-efficient sparse extent of ESXi (`SESparseHeader`).
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

    /// What an extent line of type `kind` announces; nil for one that is not stored in grains.
    init?(_ kind: DescriptorExtent.Kind?) {
        switch kind {
        case .sparse: self = .hostedSparse
        case .vmfsSparse: self = .cowd
        case .seSparse: self = .seSparse
        case .flat, .zero, .vmfs, .vmfsRDM, .vmfsRaw, nil: return nil
        }
    }

    /// The type that extent lines have for it.
    var lineKind: DescriptorExtent.Kind {
        switch self {
        case .hostedSparse: .sparse
        case .cowd: .vmfsSparse
        case .seSparse: .seSparse
        }
    }
}

/// Whether a file that begins with `bytes` is a VMDK image by its content; a few KiB are enough.
///
/// It is one when it begins with the magic of a sparse extent, or with comment and blank lines of which one says
/// `# Disk DescriptorFile`, in any case and spacing, as products write it.
public func isVMDK(firstBytes bytes: [UInt8]) -> Bool {
    if Magic(firstBytes: bytes) != nil { return true }
    for line in DescriptorLines(DescriptorText.utf8(fromUTF16: bytes) ?? bytes) {
        guard let first = line.first else { continue }
        guard first == UInt8(ascii: "#") else { return false }
        if isDescriptorMark(line) { return true }
    }
    return false
}
