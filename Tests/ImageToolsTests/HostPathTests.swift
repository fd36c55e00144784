import Testing

@testable import ImageTools

struct `Paths of the host in what clients read` {
    @Test(arguments: [
        ("leads to /srv/out side/deep er/base.qcow2, out of the folder", "leads to base.qcow2, out of the folder"),
        ("leads to /srv/out side/deep er/base.qcow2", "leads to base.qcow2"),
        ("/srv/a.raw is not /srv/b.raw: no", "a.raw is not b.raw: no"),
        ("/srv/a.raw cannot be read", "a.raw cannot be read"),
        ("names file:///srv/a/b.raw", "names file:b.raw"),
        ("\"file:///srv/a b/c.raw\"", "\"file:c.raw\""),
        ("FILE://localhost/srv/a.raw", "FILE:a.raw"),
        ("nbd://host/export", "nbd://host/export"),
        ("/images/sub/a b.raw: no", "sub/a b.raw: no"),
    ])
    func `are names`(text: String, told: String) {
        #expect(HostPaths(below: ["/images"]).hidden(in: text) == told)
    }

    @Test func `are not among the bytes of fields`() {
        let paths = HostPaths(below: [])
        #expect(
            paths.withoutBytes(of: #"{"name": "backing name", "raw": "2f 73 2f 61", "value": "/s/a"}"#)
                == #"{"name": "backing name", "value": "/s/a"}"#)
        for field in [#"{"name": "size", "raw": "00 00 01 2f", "value": "303"}"#, #"{"name": "magic"}"#] {
            #expect(paths.withoutBytes(of: field) == field)
        }
    }
}
