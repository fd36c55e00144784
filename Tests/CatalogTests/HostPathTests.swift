import BlockImage
import Foundation
import ImageFormats
import TestImages
import Testing

@testable import Catalog

struct `Paths of the host in what clients read` {
    private let paths = HostPaths(below: ["/images"])

    @Test(arguments: [
        ("/images/sub/a b.raw", "sub/a b.raw"), ("/srv/a.raw", "a.raw"), ("/images/../x/a.raw", "a.raw"),
        ("/images/sub/../../x/b.raw", "b.raw"), ("/srv/out side/deep er/base.qcow2", "base.qcow2"),
        ("../x/a.raw", "a.raw"), ("sub/a.raw", "sub/a.raw"), ("sub../b.raw", "sub../b.raw"), ("b..raw", "b..raw"),
        ("file:///srv/a/b c.raw", "b c.raw"), ("file:../x/b.raw", "b.raw"), ("nbd://host/export", "nbd://host/export"),
        (#"..\x\v.vmdk"#, "v.vmdk"), (#"C:\x y\v.vmdk"#, "v.vmdk"), (#"\\host\x\v.vmdk"#, "v.vmdk"),
        (#"/images/..\x\v.vmdk"#, "v.vmdk"),
        ("FILE:///srv/b.raw", "b.raw"), ("nbd+unix:///x?socket=/srv/sock", "nbd+unix:x"),
        ("nbd://host/x?socket=/srv/sock", "nbd://host/x"), (#"json:{"filename": "/srv/b.raw"}"#, "json:{…}"),
        ("blkdebug:/srv/a:/srv/b", "blkdebug:b"), ("/images/vm:1/a.qcow2", "vm:1/a.qcow2"),
        (#"/images/\xfcber.qcow2"#, #"\xfcber.qcow2"#),
        (#"/srv/x/n\xfc.raw"#, #"n\xfc.raw"#), (#"n\xfc.raw"#, #"n\xfc.raw"#), ("", ""), ("/", ""),
    ])
    func `are names`(path: String, name: String) {
        #expect(paths.name(of: path) == name)
    }

    @Test func `are in no error`() {
        for error in HostErrors.all {
            let told = error.text.text(naming: paths)
            #expect(HostErrors.areHidden(in: told), "\(error): \(told)")
            #expect(HostErrors.areHidden(in: error.subject.text(naming: paths)))
        }
    }

    @Test func `are in no document that is encoded for clients`() throws {
        struct Document: Encodable {
            var errors = HostErrors.all
            var notes = HostErrors.all.map(\.text)
            var lost = HostErrors.all.map { LostRange(start: 0, length: 1, error: $0) }
            var file: PathText = "/srv/top-secret/a.raw"
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        let key = try #require(CodingUserInfoKey.pathNaming)
        #expect(!HostErrors.areHidden(in: String(decoding: try encoder.encode(Document()), as: UTF8.self)))
        encoder.userInfo[key] = paths
        let text = String(decoding: try encoder.encode(Document()), as: UTF8.self)
        #expect(HostErrors.areHidden(in: text) && text.contains("\"file\":\"a.raw\""))
    }
}
