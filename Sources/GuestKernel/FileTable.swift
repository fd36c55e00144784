import GuestFiles
import GuestProtocol

/// Which file is where, of a mounted file system: the agent finds files by their paths.
///
/// Every file that was listed or found is in it, with some hundred bytes.
struct FileTable {
    /// A name in a directory.
    struct Place: Hashable {
        var parent: GuestFileID
        var name: [UInt8]
    }

    /// An inode of a part of the file system, as of a subvolume of btrfs.
    private struct Inode: Hashable {
        var device: UInt64
        var number: UInt64
    }

    /// The most files whose status is kept.
    private static let recordLimit = 1 << 16
    /// What begins the numbers that are no inodes.
    private static let ownNumbers: UInt64 = 1 << 63

    let root: GuestFileID
    private let device: UInt64
    /// Whether inodes get other numbers while it is mounted, so that files have numbers by their places.
    private let isByPlace: Bool
    private var places: [GuestFileID: Place] = [:]
    private var byInode: [Inode: GuestFileID] = [:]
    private var byPlace: [Place: GuestFileID] = [:]
    private var records: [GuestFileID: GuestRecord] = [:]
    private var lastNumber = ownNumbers

    /// The table of a file system whose root is `record`.
    init(root record: GuestRecord, isByPlace: Bool) {
        device = record.device
        self.isByPlace = isByPlace
        root = GuestFileID(isByPlace || record.inode >= Self.ownNumbers ? Self.ownNumbers : record.inode)
        records[root] = record
    }

    /// The file that is called so; it gets a number where it has none yet.
    mutating func add(_ place: Place, inode: UInt64, record: GuestRecord?) -> GuestFileID {
        let file = number(of: place, inode: inode, device: record?.device ?? device)
        if file != root, places[file] == nil { places[file] = place }
        if let record {
            if records.count >= Self.recordLimit { records.removeAll(keepingCapacity: true) }
            records[file] = record
        }
        return file
    }

    private mutating func number(of place: Place, inode: UInt64, device: UInt64) -> GuestFileID {
        if isByPlace {
            if let known = byPlace[place] { return known }
            let file = newNumber()
            byPlace[place] = file
            return file
        }
        guard device != self.device || inode >= Self.ownNumbers else { return GuestFileID(inode) }
        let key = Inode(device: device, number: inode)
        if let known = byInode[key] { return known }
        let file = newNumber()
        byInode[key] = file
        return file
    }

    private mutating func newNumber() -> GuestFileID {
        lastNumber += 1
        return GuestFileID(lastNumber)
    }

    /// The file that was found at `place` before, where that decides its number.
    func known(_ place: Place) -> GuestFileID? { byPlace[place] }

    /// The path of `file`; nil where it was never found, or its path is longer than any.
    func path(of file: GuestFileID) -> [UInt8]? {
        var names: [[UInt8]] = []
        var (current, size) = (file, 0)
        while current != root {
            guard let place = places[current] else { return nil }
            names.append(place.name)
            // What a hostile file system says may be a loop.
            size += place.name.count + 1
            guard size <= GuestProtocol.pathLimit else { return nil }
            current = place.parent
        }
        return Array(names.reversed().joined(separator: [UInt8(ascii: "/")]))
    }

    /// What was read of `file` before.
    func record(of file: GuestFileID) -> GuestRecord? { records[file] }

    /// Keeps what was read of `file`.
    mutating func keep(_ record: GuestRecord, of file: GuestFileID) { records[file] = record }

    /// Something was changed: what was read before may not be so any more.
    mutating func forgetRecords() { records.removeAll() }

    /// There is no such name any more.
    mutating func remove(_ place: Place, of file: GuestFileID) {
        if places[file] == place { places[file] = nil }
        byPlace[place] = nil
    }

    /// `file` has another name.
    mutating func move(_ file: GuestFileID, from place: Place, to other: Place) {
        if places[file] == place || places[file] == nil { places[file] = other }
        guard isByPlace else { return }
        byPlace[place] = nil
        byPlace[other] = file
    }
}
