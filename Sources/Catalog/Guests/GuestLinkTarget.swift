import BlockImage

/// Where links of a guest lead, as paths for a tree of the host that has its root in a directory: there `..` leads out of the root,
/// and an absolute path begins somewhere else.
extension GuestTree {
    /// The most names of one target that are looked up: a hostile one has 2,000, each in a directory of any size.
    private static let stepLimit = 256

    /// The target of `link`, which lies in `directory`, as a relative path that leads where it leads in the guest, and never out of
    /// the root; as the guest has it where that is such a path. It leads to nothing where it does so in the guest. May be longer
    /// than a link can be.
    package func confinedTarget(of link: Node, in directory: Node) throws(ImageError) -> [UInt8] {
        let target = try target(of: link)
        let isAbsolute = target.first == UInt8(ascii: "/")
        let names = names(in: target)
        let (kept, isAll) = confined(names, from: isAbsolute ? [] : directory.path)
        guard isAbsolute || !isAll else { return target }
        let up = isAbsolute ? Array(repeating: Self.above, count: directory.path.count) : []
        let path = Array((up + kept).joined(separator: [UInt8(ascii: "/")]))
        if path.isEmpty { return [UInt8(ascii: ".")] }
        // It makes what is no directory an error.
        return target.last == UInt8(ascii: "/") && !kept.isEmpty ? path + [UInt8(ascii: "/")] : path
    }

    private static let above = Array("..".utf8)

    /// `names` without each `..` that comes when the way is in the root directory, where it means nothing; and whether that are
    /// all. `path` is the directory in which it begins.
    private func confined(_ names: ArraySlice<[UInt8]>, from path: [[UInt8]]) -> (kept: [[UInt8]], isAll: Bool) {
        var kept: [[UInt8]] = []
        // As long as the way only goes up, its names say where it is.
        var up = 0
        var rest = names
        while rest.first == Self.above {
            if up < path.count {
                up += 1
                kept.append(Self.above)
            }
            rest.removeFirst()
        }
        guard rest.contains(Self.above) else {
            kept += rest
            return (kept, kept.count == names.count)
        }
        let start = Array(path.dropLast(up).joined(separator: [UInt8(ascii: "/")]))
        // Nil where the way ends, or is not known: who walks on from there finds nothing, and shall find nothing above.
        var stack = try? walk(start, from: [root])
        var steps = 0
        for name in rest {
            if name == Self.above {
                guard let here = stack, here.count > 1 else { continue }
                stack?.removeLast()
            } else {
                steps += 1
                stack = steps > Self.stepLimit ? nil : stack.flatMap { try? walk(name, from: $0) }
            }
            kept.append(name)
        }
        return (kept, kept.count == names.count)
    }
}
