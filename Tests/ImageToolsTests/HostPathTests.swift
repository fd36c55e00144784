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
        ("backing file \"../x/base.qcow2\": no", "backing file \"base.qcow2\": no"),
        ("names \"b.qcow2\"; ../x y/b.qcow2 is read", "names \"b.qcow2\"; b.qcow2 is read"),
        ("file:../x/b.raw", "file:b.raw"),
        ("/images/../x/b.raw: no", "b.raw: no"), ("\"/images/sub/../../x/b.raw\"", "\"b.raw\""),
        (#"..\x\v.vmdk: no"#, "v.vmdk: no"),
        (#"/srv/x/n\xfc.raw"#, #"n\xfc.raw"#), (#"n\xfc.raw"#, #"n\xfc.raw"#),
        ("sub../b.raw", "sub../b.raw"), ("\"sub/b..raw\"", "\"sub/b..raw\""), ("1..2", "1..2"),
    ])
    func `are names`(text: String, told: String) {
        #expect(HostPaths(below: ["/images"]).hidden(in: text) == told)
    }

    @Test func `are names where an error is about them`() {
        let paths = HostPaths(below: ["/images"])
        for (path, told) in [
            ("/images/sub/a.raw", "sub/a.raw"), ("/srv/a.raw", "a.raw"), ("/images/../x/a.raw", "a.raw"),
            ("../x/a.raw", "a.raw"), ("sub/a.raw", "sub/a.raw"), ("export \"x/../y\"", "export \"x/../y\""),
        ] {
            #expect(paths.name(of: path) == told)
        }
    }
}
