import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages
import Testing

/// Fast commits are changes, not copies of blocks. A journal is refused where there are such that Linux would replay, or that it
/// would refuse itself, and not for the feature.
@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "python3")))
struct `Fast commits` {
    /// A file system that was copied while it was mounted, after `work`.
    private func copied(_ work: String) throws -> ExtImage {
        let image = try ExtImage("mkfs.ext4 -O fast_commit -J size=16", size: "64M")
        let copy = try image.copy()
        let program = """
            import ctypes, os, sys
            os.chdir(sys.argv[1])
            def synced(name):
                fd = os.open(name, os.O_CREAT | os.O_WRONLY); os.write(fd, name.encode() * 3000); os.fsync(fd); os.close(fd)
            def sync(): ctypes.CDLL(None).syncfs(os.open('.', os.O_RDONLY))
            \(work)
            """
        try image.mounted("noatime,commit=300", "python3 -c \"$1\" $M; cp $2 $3", program, image.path, copy.path)
        return copy
    }

    /// One whose last changes are in a fast commit. A sync of all file systems, by another test, makes whole transactions of them
    /// meanwhile.
    private func fastCommitted() throws -> ExtImage {
        for _ in 0..<10 {
            let image = try copied("synced('first'); sync(); synced('second')")
            if (try? image.opened()) == nil { return image }
        }
        throw ToolFailure(description: "no copy of ten has a fast commit that is refused")
    }

    /// What the first fast commit of `image` has: where its head is, and its tail.
    private func tags(of image: ExtImage) throws -> (head: Int, tail: Int)? {
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: image.path)))
        func number(_ place: Int) -> Int { Int(bytes[place]) | Int(bytes[place + 1]) << 8 }
        for head in stride(from: 0, to: bytes.count, by: 4096) where bytes[head..<head + 4].elementsEqual([9, 0, 8, 0])
        {
            var place = head
            while place < head + 4092 {
                if number(place) == 8 { return (head, place) }
                place += 4 + number(place + 2)
            }
        }
        return nil
    }

    /// Whether Linux mounts it.
    private func isMounted(_ image: ExtImage) -> Bool { (try? image.copy().mounted("noatime", ":")) != nil }

    private func expectRefusal(_ image: ExtImage, _ comment: Comment) {
        let error = #expect(throws: ImageError.self, comment) { try image.opened() }
        #expect(error?.code == .unsupported && error?.message.contains("fast commits") == true, comment)
    }

    @Test func `are refused`() throws {
        let image = try fastCommitted()
        #expect(try tags(of: image) != nil)
        expectRefusal(image, "as it is")
        #expect(isMounted(image))
    }

    /// Linux mounts none of these either: what they had is not known, and older files are not shown in its place.
    @Test(arguments: [(8, 1), (4, 4), (0, 8)]) func `are refused where their end is damaged`(offset: Int, bit: UInt8)
        throws
    {
        let image = try fastCommitted()
        let (_, tail) = try #require(try tags(of: image))
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
        try file.seek(toOffset: UInt64(tail + offset))
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: UInt64(tail + offset))
        try file.write(contentsOf: [byte ^ bit])
        try file.close()
        expectRefusal(image, "\(offset)")
        #expect(!isMounted(image))
    }

    /// The feature, without a fast commit, or with those of an older transaction.
    @Test(arguments: [
        "synced('first'); os.mkdir('d'); sync()",
        "synced('first'); sync(); synced('second'); sync(); os.mkdir('d'); os.setxattr('d', 'user.x', b'y'); sync()",
    ]) func `that are none, or old, are no hindrance`(work: String) throws {
        let image = try copied(work)
        let lines = try image.opened().guestLines()
        #expect(try lines.sorted() == image.copy().kernelLines())
        #expect(lines.count > 3)
        #expect(try (tags(of: image) != nil) == work.contains("second"))
    }
}
