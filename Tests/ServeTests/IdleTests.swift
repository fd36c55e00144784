import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "tar")))
struct `Files of a server that are not used` {
    @Test func `are closed, those of appliances as well, and opened again when they are asked for`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f qcow2 a.qcow2 1M && qemu-img create -q -f qcow2 b.qcow2 2M && "
                + "tar -cf vm.ova b.qcow2", folder.path)
        let server = try ImageServer([folder.path])
        func sizes() throws -> [Int?] {
            try server.connect().call("list")["result"]?.array?.map { $0["size"]?.number } ?? []
        }
        /// The files of the folder that it has open.
        func opened() throws -> [String] {
            let descriptors = "/proc/\(server.process)/fd"
            return try FileManager.default.contentsOfDirectory(atPath: descriptors).compactMap {
                try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)/\($0)")
            }.filter { $0.hasPrefix("\(folder.path)/") }
        }
        #expect(try sizes() == [1 << 20, 2 << 20, 2 << 20])
        #expect(try !opened().isEmpty)
        #expect(try wait(seconds: 60) { try opened().isEmpty })
        #expect(try sizes() == [1 << 20, 2 << 20, 2 << 20])
    }
}
