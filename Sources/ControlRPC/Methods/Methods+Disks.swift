import AccessLog
import BlockImage
import Catalog
import ImageFormats
import ImageTools
import JSON
import Reports

/// What is asked of disks: images, what snapshots keep, partitions.
extension Method {
    /// The most bytes that one call reads: they are held in memory some times over.
    private static let readLimit: UInt64 = 4 << 20

    private static let readLength = Parameter(
        name: "length", kind: .count(least: 1, most: readLimit), isRequired: true, summary: "How many bytes")

    private static let ignoresErrors = Parameter(
        name: "ignore-read-errors", kind: .flag,
        summary:
            "Whether to go on where a disk cannot be read: what is lost is taken for zeros, and listed under \"lost\"")

    static let read = Method(
        name: "read", summary: "Reads bytes of a disk, as the guest sees them.",
        parameters: [.offset.required, readLength, .image, ignoresErrors],
        result:
            "The image's name, offset, length, the size of the disk, data in base64, and with ignore-read-errors what is "
            + "lost",
        answerSize: .data(readLength)
    ) { call in
        let export = try call.export()
        let start = call.arguments.count(.offset) ?? 0
        let length = call.arguments.count(readLength) ?? 0
        let size = export.image.virtualSize
        guard start <= size, length <= size - start else {
            throw ImageError(
                .outOfRange, about: .named(export.name),
                "\(counted(length, "byte")) from offset \(start) on: must end on the disk, which has "
                    + "\(counted(size, "byte"))")
        }
        let count = Int(length)
        let buffer = AlignedBuffer(capacity: count)
        let goesOn = call.arguments.flag(ignoresErrors)
        var lost = LostRanges()
        try buffer.fill(count) { output throws(ImageError) in
            if goesOn {
                export.image.read(start..<start + length, into: &output, &lost)
            } else {
                try export.image.read(count, at: GuestOffset(start), into: &output)
            }
        }
        try export.checkUnchanged()
        try call.request.checkWanted()
        call.session.server.countRead(count)
        call.session.record.count(bytesRead: length)
        let report = ReadReport(
            image: export.name, offset: start, size: size, data: buffer.array, lost: goesOn ? lost.ranges : nil)
        return try jsonLine(report, naming: export.paths)
    }

    private static let mapLength = Parameter(
        name: "length", kind: .count(), summary: "How much of the disk to look at; to its end where it is left out")

    static let map = Method(
        name: "map", summary: "Tells where a disk is stored, run by run: what 'rblock map' prints as JSON.",
        parameters: [.image, .offset, mapLength], result: "The runs", resultType: "array", isLong: true,
        answerSize: .long
    ) { call in
        let export = try call.export()
        let start = call.arguments.count(.offset) ?? 0
        let map = DiskMap(export.image, from: start, count: call.arguments.count(mapLength) ?? .max)
        let size = Double(max(1, map.limit - min(start, map.limit)))
        var pieces = MapJSON(map, naming: export.paths)
        var line = JSONLine()
        while let piece = pieces.next() {
            try call.request.checkWanted()
            try line.append(piece)
            call.request.report(Double(pieces.map.end - min(start, pieces.map.end)) / size)
        }
        try export.checkUnchanged()
        return line.text
    }

    private static let first = Parameter(
        name: "a", kind: .string, isRequired: true, summary: "The name of the one disk", isImage: true)
    private static let second = Parameter(
        name: "b", kind: .string, isRequired: true, summary: "The name of the other disk", isImage: true)
    private static let summaryOnly = Parameter(
        name: "summary", kind: .flag, summary: "Whether to leave out the ranges, and answer what they sum up to")
    private static let sectorSize = Parameter(
        name: "sector-size", kind: .count(least: 512, most: 4096),
        summary: "The bytes of a sector: 512, or 4096")

    static let diff = Method(
        name: "diff", summary: "Tells which sectors differ between two disks, as 'rblock diff' does in JSON.",
        parameters: [first, second, summaryOnly, sectorSize, ignoresErrors],
        result: "The ranges of sectors that differ, what they sum up to, and what is lost where something is",
        isLong: true,
        answerSize: .long
    ) { call in
        let size = call.arguments.count(sectorSize) ?? 512
        guard size == 512 || size == 4096 else {
            throw RPCError(.invalidParams, "sector-size: is \(size), and must be 512 or 4096")
        }
        let (a, b) = (try call.export(first), try call.export(second))
        var comparison = DiskComparison(a.image, b.image, sectorSize: Int(size))
        comparison.ignoresReadErrors = call.arguments.flag(ignoresErrors)
        var ranges: [SectorRange]? = call.arguments.flag(summaryOnly) ? nil : []
        let difference = try comparison.run(
            progress: { position in
                try call.request.checkWanted()
                call.request.report(Double(position) / Double(max(1, comparison.size)))
            },
            { range in
                ranges?.append(range)
                // A range takes at least twenty bytes of the answer.
                guard ranges?.count ?? 0 <= ControlSession.answerLimit / 20 else {
                    throw RPCError(
                        .answerTooLong,
                        "the disks differ in too many ranges for one answer; \"summary\": true counts them")
                }
            })
        try a.checkUnchanged()
        try b.checkUnchanged()
        let report = DiffReport(
            DiffReport.Disk(image: a.name), DiffReport.Disk(image: b.name), difference, ranges: ranges)
        return try jsonLine(report, naming: a.paths)
    }
}
