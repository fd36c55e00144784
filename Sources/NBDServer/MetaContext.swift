import BlockImage
import Catalog
import FormatCore

/// Something that a client can ask of ranges of an export: the NBD protocol, "Metadata querying", and QEMU's
/// docs/interop/nbd.
enum MetaContext: Hashable, Sendable {
    /// `base:allocation`: what is a hole, and what reads as zeros.
    case allocation
    /// `qemu:allocation-depth`: how many images down the chain it is stored.
    case allocationDepth
    /// `qemu:dirty-bitmap:NAME`: what a bitmap calls dirty.
    case dirtyBitmap(DirtyBitmap)

    /// The most bitmaps of one export that can be asked for.
    private static let bitmapLimit = 1024

    private static let bitmapPrefix = "qemu:dirty-bitmap:"

    /// The name on the wire.
    var name: String {
        switch self {
        case .allocation: "base:allocation"
        case .allocationDepth: "qemu:allocation-depth"
        case .dirtyBitmap(let bitmap):
            // Names on the wire are UTF-8; the bytes of one that is not are written out.
            Self.bitmapPrefix
                + (nameText(bitmap.nameBytes).hasRawBytes ? printable(bitmap.nameBytes) : bitmap.name)
        }
    }

    /// Those of `export` that are `wanted`, each with the number that it has whatever else is wanted.
    static func all(of export: Export, where wanted: (MetaContext) -> Bool) -> [(id: UInt32, context: MetaContext)] {
        let bitmaps = export.bitmaps.prefix(bitmapLimit).map { MetaContext.dirtyBitmap($0) }
        let all = ([.allocation, .allocationDepth] + bitmaps).enumerated().map { (UInt32(clamping: $0), $1) }
        return all.filter { $1.name.utf8.count <= NBDError.stringLimit && wanted($1) }
    }

    /// Whether `query` lists it: its name, or a namespace with what comes before the rest of its name.
    func isListed(by query: String) -> Bool {
        // By bytes: an accent at the start of a bitmap's name makes one character of it and the colon.
        let namespace = name.utf8.prefix { $0 != UInt8(ascii: ":") }.count + 1
        return query.utf8.elementsEqual(name.utf8) || query.utf8.elementsEqual(name.utf8.prefix(namespace))
            || query.utf8.elementsEqual(Self.bitmapPrefix.utf8) && name.utf8.starts(with: query.utf8)
    }
}
