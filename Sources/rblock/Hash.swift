import ArgumentParser
import BlockImage
import Encryption
import ImageTools
import SystemPackage

extension HashAlgorithm: ExpressibleByArgument {}

/// `rblock hash`: the digest of a disk.
struct Hash: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hash the disk of an image, as if it lay flat in a file.",
        discussion: """
            Prints what sha256sum prints for the disk that the image stands for: the digest of every byte that the guest \
            sees, whatever the format. Images of one disk in two formats have one hash. Holes and zero clusters are not \
            read. An IMAGE may be a block device.

            EXAMPLES
              rblock hash disk.qcow2
              rblock hash --snapshot daily disk.qcow2
              rblock hash --algorithm sha1 --output json disk.vmdk /dev/loop0

            EXIT STATUS
              0   every image was hashed
              1   an image cannot be opened or read; the others are hashed all the same
              64  wrong usage
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var under: BackingOption
    @Option(help: ArgumentHelp("The hash function.", valueName: "name")) var algorithm = HashAlgorithm.sha256
    @Option(
        help: ArgumentHelp("Hash the disk of this internal snapshot (its name, or else its ID).", valueName: "name"))
    var snapshot: String?
    @Option(help: "human: as sha256sum prints it; or json: an array of objects.") var output = OutputForm.human
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE"), completion: .file()) var images: [String]

    /// What one image came to.
    private struct Line: Encodable {
        var path: String
        var snapshot: String?
        var algorithm: String
        var hash: String
        var size: UInt64
    }

    func validate() throws {
        guard !images.isEmpty else { throw ValidationError("Missing expected argument 'IMAGE'") }
        try under.check(images)
    }

    func run() throws {
        var failed: ExitCode?
        var lines: [Line] = []
        let printer = StandardOutput()
        for path in images {
            do {
                try Failure.reported {
                    let line = try hash(path)
                    // One that takes long is not kept back for the others.
                    switch output {
                    case .human:
                        try printer.write("\(line.hash)  \(line.path)\n")
                        try printer.flush()
                    case .json: lines.append(line)
                    }
                }
            } catch let code as ExitCode {
                failed = code
            }
        }
        if output == .json { try Failure.reported { try writeJSON(lines) } }
        if let failed { throw failed }
    }

    private func hash(_ path: String) throws -> Line {
        var image = try options.image(path)
        image.snapshot = snapshot
        under.apply(to: &image)
        let disk = try image.disk()
        let stream = try DiskStream(of: disk.image, path: path)
        let bar = ProgressBar(path, total: stream.count)
        let digest = try stream.digest(algorithm, path: path) { bar.update($0) }
        bar.hide()
        try disk.checkUnchanged()
        return Line(
            path: path, snapshot: snapshot, algorithm: algorithm.rawValue, hash: hexadecimal(digest), size: stream.count
        )
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
