import CBench
import Foundation
import HostTools

/// What people do with a guest's disk: they look at its files, or copy it.
enum GuestFiles {
    /// Attaches a loop device to the disk `path`, mounts its partition and archives all files of it. The figure is in MB
    /// of the archive, with all that in its time.
    static func archive(_ path: String, direct: Bool) throws -> Sample {
        guard Tool.isRoot else { throw ToolFailure(description: "needs root") }
        let start = ContinuousClock.now
        let device = try LoopDevice(path, options: direct ? ["--direct-io=on"] : [])
        let mount = try DeviceMount(device, partition: 1)
        let (count, sum) = try readArchive(of: mount.path)
        let time = start.duration(to: .now)
        let setting = "/sys/block/\(device.path.split(separator: "/").last ?? "")/loop/dio"
        let isDirect = try String(contentsOfFile: setting, encoding: .utf8).hasPrefix("1")
        guard isDirect == direct else { throw ToolFailure(description: "losetup: direct I/O is \(isDirect)") }
        return Sample(figure: Double(count) / 1e6 / time.seconds, checkSum: sum)
    }

    /// The size and the check sum of what tar makes of a folder.
    private static func readArchive(of folder: String) throws -> (count: Int, sum: UInt64) {
        // Into a pipe: tar reads no file for an archive that is /dev/null.
        guard let pipe = popen("exec tar -cf - --blocking-factor=2048 -C '\(folder)' .", "r") else {
            throw PosixFailure(number: errno, call: "popen tar")
        }
        var count = 0
        var sum = cbench_sum()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            // A check sum adds whole words: a piece that is shorter than the buffer must be the last.
            let got = fread(buffer.baseAddress, 1, buffer.count, pipe)
            guard got > 0 else { break }
            cbench_add(&sum, buffer.baseAddress, got)
            count += got
        }
        let status = pclose(pipe)
        guard status == 0 else { throw ToolFailure(description: "tar ended with \(status >> 8)") }
        return (count, sum.value)
    }

    /// Copies the disk `path` to the file `copy`, holes and all. The figure is in MB of the disk.
    static func copy(_ path: String, to copy: String) throws -> Sample {
        // Where there is one already, its memory would be given back, and taken again, in the time of the copy.
        unlink(copy)
        var sample = try Sample(Double(Status(path).size) / 1e6) {
            let result = try Tool.run("cp", ["--sparse=auto", path, copy], timeout: 1800)
            guard result.status == 0 else { throw ToolFailure(description: result.errors) }
            return 0
        }
        defer { unlink(copy) }
        sample.checkSum = try FlatFile(copy).sum()
        return sample
    }
}

extension Duration {
    /// In seconds.
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
