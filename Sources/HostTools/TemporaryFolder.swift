import Foundation

/// A folder of its own for one test, removed with all that is in it when the last reference goes.
package final class TemporaryFolder: Sendable {
    /// Its canonical path.
    package let path: String

    /// Makes a new folder in `parent`; by default on a disk and not in memory: images may be large, and holes and O_DIRECT
    /// must work.
    package init(in parent: String = "/var/tmp") throws {
        var template = Array("\(parent)/rblock-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw ToolFailure(description: "mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// The path of `name` in the folder.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Makes a folder in it, and answers its path.
    package func makeFolder(_ name: String) throws -> String {
        try FileManager.default.createDirectory(atPath: file(name), withIntermediateDirectories: true)
        return file(name)
    }

    /// Writes `bytes` to the file `name`, and answers its path.
    @discardableResult
    package func write(_ bytes: [UInt8], to name: String) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}
