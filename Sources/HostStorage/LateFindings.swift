import BlockImage
import SystemPackage

/// What looking into the files of folders came to where that took long. It holds until the folder changes, as who asked did
/// not wait for it, and looking again would take as long. Every method may be called from any thread.
public final class LateFindings<Value: Sendable>: Sendable {
    /// Of how many folders they are kept at most.
    private static var limit: Int { 1024 }

    private struct Finding {
        let value: Value
        let entries: [FolderListing.Entry]
        let time: FileTime?
    }

    private let longTime: Duration
    private let findings = Guarded<[FilePath: Finding]>([:])

    /// Keeps what takes more than `longTime`, which should be less than is waited for it.
    public init(longerThan longTime: Duration) {
        self.longTime = longTime
    }

    /// What the files of `folder` were, however it has changed since; nil where that is not known.
    public func latest(of folder: FilePath) -> Value? { findings.withLock { $0[folder]?.value } }

    /// What `entries` of `folder` are, which was last changed at `time`; nil where that is not known.
    public func value(of entries: [FolderListing.Entry], in folder: FilePath, changed time: FileTime?) -> Value? {
        guard let known = findings.withLock({ $0[folder] }), time != nil, known.time == time, known.entries == entries
        else { return nil }
        return known.value
    }

    /// What `look` finds of these, which is kept if it takes long.
    public func look(
        at entries: [FolderListing.Entry], in folder: FilePath, changed time: FileTime?, _ look: () -> Value
    ) -> Value {
        let start = ContinuousClock.now
        let value = look()
        let isLate = start.duration(to: .now) > longTime
        findings.withLock { findings in
            if isLate, findings.count >= Self.limit { findings = [:] }
            findings[folder] = isLate ? Finding(value: value, entries: entries, time: time) : nil
        }
        return value
    }
}
