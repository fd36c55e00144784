import Foundation
import HostTools

/// The files whose changes are recorded: what they were before, and which of them a system call is about.
struct TracedFiles {
    /// What each was, and whether it was there. Folders that are made have no bytes.
    let contents: [HostContent]
    let areThere: [Bool]
    private let paths: [String]

    /// Those at `paths`, as they are.
    init(_ paths: [String]) throws {
        self.paths = paths
        contents = try paths.map { try Self.content(of: $0) ?? HostContent() }
        areThere = paths.map { FileManager.default.fileExists(atPath: $0) }
    }

    /// The bytes of a file; nil for what is none.
    private static func content(of path: String) throws -> HostContent? {
        var isFolder = ObjCBool(false)
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), !isFolder.boolValue else {
            return nil
        }
        return HostContent([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    }

    /// Throws where the files are not what `recording` has made of them.
    func check(_ recording: Recording) throws {
        for (index, path) in paths.enumerated() {
            let isThere = FileManager.default.fileExists(atPath: path)
            let content = try Self.content(of: path) ?? HostContent()
            let isSame = content.digest == recording.result(of: index).digest
            guard isThere == recording.isNamedAtEnd(index), isSame || !isThere else {
                throw ToolFailure(description: "what was traced does not make \(path) as it is now")
            }
        }
    }

    /// The file that `path` is of. One that is not there before may have no name at first, or a hidden one.
    private func index(of path: String) -> Int? {
        if let index = paths.firstIndex(of: path) { return index }
        let name = (path as NSString).lastPathComponent
        guard name.hasPrefix("#") || name.hasPrefix(".rblock-") else { return nil }
        return paths.indices.first { !areThere[$0] && Self.folder(of: paths[$0]) == Self.folder(of: path) }
    }

    private static func folder(of path: String) -> String { (path as NSString).deletingLastPathComponent }

    /// What `call` did to them; `covering`: how many operations there were when it began.
    func operations(of call: SystemCallTrace.Call, covering: Int) throws -> [HostOperation] {
        switch call.name {
        case "linkat", "renameat", "renameat2", "link", "rename":
            // The old name of the two is hidden.
            guard let path = call.paths.last, let file = paths.firstIndex(of: path) else { return [] }
            return [.change(.link, file: file)]
        case "mkdir", "mkdirat":
            return call.paths.last.flatMap { paths.firstIndex(of: $0) }.map { [.change(.link, file: $0)] } ?? []
        case "unlink", "unlinkat":
            return call.paths.last.flatMap { paths.firstIndex(of: $0) }.map { [.change(.unlink, file: $0)] } ?? []
        case "fsync", "fdatasync":
            guard case .file(let path, _)? = call.arguments.first else { return [] }
            let files = Set(paths.indices.filter { Self.folder(of: paths[$0]) == path })
            if !files.isEmpty { return [.syncFolder(of: files, covering: covering)] }
            return index(of: path).map { [.sync(file: $0, covering: covering)] } ?? []
        default:
            guard let file = call.arguments.compactMap({ $0.path.flatMap(index) }).first, let change = try call.change
            else { return [] }
            return [.change(change, file: file)]
        }
    }
}

extension Recording {
    /// Whether the file has its name after all of it.
    fileprivate func isNamedAtEnd(_ file: Int) -> Bool {
        var isNamed = self.isNamed[file]
        for case .change(let change, file) in operations {
            switch change {
            case .link: isNamed = true
            case .unlink: isNamed = false
            default: break
            }
        }
        return isNamed
    }
}

extension SystemCallTrace.Argument {
    fileprivate var path: String? {
        if case .file(let path, _) = self { path } else { nil }
    }

    fileprivate var number: UInt64? {
        if case .text(let text) = self { UInt64(text) } else { nil }
    }
}

extension SystemCallTrace.Call {
    /// The paths that it names, from the root on: each relative one begins in the folder before it.
    fileprivate var paths: [String] {
        var paths: [String] = []
        var folder = "/"
        for argument in arguments {
            switch argument {
            case .file(let path, _): folder = path
            case .bytes(let bytes):
                let name = String(decoding: bytes, as: UTF8.self)
                paths.append(name.hasPrefix("/") ? name : "\(folder)/\(name)")
            case .text: break
            }
        }
        return paths
    }

    /// What it did to the file; nil where it changes none.
    fileprivate var change: HostChange? {
        get throws {
            switch (name, arguments.count) {
            case ("read", _): return nil
            case ("pwrite64", 4), ("pwritev", 4), ("pwritev2", 5):
                guard case .bytes(let bytes) = arguments[1], let offset = arguments[3].number else { break }
                return .write(Array(bytes.prefix(result)), at: offset)
            case ("fallocate", 4):
                guard let offset = arguments[2].number, let count = arguments[3].number,
                    case .text(let mode) = arguments[1]
                else { break }
                let keepsSize = mode.contains("FALLOC_FL_KEEP_SIZE")
                if mode.contains("FALLOC_FL_PUNCH_HOLE") || mode.contains("FALLOC_FL_ZERO_RANGE") {
                    return keepsSize
                        ? .zero(count, at: offset) : .write(Array(repeating: 0, count: Int(count)), at: offset)
                }
                if keepsSize { return nil }
            case ("ftruncate", 2):
                if let size = arguments[1].number { return .setSize(size) }
            default: break
            }
            throw ToolFailure(description: "strace: a call that is not replayed: \(name) \(arguments)")
        }
    }
}
