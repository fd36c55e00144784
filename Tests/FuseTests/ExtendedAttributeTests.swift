import Foundation
import HostTools
import Synchronization
import TestImages
import Testing

import struct SystemPackage.FilePath

@testable import Fuse

struct `The answer to who asks for an extended attribute` {
    @Test(arguments: [
        (0, 0, ExtendedAttributeAnswer.size), (5, 0, .size), (65_536, 0, .size), (5, 5, .content), (5, 6, .content),
        (0, 1, .content), (5, 4, .failure(.outOfRange)), (65_537, 0, .failure(.tooBig)),
        (65_537, 1 << 20, .failure(.tooBig)), (65_536, 65_536, .content),
    ])
    func `is its size, its bytes or an error`(count: Int, capacity: Int, expected: ExtendedAttributeAnswer) {
        #expect(ExtendedAttributeAnswer(count: count, capacity: capacity) == expected)
    }
}

/// A mount of one directory, which holds a link; only children of this process touch it.
private final class Attributed: FileSystem {
    private let attributes: [[UInt8]: [UInt8]]

    init(_ attributes: [String: [UInt8]]) {
        self.attributes = Dictionary(uniqueKeysWithValues: attributes.map { (Array($0.utf8), $1) })
    }

    private static let link = Inode(rawValue: 2)

    private func attributes(of inode: Inode) -> Attributes {
        Attributes(
            inode: inode, kind: inode == .root ? .directory : .symbolicLink, permissions: 0o555,
            time: Timestamp(seconds: 0))
    }

    func lookup(_ name: [UInt8], in parent: Inode, reply: consuming EntryReply) {
        guard name == Array("link".utf8) else { return reply.failure(.noEntry) }
        reply.entry(attributes(of: Self.link), entryTimeout: 0, attributesTimeout: 0)
    }

    func attributes(of inode: Inode, reply: consuming AttributesReply) {
        reply.attributes(attributes(of: inode), timeout: 0)
    }

    func linkTarget(of inode: Inode, reply: consuming LinkReply) {
        guard inode == Self.link else { return reply.failure(.invalidArgument) }
        reply.target(Array("there/ß".utf8))
    }

    func open(_ inode: Inode, forWriting: Bool, pastCache: Bool, reply: consuming OpenReply) {
        reply.failure(.isDirectory)
    }

    func read(_ inode: Inode, handle: Fuse.FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply) {
        reply.failure(.badHandle)
    }

    func close(_ inode: Inode, handle: Fuse.FileHandle) {}

    func openDirectory(_ inode: Inode, reply: consuming OpenReply) { reply.opened(Fuse.FileHandle(rawValue: 1)) }

    func readDirectory(_ inode: Inode, handle: Fuse.FileHandle, from position: UInt64, reply: consuming DirectoryReply)
    {
        reply.finish()
    }

    func closeDirectory(_ inode: Inode, handle: Fuse.FileHandle) {}

    func seek(
        _ inode: Inode, handle: Fuse.FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) { reply.failure(.noSuchAddress) }

    func statistics(reply: consuming StatisticsReply) {
        reply.statistics(Statistics(blockSize: 4096, blocks: 0, files: 1))
    }

    func statistics(of inode: Inode, reply: consuming StatisticsReply) {
        reply.statistics(Statistics(blockSize: 512, blocks: inode == .root ? 77 : 0, files: 1))
    }

    func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply) {
        guard let value = attributes[name] else { return reply.failure(.noData) }
        reply.value(value)
    }

    func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply) {
        reply.names(attributes.keys.sorted { $0.lexicographicallyPrecedes($1) })
    }
}

@Suite(.enabled(if: Tool.canMount("python3")))
struct `A mount with extended attributes` {
    /// Mounts, and has a child look at the mount; answers what the child said and the error of the session.
    private func look(_ fileSystem: any FileSystem, _ script: String) throws -> ToolResult {
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let ready = DispatchSemaphore(value: 0)
        let over = DispatchSemaphore(value: 0)
        let current = Mutex<Session?>(nil)
        // `run` wants a thread of its own: it blocks signals there.
        Thread.detachNewThread {
            defer { over.signal() }
            do {
                let session = try Session(fileSystem: fileSystem, name: "test", subtype: "test", mountOptions: [])
                try session.mount(at: FilePath(mountpoint))
                current.withLock { $0 = session }
                try session.run(threads: 2) {
                    ready.signal()
                    return true
                }
            } catch {
                Issue.record(error)
                ready.signal()
            }
        }
        ready.wait()
        defer {
            current.withLock { $0?.stop() }
            over.wait()
        }
        return try Tool.run("python3", ["-c", script, mountpoint], timeout: 300)
    }

    @Test func `tells values, names, sizes and errors as Linux does`() throws {
        let large = [UInt8](repeating: 7, count: 65_536)
        let fileSystem = Attributed([
            "user.format": Array("qcow2".utf8), "user.none": [], "user.zero": [0, 1, 0], "user.large": large,
            "user.huge": large + [1],
        ])
        let result = try look(
            fileSystem,
            """
            import ctypes, errno, os, sys
            path = sys.argv[1]
            libc = ctypes.CDLL(None, use_errno=True)
            print(sorted(os.listxattr(path)))
            print(os.getxattr(path, "user.format"), os.getxattr(path, "user.none"), os.getxattr(path, "user.zero"))
            print(len(os.getxattr(path, "user.large")))
            def error(call, *arguments):
                try: call(*arguments)
                except OSError as failure: print(errno.errorcode[failure.errno])
            error(os.getxattr, path, "user.absent"); error(os.getxattr, path, "user.huge")
            error(os.setxattr, path, "user.format", b"raw")
            buffer = ctypes.create_string_buffer(16)
            for size in (0, 4, 5, 16):
                count = libc.getxattr(path.encode(), b"user.format", buffer, size)
                print(count, errno.errorcode[ctypes.get_errno()] if count < 0 else buffer.value)
            print(libc.listxattr(path.encode(), None, 0), libc.listxattr(path.encode(), buffer, 16))
            print(os.statvfs(path).f_blocks)
            """)
        #expect(
            result.text == """
                ['user.format', 'user.huge', 'user.large', 'user.none', 'user.zero']
                b'qcow2' b'' b'\\x00\\x01\\x00'
                65536
                ENODATA
                E2BIG
                EROFS
                5 b''
                -1 ERANGE
                5 b'qcow2'
                5 b'qcow2'
                53 -1
                77

                """, "\(result.errors)")
    }

    @Test func `shows where a link leads`() throws {
        let result = try look(
            Attributed([:]),
            """
            import os, stat, sys
            link = sys.argv[1] + "/link"
            print(os.readlink(link.encode()), stat.filemode(os.lstat(link).st_mode), os.path.exists(link))
            """)
        #expect(result.text == "b'there/\\xc3\\x9f' lr-xr-xr-x False\n", "\(result.errors)")
    }

    @Test func `has none unless its file system answers`() throws {
        let result = try look(
            Attributed([:]), "import os, sys; print(os.listxattr(sys.argv[1]))")
        #expect(result.text == "[]\n", "\(result.errors)")
    }
}
