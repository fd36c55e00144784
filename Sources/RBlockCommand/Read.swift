import ArgumentParser
import Arguments
import BlockImage
import Catalog
import ImageTools
import Reports

/// `rblock read`: the bytes of a disk.
struct Read: ParsableCommand {
    /// The most that --output json reads: it is all held in memory, some times over.
    private static let jsonLimit: UInt64 = 4 << 20

    static let configuration = CommandConfiguration(
        abstract: "Write bytes of the disk of an image to standard output.",
        discussion: """
            The bytes are those that the guest sees, whatever the format. An IMAGE may be a block device. Sizes are in \
            bytes, as 1048576, 1024K, 1.5M, 1GiB (of 1024), 1GB (of 1000) or 0x100000. Reading past the end of the disk is an error. What \
            was read before an error is written.

            EXAMPLES
              # the boot sector, for people
              rblock read --length 512 --hex disk.qcow2
              # all from the second MiB on
              rblock read --offset 1M disk.vmdk > rest.raw
              # which file system is in the first partition?
              rblock read --length 64K disk.qcow2/p1 | file -
              rblock read --length 4K --output json disk.qcow2 | jq -r .data | base64 -d

            EXIT STATUS
              0   all of it was written
              1   the image cannot be opened or read so far, or was written to meanwhile
              2   it was written, with zeros for what could not be read: only with
                  --ignore-read-errors
              64  wrong usage

            SEE ALSO
              hexdump(1), rblock(1), rblock-convert(1), rblock-map(1), rblock-json(5),
              rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @OptionGroup var under: BackingOption
    @Option(
        parsing: .unconditional, help: ArgumentHelp("The first byte of the disk; 0 by default.", valueName: "size"),
        transform: ByteSize.parse)
    var offset = ByteSize(count: 0)
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How many bytes; by default to the end of the disk.", valueName: "size"),
        transform: ByteSize.parse)
    var length: ByteSize?
    @Flag(help: "Write lines for people, as hexdump -C does; lines that repeat the one before them become a '*'.")
    var hex = false
    @Flag(help: "Write bytes to a terminal, too.") var force = false
    @Flag(help: "Go on where the image cannot be read: zeros are written for what is lost, which is reported.")
    var ignoreReadErrors = false
    @Option(
        help: ArgumentHelp("Read the disk of this internal snapshot (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Read) in verb.options.bare(verb.image) })
    var snapshot: String?
    @Option(
        help: ArgumentHelp(
            "human: the bytes, or what --hex makes of them; or json: filename, offset, length, size and data, in base64, of "
                + "at most 4M.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file()) var image: String

    func validate() throws {
        if hex && output == .json { throw ValidationError("--hex is for people, and --output json is not: choose one") }
    }

    func run() throws {
        reading.progress.begin(output)
        var lost = LostRanges()
        try Failure.reported(as: output, filename: image) {
            if output == .human, !hex, !force { try StandardOutput.refuseTerminal("--hex shows bytes") }
            var named = try options.image(image)
            try named.choose(snapshot: snapshot)
            under.apply(to: &named)
            let disk = try reading.disk(named)
            var stream = try DiskStream(
                of: disk.image, from: GuestOffset(UInt64(offset.count)), count: length.map { UInt64($0.count) },
                path: image)
            stream.ignoresReadErrors = ignoreReadErrors
            switch output {
            case .human: lost = try hex ? dump(stream) : copy(stream)
            case .json: lost = try writeDocument(stream, of: disk)
            }
            try reading.checkUnchanged(disk)
        }
        guard lost.isEmpty else {
            sayLost(lost.ranges, of: image, "could not be read, and are zeros in what was written")
            throw ExitCode(2)
        }
    }

    private func copy(_ stream: DiskStream) throws -> LostRanges {
        let bar = ProgressBar(image, total: stream.count)
        let output = StandardOutput(besides: bar)
        var done: UInt64 = 0
        return try stream.read { piece in
            try piece.forEachBuffer { bytes in
                try output.write(bytes)
                done += UInt64(bytes.byteCount)
                bar.update(done)
            }
        }
    }

    private func dump(_ stream: DiskStream) throws -> LostRanges {
        let bar = ProgressBar(image, total: stream.count)
        let output = StandardOutput(besides: bar)
        var dump = HexDump(from: GuestOffset(UInt64(offset.count)))
        var done: UInt64 = 0
        let lost: LostRanges
        do {
            lost = try stream.read { piece in
                try output.write(dump.lines(of: piece))
                done += piece.count
                if bar.update(done) { try output.show() }
            }
        } catch let error as ImageError {
            // What was read is shown.
            try output.write(dump.end())
            try output.flush()
            throw error
        }
        try output.write(dump.end())
        try output.flush()
        return lost
    }

    private func writeDocument(_ stream: DiskStream, of disk: NamedDisk) throws -> LostRanges {
        guard stream.count <= Self.jsonLimit else {
            throw Failure(
                "\(image): \(stream.count) bytes are too many for --output json, which takes \(Self.jsonLimit); "
                    + "--length says how many")
        }
        var data: [UInt8] = []
        let lost = try stream.read { piece in
            piece.forEachBuffer { bytes in
                // Safe: the pointer is used in this call only.
                unsafe bytes.withUnsafeBytes { unsafe data.append(contentsOf: $0) }
            }
        }
        // A document without an error is of one state of the disk.
        try reading.checkUnchanged(disk)
        try writeJSON(
            ReadReport(
                path: image, snapshot: snapshot, offset: UInt64(offset.count), size: disk.image.virtualSize, data: data,
                lost: ignoreReadErrors ? lost.ranges : nil))
        return lost
    }
}
