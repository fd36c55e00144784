import ArgumentParser
import Arguments
import BlockImage
import ImageFormats
import ImageTools

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

            EXAMPLES
              rblock map disk.qcow2
              rblock map --depth 0 overlay.qcow2
              rblock map --start-offset 1M --max-length 64K disk.vmdk
              rblock map --snapshot before-update disk.qcow2
              rblock map --output json disk.qcow2 | jq '.[] | select(.data)'

            EXIT STATUS
              0   done
              1   the image cannot be opened or read, or not to its end
              64  wrong usage
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var under: BackingOption
    @Option(help: "human, or json: what qemu-img map writes.") var output = OutputForm.human
    @Option(
        help: ArgumentHelp(
            "The last image of the chain that is looked at; 0: IMAGE alone.", valueName: "N"))
    var depth: Int?
    @Option(
        help: ArgumentHelp(
            "Where on the disk to begin, in bytes or as 64K, 1M, 2G.", valueName: "offset"))
    var startOffset: ByteSize?
    @Option(
        help: ArgumentHelp("How much of the disk to look at, in bytes or as 64K, 1M, 2G.", valueName: "size"))
    var maxLength: ByteSize?
    @Option(
        help: ArgumentHelp("The internal snapshot whose disk is meant, by its name or ID.", valueName: "name"))
    var snapshot: String?
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file())
    var image: String

    func validate() throws {
        if let depth, depth < 0 { throw ValidationError("--depth: must be 0, which is IMAGE alone, or more") }
    }

    func run() throws {
        try Failure.reported {
            var named = try options.image(image)
            named.snapshot = snapshot
            under.apply(to: &named)
            named.deepest = depth ?? .max
            let map = try named.map(
                from: UInt64(startOffset?.count ?? 0), count: maxLength.map { UInt64($0.count) } ?? .max)
            switch output {
            case .human: try writeTable(map)
            case .json: try writeRuns(map)
            }
        }
    }

    private func writeRuns(_ map: ImageMap) throws {
        let text = StandardOutput()
        var pieces = MapJSON(map.runs)
        while let piece = pieces.next() { try text.write(piece) }
        try text.flush()
        if let error = pieces.error { throw error }
    }

    private func writeTable(_ map: ImageMap) throws {
        let text = StandardOutput()
        var runs = map.runs
        try text.write(row("Offset", "Length", "Mapped to", "File"))
        var damage: ImageError?
        func next() -> MapEntry? {
            do throws(ImageError) {
                return try runs.next()
            } catch {
                damage = error
                return nil
            }
        }
        while let run = next() {
            guard run.data else { continue }
            let file = run.file.flatMap { map.paths[$0] } ?? ""
            let place = run.compressed ? "compressed" : run.offset.map(hex) ?? "encoded"
            try text.write(row(hex(run.start), hex(run.length), place, file))
        }
        // The runs before the damage stand before what is said of it.
        try text.flush()
        if let damage { throw damage }
    }

    private func row(_ columns: String...) -> String {
        columns.dropLast().map { padded($0, 15) + " " }.joined() + printable(columns.last ?? "") + "\n"
    }

    private func hex(_ number: UInt64) -> String {
        number == 0 ? "0" : "0x" + String(number, radix: 16)
    }
}
