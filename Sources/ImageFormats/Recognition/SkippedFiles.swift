import BlockImage

/// What folders hold and is not shown, counted by the reason, with the names of some.
public struct SkippedFiles: Hashable, Sendable {
    /// Why a file is not shown.
    public enum Reason: String, CaseIterable, Sendable {
        /// Its name does not call it an image, so that it may be anything.
        case noKnownExtension = "no-known-extension"
        /// It holds a part of a disk, which is shown under the name of its descriptor, or of its first part.
        case part = "part-of-an-image"
        /// It is a folder that cannot be listed, or a link that leads nowhere, or where nothing may be opened.
        case unreadable
        /// It, and what comes after it in its folder, was not looked at: there are too many.
        case beyondLimit = "beyond-limit"
    }

    /// The most names of one reason that are kept.
    public static let nameLimit = 20

    private struct Group: Hashable, Sendable, Encodable {
        var count = 0
        var names: [String] = []
    }

    private var groups: [Reason: Group] = [:]

    /// Nothing so far.
    public init() {}

    /// Whether there is nothing.
    public var isEmpty: Bool { groups.isEmpty }

    /// Whether there is nothing but what is shown under another name.
    public var isHarmless: Bool { groups.keys.allSatisfy { $0 == .part } }

    /// How many are skipped for `reason`.
    public func count(_ reason: Reason) -> Int { groups[reason]?.count ?? 0 }

    /// Counts `name`, the path of a file below the folder that is looked through.
    public mutating func add(_ name: String, _ reason: Reason) {
        groups[reason, default: Group()].count += 1
        if count(reason) <= Self.nameLimit { groups[reason]?.names.append(name) }
    }

    /// Adds those of another folder, whose names begin with `prefix` here.
    public mutating func add(_ other: SkippedFiles, named prefix: String) {
        for (reason, group) in other.groups {
            groups[reason, default: Group()].count += group.count
            let left = max(0, Self.nameLimit - (groups[reason]?.names.count ?? 0))
            groups[reason]?.names += group.names.prefix(left).map { prefix + $0 }
        }
    }

    /// All of it in one line, for people.
    public var summary: String {
        let parts = Reason.allCases.compactMap { reason in
            groups[reason].map { group in
                let more = group.count > group.names.count ? ", …" : ""
                return "\(group.count) \(Self.words(reason)) (\(group.names.joined(separator: ", "))\(more))"
            }
        }
        return parts.joined(separator: ", ")
    }

    private static func words(_ reason: Reason) -> String {
        switch reason {
        case .noKnownExtension: "without a known extension"
        case .part: "that are parts of other images"
        case .unreadable: "that cannot be read"
        case .beyondLimit: "behind the most names that are looked at"
        }
    }
}

extension SkippedFiles: Encodable {
    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }

        init(_ reason: Reason) { stringValue = reason.rawValue }
        init?(stringValue: String) { return nil }
        init?(intValue: Int) { return nil }
    }

    /// `{"no-known-extension": {"count": …, "names": […]}, …}` with the reasons that there are.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        for (reason, group) in groups { try container.encode(group, forKey: Key(reason)) }
    }
}
