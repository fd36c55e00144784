import Foundation
import HostTools

/// The command `rblock`, run by tests.
package enum RBlock {
    /// Runs it to its end, in `folder` where one is given, and answers what it left, whatever its status.
    package static func run(_ arguments: [String], in folder: String? = nil) throws -> ToolResult {
        try Tool.run(Tool.rblock, arguments, in: folder, timeout: 300)
    }

    /// Runs a verb with `--output json`; answers what it wrote, whatever its status.
    package static func json(_ verb: String, _ arguments: String..., in folder: String? = nil) throws -> JSONValue {
        let result = try run([verb, "--output", "json"] + arguments, in: folder)
        do {
            return try JSONValue(parsing: result.output)
        } catch {
            throw ToolFailure(description: "rblock \(verb) \(arguments): \(result.text)\(result.errors)")
        }
    }

    /// What `rblock map` says of the image. Throws where it fails.
    package static func map(_ path: String, _ arguments: String...) throws -> [QemuImg.MapEntry] {
        let result = try run(["map", "--output", "json"] + arguments + [path])
        guard result.status == 0 else {
            throw ToolFailure(description: "rblock map \(path): \(result.status): \(result.errors)")
        }
        return try JSONDecoder().decode([QemuImg.MapEntry].self, from: result.output)
    }

    /// Where a map of ours says another thing than qemu-img's of the same disk, as sentences, at most ten; the runs may
    /// be cut differently. Two differences are none, for these are meant:
    ///
    /// - Where the host file has a hole, we say that there is no data, and zeros. qemu-img looks for holes only where a
    ///   format has it do so (raw and VMDK, and QCOW2 whose metadata was preallocated), and calls what it finds there
    ///   data that is zero; elsewhere it calls holes data.
    /// - Behind the end of a disk, qemu-img has a run of no bytes.
    package static func differences(_ ours: [QemuImg.MapEntry], _ theirs: [QemuImg.MapEntry]) -> [String] {
        var found: [String] = []
        var ours = ours[...]
        var theirs = theirs.filter { $0.length > 0 }[...]
        while var our = ours.first, var their = theirs.first, found.count < 10 {
            let end = min(our.start + our.length, their.start + their.length)
            let start = max(our.start, their.start)
            if our.start < start && their.start < start { found.append("a gap before \(start)") }
            if our.start + our.length == end { ours.removeFirst() }
            if their.start + their.length == end { theirs.removeFirst() }
            our = our.part(from: start, to: end)
            their = their.part(from: start, to: end)
            let isHole = our.zero && !our.data && our.offset != nil && their.data
            if isHole { (their.zero, their.data) = (true, false) }
            if our != their { found.append("ours \(our), theirs \(their)") }
        }
        if found.isEmpty && !(ours.isEmpty && theirs.isEmpty) { found.append("one ends before the other") }
        return found
    }
}

extension QemuImg.MapEntry {
    /// What it says of its bytes from `start` to `end`, but whether they are compressed, which older qemu-imgs do not say.
    fileprivate func part(from start: UInt64, to end: UInt64) -> Self {
        var part = self
        part.offset = offset.map { $0 + (start - self.start) }
        part.start = start
        part.length = end - start
        part.compressed = nil
        return part
    }
}
