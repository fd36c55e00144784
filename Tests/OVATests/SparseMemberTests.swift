import BlockImage
import HostTools
import TestImages
import Testing

@testable import OVA

struct `A sparse member` {
    @Test(
        .enabled(if: Tool.areThere("tar")),
        arguments: [
            ["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=0.0"],
            ["--format=posix", "--sparse-version=0.1"], ["--format=posix", "--sparse-version=1.0"],
        ])
    func `made by tar is the file with its holes`(options: [String]) throws {
        let folder = try TemporaryFolder()
        // Enough pieces that the map of GNU tar's own format goes on behind the header, and that of version 1.0 behind its
        // first block; the file ends in a hole, and the next one in the middle of a sector.
        try Shell.check(
            """
            cd "$1"; truncate -s 41M hole.img
            for i in $(seq 0 99); do
                head -c 4096 /dev/urandom | dd of=hole.img bs=4096 seek=$((i * 100)) conv=notrunc status=none
            done
            truncate -s 5M end.raw; printf behind >> end.raw
            truncate -s 3M empty.raw; printf '<Envelope/>' > a.ovf
            tar --sparse \(options.joined(separator: " ")) -cf x.ova a.ovf hole.img end.raw empty.raw
            """, folder.path)
        let found = try Appliance(folder.open("x.ova"))
        #expect(found.fault == nil)
        #expect(found.disks.map(\.folderName.text) == ["hole.img", "end.raw", "empty.raw"])
        for disk in found.disks {
            let file = try disk.file.get()
            try folder.write(file.wholeFile(), to: "read")
            try Shell.check("cd \"$1\"; tar -xOf x.ova \(disk.folderName.text) | cmp - read", folder.path)
        }
        let hole = try found.disks[0].file.get()
        #expect(hole.run(at: HostOffset(4096), limit: 1 << 20) == (true, 99 * 4096))
        #expect(hole.run(at: HostOffset(409_600), limit: 1 << 20).isHole == false)
        #expect(hole.run(at: HostOffset(40 << 20), limit: 1 << 30) == (true, 1 << 30))
        #expect(hole.allocatedSize == 100 * 4096)
        #expect(try found.disks[2].file.get().run(at: HostOffset(0), limit: 3 << 20) == (true, 3 << 20))
        #expect(found.members.map(\.size) == [11, 41 << 20, 5 << 20 + 6, 3 << 20])
        #expect(throws: ImageError.self) { _ = try hole.bytes(2, at: HostOffset(41 << 20 - 1), of: "end") }
    }

    /// An archive of a sparse member with these entries in GNU tar's own format, and `data` behind them.
    private func gnu(
        _ entries: [(Int, Int)], size: Int, stored: Int? = nil, _ data: [UInt8],
        change: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var builder = TarBuilder()
        let pairs = entries.map { TarBuilder.octal($0.0) + TarBuilder.octal($0.1) }
        var blocks = stride(from: 4, to: pairs.count, by: 21).map { start in
            let part = pairs[start..<min(start + 21, pairs.count)].flatMap { $0 }
            return part + [UInt8](repeating: 0, count: 504 - part.count) + [1] + [UInt8](repeating: 0, count: 7)
        }
        if !blocks.isEmpty { blocks[blocks.count - 1][504] = 0 }
        builder.append(
            TarBuilder.header(
                Array("s.img".utf8), size: TarBuilder.octal(stored ?? data.count), type: UInt8(ascii: "S"), format: .gnu
            ) { block in
                let first = pairs.prefix(4).flatMap { $0 }
                block.replaceSubrange(386..<386 + first.count, with: first)
                block[482] = blocks.isEmpty ? 0 : 1
                block.replaceSubrange(483..<495, with: TarBuilder.octal(size))
                change(&block)
            })
        for block in blocks { builder.append(block) }
        builder.append(data + [UInt8](repeating: 0, count: (512 - data.count % 512) % 512))
        builder.add("behind.img", [9])
        return builder.finished
    }

    /// The file of the first disk, or why there is none; the one behind it is there in any case.
    private func firstDisk(_ bytes: [UInt8]) throws -> Result<any HostFile, ImageError> {
        let found = try Appliance(MemoryFile(bytes, path: "a.ova"))
        #expect(found.fault == nil)
        #expect(try found.disks.last?.file.get().wholeFile() == [9])
        return try #require(found.disks.first).file
    }

    private func fault(_ bytes: [UInt8]) throws -> ImageError? {
        if case .failure(let error) = try firstDisk(bytes) { error } else { nil }
    }

    @Test func `is read anywhere`() throws {
        let data = (0..<2560).map { UInt8(truncatingIfNeeded: $0 / 7 + 1) }
        let entries = [(0, 512), (1024, 512), (1536, 512), (4096, 512), (9000, 512), (10_000, 0)]
        let file = try firstDisk(gnu(entries, size: 10_000, data)).get()
        var expected = [UInt8](repeating: 0, count: 10_000)
        var next = 0
        for (start, count) in entries {
            expected.replaceSubrange(start..<start + count, with: data[next..<next + count])
            next += count
        }
        #expect(try file.wholeFile() == expected)
        var random = SeededRandom(seed: 5)
        for _ in 0..<500 {
            let start = Int.random(in: 0...10_000, using: &random)
            let count = Int.random(in: 0...10_000 - start, using: &random)
            #expect(
                try file.bytes(count, at: HostOffset(UInt64(start)), of: "part")
                    == Array(expected[start..<start + count]))
        }
        var position: UInt64 = 0
        while position < 10_000 {
            let run = file.run(at: HostOffset(position), limit: 10_000 - position)
            #expect(run.count > 0 && position + run.count <= 10_000)
            if run.isHole { #expect(expected[Int(position)..<Int(position + run.count)].allSatisfy { $0 == 0 }) }
            position += run.count
        }
    }

    @Test func `has a map in order, within the file and within what is stored`() throws {
        func corrupt(_ offset: UInt64, _ message: String, _ code: ImageError.Code = .corrupt) -> ImageError {
            ImageError(code, path: "a.ova", offset: HostOffset(offset), "sparse map of \"s.img\": \(message)")
        }
        let data = [UInt8](repeating: 7, count: 1024)
        #expect(
            try fault(gnu([(1024, 512), (512, 512)], size: 4096, data))
                == corrupt(410, "entry 1: begins at 512, but must not begin before 1536, where the last one ends"))
        #expect(
            try fault(gnu([(0, 512), (511, 512)], size: 4096, data))
                == corrupt(410, "entry 1: begins at 511, but must not begin before 512, where the last one ends"))
        #expect(
            try fault(gnu([(0, 512), (3585, 512)], size: 4096, data))
                == corrupt(410, "entry 1: 512 bytes from 3585 on, but the file has 4096"))
        #expect(
            try fault(gnu([(0, 512), (1024, 1024)], size: 4096, data))
                == corrupt(512, "its 2 parts: have 1536 bytes together, but 1024 are stored"))
        #expect(
            try fault(gnu([(0, 512)], size: 4096, data))
                == corrupt(512, "its 1 part: have 512 bytes together, but 1024 are stored"))
        #expect(
            try fault(gnu([(0, 500), (1024, 524)], size: 4096, data))
                == corrupt(
                    410,
                    "entry 1: follows one whose size is no multiple of 512, and readers of tar disagree where its bytes "
                        + "begin", .unsupported))
        #expect(
            try fault(gnu([(0, 512), (1024, 512)], size: 4096, data) { $0[411] = UInt8(ascii: "9") })
                == corrupt(410, "entry 1: is no pair of numbers below 2^63"))
        #expect(
            try fault(gnu([(0, 512), (1024, 512)], size: 4096, data) { $0[484] = UInt8(ascii: "x") })
                == corrupt(483, "the size of the file: is no number below 2^63"))
        // In a block that continues the map, the 24th entry.
        var many = (0..<30).map { ($0 * 1024, 512) }
        many[24].0 = 0
        #expect(
            try fault(gnu(many, size: 1 << 20, [UInt8](repeating: 1, count: 30 * 512)))
                == corrupt(
                    512 + 20 * 24, "entry 24: begins at 0, but must not begin before 24064, where the last one ends"))
    }

    /// An archive of a member with these pax records and this data.
    private func pax(_ records: [(String, String)], _ data: [UInt8]) -> [UInt8] {
        var builder = TarBuilder()
        builder.addRecords(records)
        builder.add("GNUSparseFile.1/s.img", data)
        builder.add("behind.img", [9])
        return builder.finished
    }

    @Test func `has a map in pax records that is checked as well`() throws {
        let name = ("GNU.sparse.name", "s.img")
        let one = [name, ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "2048")]
        func text(_ map: String, _ data: [UInt8]) -> [UInt8] {
            Array(map.utf8) + [UInt8](repeating: 0, count: 512 - map.utf8.count) + data
        }
        let data = [UInt8](repeating: 7, count: 512)
        let hole = [UInt8](repeating: 0, count: 512)
        #expect(try firstDisk(pax(one, text("1\n512\n512\n", data))).get().wholeFile() == hole + data + hole + hole)
        let zero = [name, ("GNU.sparse.size", "1024"), ("GNU.sparse.numblocks", "1")]
        let pair = [("GNU.sparse.offset", "512"), ("GNU.sparse.numbytes", "512")]
        #expect(try firstDisk(pax(zero + pair, data)).get().wholeFile() == hole + data)
        #expect(try firstDisk(pax(zero + [("GNU.sparse.map", "512,512")], data)).get().wholeFile() == hole + data)
        let broken: [([(String, String)], [UInt8])] = [
            (one, text("2\n512\n512\n", data)), (one, text("1\n512\n", data)), (one, text("x\n512\n512\n", data)),
            (one, text("1\n2048\n512\n", data)), (one, text("1\n512\n1024\n", data)), (one, []),
            (one, text("18446744073709551615\n0\n0\n", data)), (one, text("1\n99999999999999999999999\n1\n", data)),
            (one.dropLast(), text("1\n512\n512\n", data)), (one.map { ($0.0, $0.1 == "1" ? "2" : $0.1) }, data),
            (zero + pair.reversed(), data), (zero + pair + [pair[0]], data), (zero, data),
            (zero + [("GNU.sparse.map", "512")], data), (zero + [("GNU.sparse.map", "512,,")], data),
            (zero + [("GNU.sparse.map", "0,256,512,256")], data), (zero + [("GNU.sparse.map", "512,513")], data),
            ([name, ("SUN.holesdata", " 0 512")], data),
        ]
        for (index, (records, data)) in broken.enumerated() {
            let error = try #require(try fault(pax(records, data)), "\(index)")
            #expect(error.offset != nil && error.message.contains("sparse map of \"s.img\""), "\(index): \(error)")
        }
    }

    @Test func `takes its part of a bounded number of parts`() throws {
        let entries = (0..<40).map { ($0 * 1024, 512) }
        let bytes = gnu(entries, size: 1 << 20, [UInt8](repeating: 1, count: 40 * 512))
        var limits = TarArchive.Limits()
        limits.segments = 60
        let members = try TarArchive(reading: MemoryFile(Array(bytes.dropLast(2048)) + bytes), within: limits).members
        #expect(try members[0].sparseMap?.get().segments.count == 40)
        guard case .failure(let error)? = members[1].sparseMap else {
            Issue.record("it has a map")
            return
        }
        #expect(error.code == .unsupported)
        #expect(error.message.contains("there are more than 20 entries"))
    }

    @Test func `that is cut says so`() throws {
        let data = [UInt8](repeating: 7, count: 4096)
        let bytes = gnu([(0, 4096)], size: 4096, data).prefix(1024)
        let found = try Appliance(MemoryFile(Array(bytes), path: "a.ova"))
        guard case .failure(let error)? = found.disks.first?.file else {
            Issue.record("it can be read")
            return
        }
        #expect(error.code == .truncated)
    }
}
