import BlockImage
import Foundation
import Reports
import Testing

@testable import Catalog

struct `Paths of the host in what clients read of a layout` {
    private let paths = HostPaths(below: ["/images"])

    @Test func `are neither in fields of a layout, nor in their bytes`() throws {
        var text = ""
        let json = LayoutJSON(naming: paths) { text += $0 }
        try json.begin(LayoutStructure("header", at: nil, size: nil))
        try json.add(
            LayoutField("name", at: HostOffset(0), size: 2, raw: [0x2f, 0x73], value: "\"\(path: "/srv/a")\""))
        try json.add(LayoutField("size", at: HostOffset(2), size: 2, raw: [0x2f, 0x73], number: 12147, value: "12147"))
        try json.fault("leads to \(path: "/srv/b")")
        try json.end()
        #expect(!text.contains("/srv") && text.contains(#""value": "\"a\""#) && text.contains("leads to b"))
        #expect(text.components(separatedBy: "2f 73").count == 2)
    }
}
