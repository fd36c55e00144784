import BlockImage

extension HostUse {
    /// The colour in pictures: blues for the disk's data, warm colours for the tables that lead to it, greens for the
    /// counts, greys for what is not used.
    var colour: String {
        switch self {
        case .free: "#e8ecf0"
        case .header: "#d1495b"
        case .descriptor: "#e5825c"
        case .l1Table, .grainDirectory, .blockTable: "#f0932b"
        case .l2Table, .grainTable: "#f6c945"
        case .redundantDirectory: "#b9770e"
        case .redundantTable: "#d6b656"
        case .refcountTable: "#1e8a7a"
        case .refcountBlock: "#6fc3a5"
        case .snapshotTable: "#b5338a"
        case .snapshotData: "#9aa7de"
        case .bitmaps: "#a0673a"
        case .encryptionHeader: "#2f3b4a"
        case .marker: "#94a3b3"
        case .bookkeeping: "#4f9da6"
        case .data: "#3f7cc4"
        case .compressed: "#8657b8"
        case .preallocated: "#b5d3ee"
        case .leaked: "#8a8f96"
        case .overlap: "#ff1f1f"
        }
    }

    /// The colour on a dark ground, where that is another one.
    var darkColour: String? {
        switch self {
        case .free: "#29323c"
        case .encryptionHeader: "#d7dee6"
        case .preallocated: "#2f5878"
        case .data: "#4f8fdb"
        case .compressed: "#9a6bd0"
        default: nil
        }
    }
}
