import Foundation
import HostTools
import TestImages
import Testing

/// Other people's clients, on images of every kind.
@Suite(.enabled(if: Tool.areThere("nbdinfo", "nbdcopy", "qemu-nbd", "qemu-img", "qemu-io", "sfdisk")))
struct `NBD clients` {
    /// A folder of images of one disk with two partitions, one of them with a snapshot and an overlay with a bitmap.
    private static func makeImages() throws -> (folder: TemporaryFolder, disk: String) {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk")
        try Pattern.writeDisk(disk, size: 24 << 20, seed: 9)
        try Shell.check(
            """
            printf 'label: gpt\\nsize=6M\\nsize=4M\\n' | sfdisk -q --no-reread "$1/disk" >/dev/null
            mkdir -p "$1/images/sub"; cd "$1/images"
            cp --sparse=always ../disk a.raw
            qemu-img convert -O qcow2 ../disk b.qcow2
            qemu-img snapshot -c daily b.qcow2
            qemu-io -c 'write -P 7 12M 64k' b.qcow2 >/dev/null
            qemu-img convert -c -O qcow2 ../disk sub/c.qcow2
            qemu-img convert -O vmdk -o subformat=streamOptimized ../disk d.vmdk
            qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 over.qcow2
            qemu-img bitmap --add -g 64k over.qcow2 marks
            qemu-io -c 'write -P 9 3M 200k' -c 'write -z 8M 1M' over.qcow2 >/dev/null
            echo text > notes.txt
            """, folder.path)
        return (folder, disk)
    }

    private static let images = ["a.raw", "b.qcow2", "d.vmdk", "over.qcow2", "sub/c.qcow2"]

    @Test func `list every image of a folder with its snapshots and partitions, and read each`() throws {
        let (folder, disk) = try Self.makeImages()
        let server = try ImageServer([folder.file("images")])
        let document = try JSONValue(parsing: try Tool.check("nbdinfo", "--list", "--json", server.uri()))
        let names = document["exports"]?.array?.compactMap { $0["export-name"]?.text } ?? []
        let whole = Self.images + ["b.qcow2@daily"]
        let layers = ["over.qcow2/layers/0", "over.qcow2/layers/1"]
        #expect(Set(names) == Set(whole + layers + whole.flatMap { ["\($0)/p1", "\($0)/p2"] }))
        #expect(names.count == Set(names).count)
        for image in Self.images {
            let path = folder.file("images/\(image)")
            try Tool.check("nbdcopy", "--connections=4", server.uri(image), folder.file("copy"))
            try Tool.check("qemu-img", "compare", "-f", "raw", folder.file("copy"), path)
            try Tool.check("qemu-img", "compare", "-f", "raw", server.uri(image), path)
        }
        try Tool.check("nbdcopy", server.uri("b.qcow2@daily"), folder.file("copy"))
        try Tool.check("cmp", folder.file("copy"), disk)
        for image in ["a.raw", "b.qcow2@daily", "sub/c.qcow2"] {
            for (part, start, size) in [("p1", 1 << 20, 6 << 20), ("p2", 7 << 20, 4 << 20)] {
                try Tool.check("nbdcopy", server.uri("\(image)/\(part)"), folder.file("copy"))
                try Tool.check("cmp", "-i", "0:\(start)", "-n", "\(size)", folder.file("copy"), disk)
                let copied = try FileManager.default.attributesOfItem(atPath: folder.file("copy"))[.size] as? Int
                #expect(copied == size)
            }
        }
    }

    /// The runs that nbdinfo tells, joined where they are alike.
    private func map(_ uri: String, _ context: String) throws -> [[Int]] {
        let document = try JSONValue(parsing: try Tool.check("nbdinfo", "--map=\(context)", "--json", uri))
        var runs: [[Int]] = []
        for entry in document.array ?? [] {
            let run = ["offset", "length", "type"].compactMap { entry[$0]?.number }
            if let last = runs.last, last[2] == run[2] { runs[runs.count - 1][1] += run[1] } else { runs.append(run) }
        }
        return runs
    }

    /// Where ours says another thing than theirs. One difference is meant: holes that the host's file has in clusters of
    /// QCOW2 (3: a hole that reads as zeros) are data (0) to QEMU, or, where it looks for them, data that is zero (2).
    private func differences(_ ours: [[Int]], _ theirs: [[Int]]) -> [String] {
        let edges = Set((ours + theirs).flatMap { [$0[0], $0[0] + $0[1]] }).sorted()
        func type(_ runs: [[Int]], at place: Int) -> Int? { runs.last { $0[0] <= place }?[2] }
        return edges.dropLast().compactMap { place in
            let (our, their) = (type(ours, at: place), type(theirs, at: place))
            return our == their || our == 3 && [0, 2].contains(their)
                ? nil : "at \(place): \(our ?? -1), theirs \(their ?? -1)"
        }
    }

    @Test func `are told of holes, depths and bitmaps what qemu-nbd tells them`() throws {
        let (folder, _) = try Self.makeImages()
        let server = try ImageServer([folder.file("images")])
        for (index, image) in Self.images.enumerated() {
            let format = image.hasSuffix("raw") ? "raw" : image.hasSuffix("vmdk") ? "vmdk" : "qcow2"
            let marks = image == "over.qcow2" ? ["-B", "marks"] : []
            let contexts =
                ["base:allocation", "qemu:allocation-depth"] + marks.dropFirst().map { "qemu:dirty-bitmap:\($0)" }
            // One that was told to end removes its socket later.
            let peer = folder.file("peer\(index)")
            try CleanUp.register("kill $(cat \"$1\") 2>/dev/null", "\(peer).pid")
            let started = try Tool.run(
                "qemu-nbd",
                ["-r", "-t", "--fork", "--pid-file", "\(peer).pid", "-A", "-k", peer, "-f", format] + marks
                    + [folder.file("images/\(image)")])
            #expect(started.status == 0, "\(started.errors)")
            defer { _ = try? Shell.check("kill $(cat \"$1\")", "\(peer).pid") }
            for context in contexts {
                let theirs = try map("nbd+unix:///?socket=\(peer)", context)
                let ours = try map(server.uri(image), context)
                #expect(differences(ours, theirs) == [], "\(image): \(context)")
            }
        }
    }

    @Test func `of qemu read any part, and change nothing`() throws {
        let (folder, disk) = try Self.makeImages()
        let before = try Shell.check("cd \"$1\" && sha256sum *.* sub/*", folder.file("images"))
        let server = try ImageServer([folder.file("images")])
        var random = SeededRandom(seed: UInt64.random(in: 0...UInt64.max))
        let seed = random
        for _ in 0..<20 {
            let start = Int.random(in: 0..<(24 << 20) - 1, using: &random)
            let count = Int.random(in: 1...min(3 << 20, (24 << 20) - start), using: &random)
            let script = """
                qemu-io -r -f raw -c "read -v $3 $4" "$1" | sed '$d' | sed '$d' > "$5.1"
                qemu-io -r -f raw -c "read -v $3 $4" "$2" | sed '$d' | sed '$d' > "$5.2"
                cmp "$5.1" "$5.2"
                """
            let count4K = min(count, 8192)
            let result = try Shell.run(
                script, server.uri("sub/c.qcow2"), disk, "\(start)", "\(count4K)", folder.file("io"))
            #expect(result.status == 0, "\(seed): \(start) \(count4K): \(result.errors)")
        }
        let refused = try Tool.run("qemu-io", ["-f", "raw", "-c", "write 0 512", server.uri("a.raw")])
        #expect(refused.errors.contains("ermission denied"), "\(refused.text)\(refused.errors)")
        #expect(try Shell.check("cd \"$1\" && sha256sum *.* sub/*", folder.file("images")) == before)
    }

    @Test(.enabled(if: Tool.areThere("nbdfuse", "fusermount3")))
    func `mount an export with nbdfuse`() throws {
        let (folder, disk) = try Self.makeImages()
        let server = try ImageServer([folder.file("images/sub/c.qcow2")])
        let mountpoint = try folder.makeFolder("mnt")
        try CleanUp.register("fusermount3 -u -z \"$1\" 2>/dev/null", mountpoint)
        let script = """
            nbdfuse -r "$1" "$2" >/dev/null 2>"$3" &
            for i in $(seq 600); do [ -e "$1/nbd" ] && break; sleep 0.1; done
            cmp "$1/nbd" "$4"; status=$?
            fusermount3 -u "$1"; wait
            exit $status
            """
        let result = try Shell.run(script, mountpoint, server.uri(), folder.file("errors"), disk)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }

    @Test func `of one image need no name, and of several must say which`() throws {
        let (folder, disk) = try Self.makeImages()
        let images = ["a.raw", "over.qcow2"].map { folder.file("images/\($0)") }
        let one = try ImageServer([images[0]])
        try Tool.check("qemu-img", "compare", "-f", "raw", "-F", "raw", one.uri(), disk)
        let two = try ImageServer(images)
        #expect(try Tool.run("nbdinfo", [two.uri()]).status != 0)
        #expect(try Tool.run("nbdinfo", [two.uri("over.qcow2")]).status == 0)
        #expect(try Tool.run("nbdinfo", [two.uri("b.qcow2")]).status != 0, "what an image names is not served")
    }

    @Test func `read an image that was changed when they come again`() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write([UInt8](repeating: 1, count: 4096), to: "disk.raw")
        let server = try ImageServer([path])
        let copy = folder.file("copy")
        try Tool.check("nbdcopy", server.uri(), copy)
        try folder.write([UInt8](repeating: 2, count: 8192), to: "disk.raw")
        try Tool.check("nbdcopy", server.uri(), copy)
        try Tool.check("cmp", copy, path)
    }
}
