import Foundation
import HostTools

/// `qemu-img` and `qemu-io`, the judges of this project. Every call has a time limit.
package enum QemuImg {
    /// The longest that one call may take, in seconds.
    private static let timeout = 60.0

    /// Creates the image `path` of `size` bytes, over `backing` where there is one.
    package static func create(
        _ path: String, format: String = "qcow2", size: UInt64?, options: [String] = [],
        backing: (name: String, format: String?)? = nil
    ) throws {
        var arguments = ["create", "-q", "-f", format]
        if !options.isEmpty { arguments += ["-o", options.joined(separator: ",")] }
        if let backing {
            arguments += ["-b", backing.name]
            // Without -u, qemu-img wants the format to be named.
            arguments += backing.format.map { ["-F", $0] } ?? ["-u"]
        }
        arguments.append(path)
        if let size { arguments.append(String(size)) }
        try call("qemu-img", arguments)
    }

    /// Copies the disk in `source` into a new image.
    package static func convert(
        _ source: String, from format: String = "raw", to path: String, as newFormat: String = "qcow2",
        options: [String] = [], compressed: Bool = false
    ) throws {
        var arguments = ["convert", "-q", "-f", format, "-O", newFormat]
        if compressed { arguments.append("-c") }
        if !options.isEmpty { arguments += ["-o", options.joined(separator: ",")] }
        try call("qemu-img", arguments + [source, path])
    }

    /// Any other command of qemu-img that must succeed.
    package static func run(_ arguments: String...) throws {
        try call("qemu-img", arguments)
    }

    /// What `qemu-img info` says of the image.
    package static func info(_ path: String, format: String) throws -> [String: Any] {
        let result = try call("qemu-img", ["info", "-U", "--output=json", "-f", format, path])
        guard let object = try JSONSerialization.jsonObject(with: result.output) as? [String: Any] else {
            throw ToolFailure(description: "qemu-img info \(path): \(result.text)")
        }
        return object
    }

    /// What `qemu-img check` says of the image: its exit status, its JSON (empty where it prints none), and its errors.
    package static func check(
        _ path: String, format: String, options: [String] = []
    ) throws -> (status: Int32, object: [String: Any], errors: String) {
        let result = try Tool.run(
            "qemu-img",
            ["check", "-U", "--output=json"] + (options.isEmpty ? ["-f", format, path] : options), timeout: timeout)
        let object = try? JSONSerialization.jsonObject(with: result.output) as? [String: Any]
        return (result.status, object ?? [:], result.errors)
    }

    /// The keys of qemu's description of an image that ours lacks, or has with other values, as sentences; where
    /// `allowsMoreData` is false, also the keys of format-specific data that only ours has.
    package static func differences(
        _ theirs: Any, _ ours: Any?, allowsMoreData: Bool = true, at place: String = ""
    ) -> [String] {
        switch (theirs, ours) {
        case (let theirs as [String: Any], let ours as [String: Any]):
            let isData = place.hasSuffix(".data") && !allowsMoreData
            let added = isData ? ours.keys.filter { theirs[$0] == nil }.sorted() : []
            return added.map { "\(place).\($0): only we have it" }
                + theirs.sorted { $0.key < $1.key }.flatMap {
                    differences($0.value, ours[$0.key], allowsMoreData: allowsMoreData, at: "\(place).\($0.key)")
                }
        case (let theirs as [Any], let ours as [Any]) where theirs.count == ours.count:
            return zip(theirs, ours).enumerated().flatMap {
                differences(
                    $0.element.0, $0.element.1, allowsMoreData: allowsMoreData, at: "\(place)[\($0.offset)]")
            }
        case (let theirs as NSObject, let ours as NSObject) where theirs == ours: return []
        default: return ["\(place): qemu-img says \(theirs), we say \(ours ?? "nothing")"]
        }
    }

    /// A run of the disk as `qemu-img map` and `rblock map` tell it.
    package struct MapEntry: Decodable, Hashable, Sendable {
        /// The first byte.
        package var start: UInt64
        /// How many bytes.
        package var length: UInt64
        /// How far down the chain it is stored.
        package var depth: Int
        /// Whether an image of the chain stores it.
        package var present: Bool
        /// Whether a file has something for it.
        package var data: Bool
        /// Whether it reads as zeros.
        package var zero: Bool
        /// Whether it is compressed, which qemu-img says since version 8.2.
        package var compressed: Bool?
        /// Where in the file it lies, where it lies there as it is.
        package var offset: UInt64?
    }

    /// What `qemu-img map` says of the image.
    package static func map(_ path: String, format: String) throws -> [MapEntry] {
        let result = try call("qemu-img", ["map", "-U", "--output=json", "-f", format, path])
        return try JSONDecoder().decode([MapEntry].self, from: result.output)
    }

    /// Whether qemu-img can copy the whole disk of the image; its content goes to `raw`. Says on false why not.
    package static func reads(_ path: String, format: String, into raw: String) throws -> (Bool, String) {
        let result = try Tool.run(
            "qemu-img", ["convert", "-q", "-U", "-f", format, "-O", "raw", path, raw], timeout: timeout)
        return (result.status == 0, result.errors)
    }

    /// Runs the commands of qemu-io, which must all succeed, on the image.
    package static func io(_ path: String, format: String = "qcow2", _ commands: [String]) throws {
        var arguments = ["-f", format]
        // A discard that is not passed down is none.
        arguments += ["-d", "unmap"]
        for command in commands { arguments += ["-c", command] }
        let result = try call("qemu-io", arguments + [path])
        // qemu-io ends with 0 whatever became of the commands.
        for sign in ["failed", "error", "Invalid"] where result.text.contains(sign) || result.errors.contains(sign) {
            throw ToolFailure(description: "qemu-io \(commands): \(result.text) \(result.errors)")
        }
    }

    @discardableResult
    private static func call(_ tool: String, _ arguments: [String]) throws -> ToolResult {
        let result = try Tool.run(tool, arguments, timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(
                description: "\(tool) \(arguments.joined(separator: " ")): \(result.status): \(result.errors)")
        }
        return result
    }
}
