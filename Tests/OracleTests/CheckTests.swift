import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import ImageTools
import QCOW2
import SystemPackage
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `What check says is what qemu-img check says` {
    struct Kind: Sendable, CustomTestStringConvertible {
        var options: [String]
        var isCompressed = false
        var hasSnapshots = false
        var hasBitmap = false
        var testDescription: String { options.joined(separator: ",") }

        /// Whether only the width of refcounts is new.
        var isOfWidth = false

        var pokes: [Poke] {
            if isOfWidth { return Poke.agreed.filter { $0.name.contains("refcount") || $0.name.contains("twice") } }
            return Poke.agreed + (hasSnapshots ? Poke.ofSnapshots : []) + (isCompressed ? Poke.ofCompressed : [])
                + (hasBitmap ? Poke.ofBitmaps : [])
        }

        /// The image with all of it, at `path`.
        func make(_ path: String) throws {
            try QemuImg.create(path, size: 8 << 20, options: options)
            if isCompressed { try QemuImg.io(path, ["write -c -P 7 6M 64k", "write -c -P 8 6464k 64k"]) }
            try QemuImg.io(path, ["write -P 3 0 1M", "write -z 1M 64k", "write -P 5 3500k 3k", "write -P 1 5M 70k"])
            if hasSnapshots {
                try QemuImg.run("snapshot", "-c", "one", path)
                try QemuImg.io(path, ["write -P 9 0 200k", "write -P 6 4M 3k"])
                try QemuImg.run("snapshot", "-c", "two", path)
                try QemuImg.io(path, ["write -P 9 100k 150k"])
            }
            if hasBitmap {
                try QemuImg.run("bitmap", "--add", path, "first")
                try QemuImg.io(path, ["write -P 2 4M 64k"])
            }
        }
    }

    static let kinds: [Kind] =
        [
            Kind(options: ["cluster_size=64k"], isCompressed: true, hasSnapshots: true, hasBitmap: true),
            Kind(options: ["cluster_size=64k", "compat=0.10"], isCompressed: true, hasSnapshots: true),
            Kind(options: ["cluster_size=64k", "lazy_refcounts=on"]),
            Kind(
                options: ["cluster_size=16k", "extended_l2=on"], isCompressed: true, hasSnapshots: true, hasBitmap: true
            ),
            Kind(options: ["cluster_size=64k", "compression_type=zstd", "refcount_bits=8"], isCompressed: true),
        ]
        + [1, 2, 4, 32, 64].map {
            Kind(options: ["cluster_size=4k", "refcount_bits=\($0)"], hasSnapshots: $0 > 1, isOfWidth: true)
        }

    @Test(arguments: kinds)
    func `of sound images of every kind, and after one damage each`(kind: Kind) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("sound.qcow2")
        try kind.make(path)
        #expect(try CheckVerdict.differences(path, .qcow2) == [])
        let sound = try PokedImage(path)
        for poke in kind.pokes {
            var image = sound
            poke.change(&image)
            let damaged = try folder.write(image.bytes, to: "damaged.qcow2")
            let theirs = try CheckVerdict.theirs(damaged, .qcow2)
            var (ours, findings) = try CheckVerdict.ours(damaged, .qcow2)
            let own = Self.ownCorruptions(findings)
            if let count = ours.counts["corruptions"] { ours.counts["corruptions"] = count == own ? nil : count - own }
            if own > 0, ours.counts["corruptions"] == nil, ours.counts["leaks"] == nil, ours.status == 2 {
                ours.status = 0
            }
            if ours.status == 2, ours.counts["corruptions"] == nil { ours.status = 3 }
            if findings.contains(where: CheckVerdict.isLostTable) { continue }
            #expect(CheckVerdict.differences(theirs, ours, findings) == [], "\(poke.name)")
        }
    }

    /// What only this program counts: clusters whose refcount is as high as their uses are many, but whose users must not
    /// share them (qemu-img trusts refcounts, and the next write of one user destroys the other); the zero flag in version 2,
    /// for which qemu itself refuses to read the cluster; and clusters of which the end of the file cut a part off, where
    /// qemu reads zeros.
    static func ownCorruptions(_ findings: [CheckFinding]) -> UInt64 {
        findings.filter {
            $0.kind == .overlap || $0.message.contains("the zero flag, which version 2")
                || $0.message.contains("is cut by the end of the file")
        }
        .reduce(0) { $0 + $1.times + $1.more }
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5] as [UInt64])
    func `of images with random damage: no trap, and clean only where qemu-img says so`(seed: UInt64) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("sound.qcow2")
        let kind = Self.kinds[Int(seed) % Self.kinds.count]
        try kind.make(path)
        let sound = try PokedImage(path)
        var random = SeededRandom(seed: seed)
        for round in 0..<25 {
            var image = sound
            for _ in 0..<Int.random(in: 1...3, using: &random) { image.damage(using: &random) }
            let damaged = try folder.write(image.bytes, to: "damaged.qcow2")
            let (ours, findings) = try CheckVerdict.ours(damaged, .qcow2)
            #expect([0, 1, 2, 3].contains(ours.status))
            let theirs = try CheckVerdict.theirs(damaged, .qcow2)
            #expect(ours.status != 0 || theirs.status == 0, "seed \(seed), round \(round)")
            // What is leaked is what neither names, whatever else is wrong.
            if theirs.status != 1, ours.status != 1 {
                #expect(ours.counts["leaks"] == theirs.counts["leaks"], "seed \(seed), round \(round)")
                // Of what is counted with another, the kind alone does not say what it is.
                guard findings.allSatisfy({ $0.more == 0 }), findings.count < CheckResult.findingLimit else { continue }
                let own = Self.ownCorruptions(findings)
                #expect(
                    (ours.counts["corruptions"] ?? 0) - own == theirs.counts["corruptions"] ?? 0,
                    "seed \(seed), round \(round)")
            }
        }
    }

    @Test func `of an encrypted image, without its key`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        try Tool.check(
            "qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=key", "-o",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100", path, "4M")
        let options = [
            "--object", "secret,id=s,data=key", "--image-opts",
            "driver=qcow2,file.driver=file,file.filename=\(path),encrypt.key-secret=s",
        ]
        #expect(try CheckVerdict.differences(path, .qcow2, options: options) == [])
        var image = try PokedImage(path)
        let header = image.read(image.headerExtension(0x0537_be77))
        image.bytes[Int(header)] ^= 1
        try oracle.folder.write(image.bytes, to: "image.qcow2")
        let (ours, findings) = try CheckVerdict.ours(path, .qcow2)
        #expect(ours.status == 2 && findings.map(\.kind) == [.encryption])
    }

    @Test func `of an external data file, which has no refcounts`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        try QemuImg.create(path, size: 8 << 20, options: ["data_file=\(oracle.folder.file("data.raw"))"])
        try QemuImg.io(path, ["write -P 1 0 1M", "write -z 4M 64k"])
        #expect(try CheckVerdict.differences(path, .qcow2) == [])
        var image = try PokedImage(path)
        image.write(image.read(image.data(3)) & ~(1 << 63), at: image.data(3))
        try oracle.folder.write(image.bytes, to: "image.qcow2")
        #expect(try CheckVerdict.differences(path, .qcow2) == [])
        // It is the guest offset that says where the cluster lies: qemu refuses to read it, and its check is silent.
        image = try PokedImage(path)
        image.write(image.read(image.data(4)) | 1 << 63, at: image.data(3))
        try oracle.folder.write(image.bytes, to: "image.qcow2")
        #expect(try CheckVerdict.theirs(path, .qcow2).status == 0)
        let (ours, findings) = try CheckVerdict.ours(path, .qcow2)
        #expect(ours.status == 2 && findings.map(\.kind) == [.entry])
    }

    @Test func `is the same in one pass and in many`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.qcow2")
        // 99,000 host clusters, which are two pages of counts.
        try QemuImg.create(path, size: 48 << 20, options: ["cluster_size=512", "preallocation=metadata"])
        var image = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        defer { try? image.close() }
        // Two entries of the L2 tables, one of them now a leak; the other a cluster that is used twice.
        try image.seek(toOffset: 40)
        let l1 = try #require(try image.read(upToCount: 8)).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        func entry(_ offset: UInt64) throws -> UInt64 {
            try image.seek(toOffset: offset)
            return try #require(try image.read(upToCount: 8)).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        }
        let first = try entry(l1) & 0x00ff_ffff_ffff_fe00
        let last = try entry(l1 + 1400 * 8) & 0x00ff_ffff_ffff_fe00
        try image.seek(toOffset: last)
        try image.write(contentsOf: withUnsafeBytes(of: try entry(first).bigEndian) { Data($0) })
        try image.synchronize()
        image = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        let file = try ConfinedOpenPolicy(images: FilePath(folder.path)).openImage(at: FilePath(path))
        let description = try QCOW2Description(file)
        let whole = try description.check(file)
        #expect(whole.corruptions > 0)
        for budget in [1 << 17] {
            var limits = QCOW2CheckLimits()
            limits.countBytes = budget
            let parts = try description.check(file, limits: limits)
            #expect(parts.corruptions == whole.corruptions && parts.leaks == whole.leaks)
            #expect(parts.allocatedClusters == whole.allocatedClusters)
            #expect(parts.imageEndOffset == whole.imageEndOffset)
            #expect(Set(parts.findings) == Set(whole.findings))
        }
        let theirs = try CheckVerdict.theirs(path, .qcow2)
        #expect(theirs.counts["corruptions"] == whole.corruptions && theirs.counts["leaks"] ?? 0 == whole.leaks)
    }
}

@Suite(.enabled(if: !Corpus.rows.isEmpty && Tool.areThere("qemu-img")))
struct `What check says of images that other products made` {
    /// Why qemu-img does not come to an end, and this program does, or the other way round; by a part of its errors.
    private static let reasons = [
        // qemu opens the whole chain; only the image's own structures are checked here.
        "Could not open backing file",
        // The same for the file of an extent and the external data file.
        "Could not open '", "Could not open backing image", "'data-file'",
    ]

    @Test(arguments: Corpus.rows)
    func `is what qemu-img check says`(row: Corpus.Row) throws {
        guard row.format.hasPrefix("qcow2") || row.format.hasPrefix("vmdk") else { return }
        let format: ImageFormat = row.format.hasPrefix("qcow2") ? .qcow2 : .vmdk
        let path = "\(Corpus.folder)/\(row.path)"
        let (ours, findings) = try CheckVerdict.ours(path, format)
        #expect([0, 1, 2, 3].contains(ours.status))
        // qemu-img follows a chain that comes back to itself for ever.
        if row.path.contains("/loop-") || findings.contains(where: CheckVerdict.isLostTable) { return }
        let result = try QemuImg.check(path, format: format.rawValue)
        let theirs = CheckVerdict(result.status, result.object)
        if theirs.status == 1, theirs.counts.isEmpty, Self.reasons.contains(where: result.errors.contains) { return }
        #expect(CheckVerdict.differences(theirs, ours, findings) == [], "\(result.errors)")
    }
}

extension PokedImage {
    /// Changes one word, mostly of a table.
    fileprivate mutating func damage(using random: inout SeededRandom) {
        let tables = [l1, l2, l2, refcountTable, refcountBlock, snapshots, 0].filter { $0 + clusterSize <= bytes.count }
        let table = tables.randomElement(using: &random) ?? 0
        let place = table + UInt64.random(in: 0..<min(clusterSize / 8, 64), using: &random) * 8
        guard place + 8 <= bytes.count else { return }
        let old = read(place)
        let new: UInt64 =
            switch Int.random(in: 0..<6, using: &random) {
            case 0: old ^ 1 << 63
            case 1: old ^ 1 << UInt64.random(in: 0..<64, using: &random)
            case 2: UInt64.random(in: 0...endCluster / clusterSize, using: &random) * clusterSize | 1 << 63
            case 3: UInt64.random(in: 0...endCluster / 512, using: &random) * 512
            case 4: 0
            default: random.next()
            }
        write(new, at: place)
    }
}
