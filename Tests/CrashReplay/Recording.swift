import BlockImage

/// A change that a program makes to a file of the host.
package enum HostChange: Sendable {
    /// Writes bytes at an offset.
    case write([UInt8], at: UInt64)
    /// Has so many bytes at an offset read as zeros, as far as the file reaches.
    case zero(UInt64, at: UInt64)
    /// Gives the file a size.
    case setSize(UInt64)
    /// Gives the file, which had none, its name, as linkat(2) does. Until the folder is synced a power cut may take it.
    case link
    /// Takes it from the file, as unlink(2) does. Until the folder is synced a power cut may bring it back.
    case unlink
}

extension HostContent {
    /// Does `change`.
    package mutating func apply(_ change: HostChange) {
        switch change {
        case .write(let bytes, let offset): bytes.withUnsafeBytes { write($0, at: offset) }
        case .zero(let count, let offset): zero(count, at: offset)
        case .setSize(let size): setSize(size)
        case .link, .unlink: break
        }
    }
}

/// What a program asked of the host.
package enum HostOperation: Sendable {
    /// A change to the file with this index.
    case change(HostChange, file: Int)
    /// What was changed in the file by the operations before `covering` is on stable storage from here on.
    case sync(file: Int, covering: Int)
    /// The names that these files, those of a folder, got or lost by the operations before `covering` are on stable
    /// storage from here on.
    case syncFolder(of: Set<Int>, covering: Int)
}

/// What a client asked of a disk.
package struct ClientRequest: Sendable {
    /// The kinds of requests.
    package enum Kind: Hashable, Sendable {
        /// Sectors get contents of these generations, one for each (see `GuestSector`); 0: zeros.
        case write([UInt64])
        /// Sectors read as zeros; where `mayKeep`, they may also stay as they are, as with advice to discard.
        case zero(mayKeep: Bool)
        /// All that was acknowledged before it was issued is to be on stable storage when it is acknowledged.
        case flush
    }

    /// What it asks for.
    package var kind: Kind
    /// The sectors that it is about; none for a flush.
    package var sectors: Range<Int>
    /// When it was issued, by the clock of the recording.
    package var issued: Int
    /// When it was acknowledged; `.max`: never.
    package var acknowledged = Int.max
}

/// What a program did, in one sequence with what its client asked of it.
package struct Recording: Sendable {
    /// The files as they were before.
    package var files: [HostContent]
    /// Which of them had names before.
    package var isNamed: [Bool]
    /// What was asked of the host, in the order in which it was done.
    package private(set) var operations: [HostOperation] = []
    /// When each operation was done.
    package private(set) var times: [Int] = []
    /// What the client asked for.
    package private(set) var requests: [ClientRequest] = []
    private var clock = 0

    /// Nothing happened to `files` yet.
    package init(_ files: [HostContent], isNamed: [Bool]? = nil) {
        self.files = files
        self.isNamed = isNamed ?? files.map { _ in true }
    }

    /// The host did `operation`.
    package mutating func add(_ operation: HostOperation) {
        clock += 1
        operations.append(operation)
        times.append(clock)
    }

    /// The client issued a request; answers its index.
    package mutating func issue(_ kind: ClientRequest.Kind, _ sectors: Range<Int> = 0..<0) -> Int {
        clock += 1
        requests.append(ClientRequest(kind: kind, sectors: sectors, issued: clock))
        return requests.count - 1
    }

    /// The client got its answer.
    package mutating func acknowledge(_ request: Int) {
        clock += 1
        requests[request].acknowledged = clock
    }

    /// What all of it made of the file with this index.
    package func result(of file: Int) -> HostContent {
        var content = files[file]
        for case .change(let change, file) in operations { content.apply(change) }
        return content
    }

    /// The same with the operations in the order that `change` gives them, as a program with a fault may do them one after
    /// the other: what tests need that show that such a fault is found.
    package func reordered(_ change: (inout [HostOperation]) -> Void) -> Recording {
        var other = self
        change(&other.operations)
        for (index, operation) in other.operations.enumerated() {
            switch operation {
            case .change: break
            case .sync(let file, _): other.operations[index] = .sync(file: file, covering: index)
            case .syncFolder(let files, _): other.operations[index] = .syncFolder(of: files, covering: index)
            }
        }
        return other
    }

    /// A moment after the first `count` operations, and before the next: the latest.
    package func time(after count: Int) -> Int { count < times.count ? times[count] - 1 : clock }
}

/// A recording while it is made. Every method may be called from any thread.
package final class Recorder: Sendable {
    private let state: Guarded<Recording>

    /// Nothing happened to `files` yet.
    package init(_ files: [HostContent], isNamed: [Bool]? = nil) {
        state = Guarded(Recording(files, isNamed: isNamed))
    }

    /// What happened up to now.
    package var recording: Recording { state.withLock { $0 } }

    /// How many operations there are.
    package var count: Int { state.withLock { $0.operations.count } }

    /// The host did `operation`.
    package func add(_ operation: HostOperation) { state.withLock { $0.add(operation) } }

    /// The client issued a request; answers its index.
    package func issue(_ kind: ClientRequest.Kind, _ sectors: Range<Int> = 0..<0) -> Int {
        state.withLock { $0.issue(kind, sectors) }
    }

    /// The client got its answer.
    package func acknowledge(_ request: Int) { state.withLock { $0.acknowledge(request) } }

    /// The folder was synced, as fsync(2) of a directory does.
    package func syncFolder() {
        state.withLock { $0.add(.syncFolder(of: Set($0.files.indices), covering: $0.operations.count)) }
    }
}
