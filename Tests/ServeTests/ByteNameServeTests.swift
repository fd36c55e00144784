import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("nbdinfo", "nbdcopy", "qemu-img", "curl")))
struct `Images of a served folder whose names are not UTF-8` {
    @Test func `are offered with their bytes as escapes, each by a name of its own`() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        for seed in 1...3 { try Pattern.writeDisk(folder.file("\(seed)"), size: 64 << 10, seed: UInt64(seed)) }
        try Shell.check(
            """
            cd "$1"; cp ../1 $'n\\374.raw'; cp ../2 'n\\xfc.raw'; mkdir $'f\\351'; qemu-img convert -O qcow2 ../3 $'f\\351/c.qcow2'
            """, images)
        let server = try ImageServer([images])
        let listed = try Shell.check("nbdinfo --list --json \"$1\" | grep -o '\"export-name\": .*'", server.uri())
        let names = listed.split(separator: "\n").map { String($0.dropFirst(16).dropLast(2)) }
        #expect(Set(names) == [#"f\\xe9/c.qcow2"#, #"n\\xfc.raw"#, #"n\\xfc.raw~"#])
        // The file that has the name itself has it here, too.
        for (name, seed) in [(#"n\xfc.raw"#, 2), (#"n\xfc.raw~"#, 1), (#"f\xe9/c.qcow2"#, 3)] {
            try Shell.check(
                "nbdcopy \"$1\" \"$2\" && cmp \"$2\" \"$3\"",
                server.uri(name.replacing("\\", with: "%5C").replacing("/", with: "%2F")), folder.file("copy"),
                folder.file("\(seed)"))
        }
        // A person may give the name as it is.
        try Shell.check("\"$1\" rpc \"$2\" info image=$'f\\351/c.qcow2'", Tool.rblock, server.rpcSocket)
        let answer = try Shell.check(
            """
            curl -s -H 'Content-Type: application/json' -d '{"method": "info", "id": 1, "params": ["f\\\\xe9/c.qcow2"]}' \
              http://127.0.0.1:$1/
            """, "\(server.rpcPort)")
        #expect(try JSONValue(parsing: Data(answer.utf8))["result"] != nil, "\(answer)")
    }
}
