extension Method {
    /// Every method, in the order in which `rpc.discover` tells of them.
    static let all: [Method] = [
        getVersion, discover, list, open, close, info, inspect, map, check, read, diff, stats, cancel, shutdown,
    ]

    private static let byName = Dictionary(all.map { ($0.name, $0) }) { first, _ in first }

    /// The method called `name`; nil where there is none.
    static func named(_ name: String) -> Method? { byName[name] }
}
