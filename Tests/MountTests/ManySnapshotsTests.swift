import Foundation
import HostTools
import TestImages
import Testing

@Suite("An image with 12,000 snapshots", .enabled(if: Tool.canMount("python3", "ls")))
struct ManySnapshotsTests {
    /// Writes the image: its snapshots share one L1 table, all of whose entries name one L2 table, every second of whose
    /// entries has data.
    private static let program = """
        from struct import pack
        cluster, count, tables = 65536, 12000, 8192
        size = tables * (cluster // 8) * cluster
        header = pack('>4sIQIIQIIQQIIQ', b'QFI\\xfb', 3, 0, 0, 16, size, 0, tables, cluster, 3 * cluster, 1, count, 4 * cluster)
        image = (header + pack('>QQQII', 0, 0, 0, 4, 104)).ljust(cluster, b'\\0')
        image += pack('>Q', 2 * cluster) * tables
        image += pack('>QQ', 3 * cluster, 1) * (cluster // 16) + bytes(cluster)
        for index in range(count):
            name = b'%05d' % index
            entry = pack('>QIHHIIQIIQQ', cluster, tables, 5, 5, 0, 0, 0, 0, 16, 0, size) + name + name
            image += entry + bytes(-len(entry) % 8)
        open(sys.argv[1], 'wb').write(image + bytes(-len(image) % cluster))
        """

    @Test("Listing them, and looking into some hundred, takes the server some seconds")
    func list() throws {
        let folder = try TemporaryFolder()
        _ = try Python.run(Self.program, folder.file("disk.qcow2"))
        let mount = try Mount(folder.path)
        // Before there were indices and shared counts, the list took minutes, and each folder a second.
        #if DEBUG
            let limit = 60.0
        #else
            let limit = 15.0
        #endif
        let list = try Tool.run("ls", ["-l", mount.file("disk.qcow2/snapshots")], timeout: 300)
        #expect(list.status == 0 && list.text.split(separator: "\n").count == 12_001)
        let inside = try Shell.run("ls -lR \"$1\"/001* | grep -c disk.raw", mount.file("disk.qcow2/snapshots"))
        #expect(inside.text == "100\n", "\(inside.errors)")
        let used = try Self.processorSeconds(of: mount.server)
        #expect(used < limit, "\(used) s")
        let last = try mount.document("disk.qcow2/snapshots/00199")
        #expect(last["rblockfs", "allocation-error", "code"]?.text == "unsupported")
    }

    /// The processor time that a process has taken.
    private static func processorSeconds(of process: pid_t) throws -> Double {
        let text = try String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            return .infinity
        }
        return (user + system) / Double(sysconf(CInt(_SC_CLK_TCK)))
    }
}
