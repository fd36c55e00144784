import BlockImage
import Catalog
import Encryption
import HostTools
import ImageTools
import SystemPackage
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("tar", "sha1sum", "bash")))
struct `A check of a manifest` {
    /// An archive of a disk of 4 MiB, and a manifest with `lines`, in which SUM is its SHA-1.
    private func appliance(_ lines: String) throws -> (folder: TemporaryFolder, disk: NamedImage) {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; head -c 4M /dev/urandom >d.raw; sum=$(sha1sum <d.raw | cut -c 1-40)
            printf '%s\\n' "$2" | sed "s/SUM/$sum/" >vm.mf; tar -cf x.ova d.raw vm.mf
            """, folder.path, lines)
        return (folder, NamedImage(FilePath(folder.file("x.ova/d.raw"))))
    }

    private let wrong = "SHA1(d.raw)= 0000000000000000000000000000000000000000"

    @Test func `does not forget a digest that is wrong for another that is right`() throws {
        for lines in [[wrong, "SHA1(d.raw)= SUM"], ["SHA1(d.raw)= SUM", wrong]] {
            let (folder, disk) = try appliance(lines.joined(separator: "\n"))
            let report = try disk.check()
            #expect(report?.result.corruptions == 1)
            #expect(disk.manifestNotes().count == 1)
            withExtendedLifetime(folder) {}
        }
        let (folder, sound) = try appliance("SHA1(d.raw)= SUM")
        #expect(try sound.check()?.result.corruptions == 0 && sound.manifestNotes() == [])
        withExtendedLifetime(folder) {}
    }

    @Test func `can be cancelled, of a disk and of the whole`() throws {
        let (folder, disk) = try appliance("SHA1(d.raw)= SUM")
        for image in [disk, NamedImage(FilePath(folder.file("x.ova")))] {
            // It is known what is in the archive by then.
            let progress = Guarded(0.0)
            let hasBegun: @Sendable () -> Bool = { progress.withLock { $0 > 0 } }
            let error = #expect(throws: ImageError.self) {
                try ReadScope.cancelled(when: hasBegun) { () throws(ImageError) in
                    _ = try image.check { part in progress.withLock { $0 = max($0, part) } }
                }
            }
            #expect(error?.isCancelled == true)
        }
    }

    @Test func `reads no zeros for a digest that was cancelled`() throws {
        let file = MemoryFile(Array(repeating: 0, count: 64 << 20), holes: [0..<64 << 20])
        let done = Guarded(UInt64(0))
        let hasBegun: @Sendable () -> Bool = { done.withLock { $0 > 0 } }
        let error = #expect(throws: ImageError.self) {
            _ = try ReadScope.cancelled(when: hasBegun) {
                try DiskStream(of: Image(layer: RawLayer(file: file)), path: "d").digest(.sha256, path: "d") { count in
                    done.withLock { $0 = count }
                }
            }
        }
        #expect(error?.isCancelled == true && done.withLock { $0 } == 1 << 20)
    }
}
