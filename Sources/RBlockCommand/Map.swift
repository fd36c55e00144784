import ArgumentParser
import Arguments
import BlockImage
import Catalog
import ImageFormats
import ImageTools
import Reports

/// `rblock map`: where the disk is stored, run by run.
struct Map: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell where the disk of an image is stored, run by run.",
        discussion: """
            For people, a table of the runs that hold data: where they begin on the disk, how long they are, where in which \
            file they lie, or that they are compressed. As JSON, all runs of the disk as qemu-img map writes them: depth is \
            the place in the chain of the image that stores the run (0 is IMAGE), present whether one stores it, zero \
            whether it reads as zeros, data whether a file has bytes for it, offset where they lie as they are.

            With --depth N, no image further down than N is opened or looked at: --depth 0 is what IMAGE stores itself, \
            and its backing file need not be there. What only deeper images store is not present.

            A range that cannot be mapped is a line with "error", in JSON a run with an error and nothing else; the map \
            goes on behind it.

            EXAMPLES
              rblock map disk.qcow2
              # what the overlay stores itself
              rblock map --depth 0 overlay.qcow2
              # where one cluster of the disk lies
              rblock map --start-offset 1M --max-length 64K disk.vmdk
              rblock map --snapshot before-update disk.qcow2
              # all that has bytes in a file, for a script
              rblock map --output json disk.qcow2 | jq '.[] | select(.data)'

            EXIT STATUS
              0   done
              1   the image cannot be opened or read
              2   parts of the disk cannot be mapped; the others are
              64  wrong usage

            SEE ALSO
              qemu-img(1), rblock(1), rblock-info(1), rblock-inspect(1), rblock-json(5),
              rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var sharing: SharingOption
    @OptionGroup var under: BackingOption
    @Option(help: ArgumentHelp("human, or json: what qemu-img map writes.", valueName: "form")) var output = OutputForm
        .human
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The last image of the chain that is looked at; 0: IMAGE alone.", valueName: "N"))
    var depth: Int?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Where on the disk to begin, in bytes or as 64K, 1M, 2G.", valueName: "offset"), transform: ByteSize.parse)
    var startOffset: ByteSize?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How much of the disk to look at, in bytes or as 64K, 1M, 2G.", valueName: "size"),
        transform: ByteSize.parse)
    var maxLength: ByteSize?
    @Option(
        help: ArgumentHelp("The internal snapshot whose disk is meant, by its name or ID.", valueName: "name"),
        completion: .snapshots { (verb: Map) in verb.options.bare(verb.image) })
    var snapshot: String?
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file())
    var image: String

    func validate() throws {
        if let depth, depth < 0 { throw ValidationError("--depth: must be 0, which is IMAGE alone, or more") }
    }

    func run() throws {
        var lost = LostRanges()
        try Failure.reported(as: output, filename: image) {
            var named = try options.image(image)
            try named.choose(snapshot: snapshot)
            under.apply(to: &named)
            named.options.deepest = depth ?? .max
            let map = try named.map(
                from: UInt64(startOffset?.count ?? 0), count: maxLength.map { UInt64($0.count) } ?? .max)
            try sharing.checkUse(of: map.files)
            switch output {
            case .human: lost = try writeTable(map)
            case .json: lost = try writeRuns(map)
            }
        }
        guard lost.isEmpty else {
            sayLost(lost.ranges, of: image, "cannot be mapped")
            throw ExitCode(2)
        }
    }

    private func writeRuns(_ map: ImageMap) throws -> LostRanges {
        let text = StandardOutput()
        var pieces = MapJSON(map.runs)
        while let piece = pieces.next() { try text.write(piece) }
        try text.flush()
        return pieces.lost
    }

    private func writeTable(_ map: ImageMap) throws -> LostRanges {
        let text = StandardOutput()
        var runs = map.runs
        try text.write(lines: row("Offset", "Length", "Mapped to", "File"))
        var lost = LostRanges()
        while true {
            let run: MapEntry?
            do throws(ImageError) {
                run = try runs.next()
            } catch {
                let (start, length) = runs.skipLost()
                lost.add(start, length, error)
                try text.write(lines: row(hex(start), hex(length), "error", error.description), hanging: 48)
                continue
            }
            guard let run else { break }
            guard run.data else { continue }
            let file = run.file.flatMap { map.paths[$0] } ?? ""
            let place = run.compressed ? "compressed" : run.offset.map(hex) ?? "encoded"
            try text.write(lines: row(hex(run.start), hex(run.length), place, file), hanging: 48)
        }
        try text.flush()
        return lost
    }

    private func row(_ columns: String...) -> String {
        columns.dropLast().map { padded($0, 15) + " " }.joined() + printable(columns.last ?? "") + "\n"
    }

    private func hex(_ number: UInt64) -> String {
        number == 0 ? "0" : "0x" + String(number, radix: 16)
    }
}
