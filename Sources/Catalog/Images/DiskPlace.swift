import BlockImage

/// What is meant of the disk of an image, or of the disk that one of its snapshots keeps.
package enum DiskPart: Hashable, Sendable {
    /// All of it.
    case whole
    /// The partition of that number.
    case partition(Int)
    /// The volume of LVM that is called so: see `DiskVolumes`.
    case volume(String)
    /// The disk as the image so many steps down the chain has it; 0 is the image itself.
    case layer(Int)
    /// The saved state of the machine that a snapshot keeps.
    case vmState

    /// Whether it is a partition.
    var isPartition: Bool { if case .partition = self { true } else { false } }
}

/// One of the disks that an open image holds.
package struct DiskID: Hashable, Sendable {
    /// The snapshot, by its place in the snapshot table; nil: the current disk.
    package var snapshot: Int?
    /// What of its disk.
    package var part: DiskPart

    /// The disk of the image, or of the snapshot, or a part of it.
    package init(snapshot: Int? = nil, part: DiskPart = .whole) {
        self.snapshot = snapshot
        self.part = part
    }

    /// The disk that the image is.
    package static let current = DiskID()

    /// Whether it is the disk as it is now, or a partition of that: what can be written over.
    package var isWritable: Bool {
        switch part {
        case .whole, .partition: snapshot == nil
        case .layer, .vmState, .volume: false
        }
    }
}

/// Which disk of an image is meant, by name: its own, or one that it holds. It is what follows the image's name in
/// `IMAGE@SNAPSHOT`, `IMAGE/p1`, `IMAGE/VG-LV`, `IMAGE@SNAPSHOT/p1`, `IMAGE@SNAPSHOT/vmstate` and `IMAGE/layers/1`: the same for the
/// commands, NBD and JSON-RPC.
package struct DiskPlace: Hashable, Sendable {
    /// The name, or else the ID, of an internal snapshot; nil: the current disk.
    package var snapshot: String?
    /// Whether the snapshot is called as mounts and lists of exports call it (`SnapshotNames`): then that is looked for first.
    private(set) var isListed = false
    /// What of its disk.
    package var part = DiskPart.whole

    /// The image's own disk.
    package init() {}

    /// What `bytes`, which follow the name of an image, mean; nil where they mean nothing.
    ///
    /// A slash in a snapshot's name is written as `%2F`, as a mount and lists of exports have it.
    init?(_ bytes: some Collection<UInt8>) {
        var text = nameText(bytes)[...]
        if text.first == "@" {
            text = text.dropFirst()
            let name = text.prefix { $0 != "/" }
            guard !name.isEmpty else { return nil }
            snapshot = String(name)
            isListed = true
            text = text[name.endIndex...]
        }
        guard !text.isEmpty else {
            if snapshot == nil { return nil }
            return
        }
        let layers = "/layers/"
        if text == "/vmstate", snapshot != nil {
            part = .vmState
        } else if text.hasPrefix(layers), snapshot == nil, let depth = Self.number(text.dropFirst(layers.count)) {
            part = .layer(depth)
        } else if text.hasPrefix("/p"), let number = Self.number(text.dropFirst(2)) {
            part = .partition(number)
        } else if let name = Self.volume(text) {
            part = .volume(name)
        } else {
            return nil
        }
    }

    /// The name of a volume in `text`, which begins with a slash: it has a hyphen inside, and no other slash.
    private static func volume(_ text: Substring) -> String? {
        let name = text.dropFirst()
        guard text.first == "/", name.utf8.dropFirst().dropLast().contains(UInt8(ascii: "-")), !name.contains("/")
        else {
            return nil
        }
        return String(name)
    }

    /// A number in the digits that it is written with: `01` is none.
    private static func number(_ digits: Substring) -> Int? {
        Int(digits).flatMap { $0 >= 0 && String($0) == digits ? $0 : nil }
    }

    /// What follows the image's name.
    package var text: String { (snapshot.map { "@\($0)" } ?? "") + Self.text(of: part) }

    /// What follows the name of the disk that `part` is of.
    static func text(of part: DiskPart) -> String {
        switch part {
        case .whole: ""
        case .partition(let number): "/p\(number)"
        case .volume(let name): "/\(name)"
        case .layer(let depth): "/layers/\(depth)"
        case .vmState: "/vmstate"
        }
    }
}
