import BlockImage
import SystemPackage

final class ApplianceNode: Sendable {
    let number: UInt64
    let location: FilePath
    init(number: UInt64, at location: FilePath, from source: ImageSource) {
        self.number = number
        self.location = location
    }
    static func isAppliance(_ name: [UInt8]) -> Bool { false }
    func disks() -> [(name: [UInt8], node: ImageNode)] { [] }
    func closeIfIdle() -> Bool { true }
}
struct ApplianceDocument {
    init(_ node: ApplianceNode) {}
    func text() throws -> [UInt8] { [] }
}
