import BlockImage

/// An open directory, with what was in it when its reader began: so a listing that takes several calls is one listing,
/// and a reader that goes back to the start (rewinddir) sees what is there by then, as POSIX has it. Every method may
/// be called from any thread.
final class DirectoryListing: Sendable {
    /// What a directory holds, "." and ".." included.
    typealias Entries = [(name: [UInt8], node: Node)]

    private let list: @Sendable () -> Entries
    private let entries = Guarded<Entries?>(nil)

    /// The directory that `list` lists.
    init(_ list: @escaping @Sendable () -> Entries) {
        self.list = list
    }

    /// All entries, for a reader who is at `position`; listed anew at the start.
    func entries(at position: UInt64) -> Entries {
        entries.withLock { entries in
            if position > 0, let entries { return entries }
            let new = list()
            entries = new
            return new
        }
    }
}
