import Foundation
import HostTools

/// Another reader of VMDK and VHDX than QEMU's, the Python package dissect.hypervisor, for what qemu-img refuses or reads wrong.
///
/// It shares no code with QEMU, but has errors of its own: tests say where. `make deps-test` installs it into the
/// folder .build-python of the repository.
package enum SecondReader {
    /// Its Python: RBLOCK_SECOND_READER, or that of the repository's folder .build-python.
    package static let python: String = {
        if let path = ProcessInfo.processInfo.environment["RBLOCK_SECOND_READER"] { return path }
        // Sources/TestImages/SecondReader.swift.
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.appendingPathComponent(".build-python/bin/python").path
    }()

    /// Whether it can read the disk of the VMDK at `path`, with the parents that it names; the content goes to the file
    /// `raw`. Says on false why not.
    package static func reads(_ path: String, into raw: String) throws -> (Bool, String) {
        // -I: nothing of the environment or of the working folder has a part in it, and no file is written.
        let result = try Tool.run(python, ["-I", "-B", "-c", script, path, raw], timeout: 300)
        return (result.status == 0, result.errors)
    }

    /// The same of the VHDX at `path`, which may be differencing: the parent is found beside it by its relative path.
    package static func readsVHDX(_ path: String, into raw: String) throws -> (Bool, String) {
        let result = try Tool.run(python, ["-I", "-B", "-c", scriptForVHDX, path, raw], timeout: 300)
        return (result.status == 0, result.errors)
    }

    /// It reads blocks from their first sectors on, because the package takes what is cut across blocks from one.
    private static let scriptForVHDX = """
        from pathlib import Path
        from sys import argv, exit
        from dissect.hypervisor.disk.vhdx import VHDX
        try:
            disk = VHDX(Path(argv[1]))
            sectors = disk.size // disk.sector_size
            step = disk.block_size // disk.sector_size
            with open(argv[2], "wb") as raw:
                for sector in range(0, sectors, step):
                    raw.seek(sector * disk.sector_size)
                    raw.write(disk.read_sectors(sector, min(step, sectors - sector)))
                raw.truncate(disk.size)
        except Exception as error:
            exit(f"{type(error).__name__}: {error}")
        """

    /// It reads sectors, because the package's streams read beyond the end of a disk that is not whole blocks of 8 KiB.
    private static let script = """
        from sys import argv, exit
        from dissect.hypervisor.disk.vmdk import VMDK
        try:
            disk = VMDK(argv[1])
            with open(argv[2], "wb") as raw:
                for sector in range(0, disk.sector_count, 2048):
                    count = min(2048, disk.sector_count - sector)
                    piece = disk.read_sectors(sector, count)
                    if len(piece) != count * 512:
                        raise EOFError(f"{len(piece)} bytes instead of {count} sectors at sector {sector}")
                    if piece.count(0) != len(piece):
                        raw.seek(sector * 512)
                        raw.write(piece)
                raw.truncate(disk.sector_count * 512)
        except Exception as error:
            exit(f"{type(error).__name__}: {error}")
        """
}
