import BlockImage

/// Changes of the tables that fit together, in the order in which they are written: after `accounted` comes a barrier,
/// after `table` another one, and after `published` the last. Data that `published` leads to is in the file before.
///
///     accounted  refcounts; the new L2 tables and the new refcount table, to which nothing leads yet
///     table      entries of the refcount table, or the header's field for a new one
///     published  entries of L2 tables and of the L1 table
struct MetadataChanges: Sendable {
    /// How far writing them came.
    enum Stage {
        case accounted, table, published
    }

    var accounted: [MetadataPiece] = []
    var table: [MetadataPiece] = []
    /// What the header is to say of the refcount table; nil where it has not moved.
    var movedTable: (offset: UInt64, clusters: UInt32)?
    var published: [MetadataPiece] = []
    /// Whether data was written that `published` leads to.
    var hasNewData = false
    /// The references that are given up when all is written.
    var freed: [UInt64: UInt64] = [:]

    // What is to be written again where any of it fails.
    fileprivate var pages: Set<UInt64> = []
    fileprivate var l1Pages: Set<Int> = []
    fileprivate var tablePages: Set<Int> = []
    fileprivate var newTables: Set<UInt64> = []
}

extension Metadata {
    /// Whether tables in memory are not those on the disk.
    var hasChanges: Bool {
        !pages.dirty.isEmpty || !l1Table.dirty.isEmpty || !refcountTable.dirty.isEmpty || isTableMoved || !freed.isEmpty
    }

    /// Takes all changes, to be written.
    mutating func takeChanges() throws(ImageError) -> MetadataChanges {
        try checkIsSound()
        var changes = MetadataChanges()
        for offset in pages.dirty {
            let cluster = offset / clusterSize
            guard let words = pages.words(at: offset) else { preconditionFailure("what was changed is kept") }
            let piece = MetadataPiece(offset: offset, words: words)
            switch roles[cluster] {
            case .refcountBlock: changes.accounted.append(piece)
            case .l2Table where newTables.contains(cluster): changes.accounted.append(piece)
            case .l2Table: changes.published.append(piece)
            case let role:
                throw damaged(
                    offset, "a changed table was to be written over \(role?.rawValue ?? "a cluster that is no table's")"
                )
            }
        }
        changes.pages = pages.takeDirty()
        let l1Changes = l1Table.takeDirty()
        changes.l1Pages = l1Changes.numbers
        changes.published += l1Changes.pages
        let tableChanges = refcountTable.takeDirty()
        changes.tablePages = tableChanges.numbers
        if isTableMoved {
            changes.accounted.append(MetadataPiece(offset: refcountTable.offset, words: refcountTable.words))
            changes.movedTable = (header.refcountTableOffset, header.refcountTableClusters)
        } else {
            changes.table = tableChanges.pages
        }
        swap(&changes.freed, &freed)
        swap(&changes.newTables, &newTables)
        changes.hasNewData = hasNewData
        hasNewData = false
        isTableMoved = false
        pages.isWriting = true
        return changes
    }

    /// Notes that `changes` are on stable storage.
    mutating func finish(_ changes: MetadataChanges, generation: UInt64) {
        pages.isWriting = false
        if !changes.freed.isEmpty { retired.append((generation, changes.freed)) }
    }

    /// Takes back that `changes` were taken, of which those of the stages before `stage` are on stable storage. Where a
    /// barrier failed nothing is written any more; else it is tried again by the next flush.
    mutating func putBack(_ changes: MetadataChanges, failedIn stage: MetadataChanges.Stage) {
        pages.isWriting = false
        pages.markDirty(changes.pages)
        l1Table.markDirty(changes.l1Pages)
        freed.merge(changes.freed) { $0 + $1 }
        hasNewData = hasNewData || changes.hasNewData
        // Something on the disk may lead to them already.
        if stage != .published { newTables.formUnion(changes.newTables) }
        guard changes.movedTable != nil else { return refcountTable.markDirty(changes.tablePages) }
        if stage == .accounted { isTableMoved = true }
    }
}
