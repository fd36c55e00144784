import Testing

@testable import ControlRPC
@testable import ImageTools

struct `Paths of the host in answers of JSON` {
    private let paths = HostPaths(below: ["/images"])

    @Test(arguments: [
        (#"{"hint":"..\\x y\\v.vmdk","size":1}"#, #"{"hint":"v.vmdk","size":1}"#),
        (#"["/images/sub/a.raw","/srv/a.raw"]"#, #"["sub/a.raw","a.raw"]"#),
        (#"{"note":"names \"/srv/b.raw\", and"}"#, #"{"note":"names \"b.raw\", and"}"#),
        // A quote in one string is closed by none in another.
        (
            #"{"name":"'old'/d.raw","summary":""},{"name":"'a'/e.raw"}"#,
            #"{"name":"'old'/d.raw","summary":""},{"name":"'a'/e.raw"}"#
        ),
        (#"{"backing-filename":"'../x","filename":"q"}"#, #"{"backing-filename":"'x","filename":"q"}"#),
        (#"{"backing-filename":"'/x","format":"qcow2"}"#, #"{"backing-filename":"'x","format":"qcow2"}"#),
        // What clients ask by is as it is.
        (
            #"{"snapshots":[{"id":"1","name":"x/../y"},{"id":"2","name":"y"}]}"#,
            #"{"snapshots":[{"id":"1","name":"x/../y"},{"id":"2","name":"y"}]}"#
        ),
        (#"{"name":"a","file":"/srv/a"}"#, #"{"name":"a","file":"a"}"#),
        (#"{"image":"x/../y","offset":0}"#, #"{"image":"x/../y","offset":0}"#),
        (#"{"name": ["/srv/a", "/srv/b"]}"#, #"{"name": ["/srv/a", "b"]}"#),
    ])
    func `are names in the strings that they are in`(text: String, hidden: String) {
        #expect(paths.hidden(inJSON: text) == hidden)
    }

    @Test(arguments: [
        #"a (..\x","data":{"evil":1},"z":" y"#, #"q (..\p"r"#, #"'/x"#, #""/x"#, #"..\"#, #"\"#, "/\u{1}\n/x",
        "'../x\"",
    ])
    func `leave JSON valid, whatever an image names`(name: String) throws {
        let answer = JSON.object(["backing-filename": .string(name), "filename": .string("q.qcow2")]).text
        let hidden = try JSON(parsing: Array(paths.hidden(inJSON: answer).utf8))
        #expect(hidden.members?.count == 2)
        #expect(hidden.members?["filename"] == .string("q.qcow2"))
    }

    @Test(arguments: [
        (
            #"{"name": "backing name", "raw": "2f 73 2f 61", "value": "/s/a"}"#,
            #"{"name": "backing name", "value": "/s/a"}"#
        ),
        (
            #"{"name": "backing name", "raw": "2e 2e 5c 73 5c 61", "value": "..\\s\\a"}"#,
            #"{"name": "backing name", "value": "..\\s\\a"}"#
        ),
        (
            #"{"name": "backing name", "raw": "2f 73 2f 01", "value": "/s/\u0001"}"#,
            #"{"name": "backing name", "value": "/s/\u0001"}"#
        ),
        (
            #"{"name": "size", "raw": "00 00 01 2f", "value": "303"}"#,
            #"{"name": "size", "raw": "00 00 01 2f", "value": "303"}"#
        ),
        (#"{"name": "magic"}"#, #"{"name": "magic"}"#),
    ])
    func `are not among the bytes of fields`(field: String, told: String) {
        #expect(paths.withoutBytes(of: field) == told)
    }
}
