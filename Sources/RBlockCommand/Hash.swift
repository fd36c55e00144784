import ArgumentParser
import BlockImage
import Catalog
import Encryption
import Glibc
import ImageTools
import Reports
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

            Several images are hashed at once, one on each processor, and listed in the order in which they are named.

            Several hash functions are computed while the disk is read once; then each line says which it is, as sha256sum \
            --tag prints it. --check compares the disks of images with a list of hashes in either form, and says OK or FAILED \
            of each; malformed lines are named and counted. Bytes that come from a pipe are no image: sha256sum hashes those.

            EXAMPLES
              rblock hash disk.qcow2
              rblock hash --snapshot daily disk.qcow2
              # a list, and later a comparison with it
              rblock hash *.qcow2 > SHA256SUMS
              rblock hash --check SHA256SUMS
              # two hash functions, while the disk is read once
              rblock hash --algorithm md5 --algorithm sha256 disk.qcow2
              # the same disk in an image and on a device
              rblock hash --algorithm sha1 --output json disk.vmdk /dev/loop0
              # a disk that fails: zeros stand for what cannot be read
              rblock hash --ignore-read-errors /dev/sdx

            EXIT STATUS
              0   every image was hashed
              1   an image cannot be opened or read, or, with --check, has another hash,
                  or a line of the list is malformed; the others are hashed all the same
              2   a hash is that of a disk with zeros for what could not be read:
                  only with --ignore-read-errors
              64  wrong usage

            SEE ALSO
              rblock(1), rblock-diff(1), sha256sum(1), rblock-json(5), rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @OptionGroup var under: BackingOption
    @Option(help: ArgumentHelp("The hash function; sha256 where none is given. Repeatable.", valueName: "name"))
    var algorithm: [HashAlgorithm] = []
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Compare with the hashes in this list, or standard input for -.", valueName: "file"),
        completion: .file())
    var check: String?
    @Option(
        help: ArgumentHelp("Hash the disk of this internal snapshot (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Hash) in verb.images.first.map { verb.options.bare($0) } })
    var snapshot: String?
    @Flag(help: "Go on where an image cannot be read: zeros are hashed for what is lost, which is reported.")
    var ignoreReadErrors = false
    @Option(help: ArgumentHelp("human: as sha256sum prints it; or json: an array of objects.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE"), completion: .file()) var images: [String] = []

    func validate() throws {
        guard !images.isEmpty || check != nil else { throw ValidationError("Missing expected argument 'IMAGE'") }
        guard images.isEmpty || check == nil else {
            throw ValidationError("--check: the list names the images, so that no IMAGE is given")
        }
        guard algorithm.count < 2 || check == nil else { throw ValidationError("--check: goes with one --algorithm") }
        guard under.backing == nil || check == nil else {
            throw ValidationError("--backing: goes with one IMAGE, and not with --check")
        }
        try under.check(images)
    }

    func run() throws {
        reading.progress.begin(output)
        if let check { return try compare(with: check) }
        var failed: ExitCode?
        var hasLost = false
        var documents: [HashDocument] = []
        let printer = StandardOutput()
        try hashes { path, result in
            do {
                try Failure.reported {
                    let line: HashReport
                    do {
                        line = try result.get()
                    } catch let error as ImageError {
                        documents.append(.failure(FailureReport(filename: path, .image(error))))
                        throw error
                    }
                    hasLost = say(line.lost, of: path) || hasLost
                    // One that takes long is not kept back for the others.
                    switch output {
                    case .human:
                        try printer.write(text(of: line))
                        try printer.flush()
                    case .json: documents.append(.hash(line))
                    }
                }
            } catch let code as ExitCode {
                failed = code
            }
        }
        if output == .json { try Failure.reported { try writeJSON(documents) } }
        if let failed { throw failed }
        if hasLost { throw ExitCode(2) }
    }

    /// Hashes the images, one on each processor, and hands what each came to to `take`, in their order.
    private func hashes(_ take: (String, Result<HashReport, any Error>) throws -> Void) throws {
        let algorithms = algorithm.isEmpty ? [.sha256] : algorithm
        let progress = HashProgress(images)
        let work = OrderedWork<Int, Result<HashReport, any Error>>(
            limit: max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))
        ) { [self] index in
            let result = Result { try hash(images[index], by: algorithms) { progress.update(index, $0, of: $1) } }
            progress.end(index)
            return result
        }
        var (begun, taken) = (images.indices.makeIterator(), images.indices.makeIterator())
        try work.run(
            next: { begun.next() },
            take: { result in
                progress.hide()
                if let index = taken.next() { try take(images[index], result) }
            })
        progress.hide()
    }

    /// Says which parts of the disk of `path` are lost, and answers whether there are any.
    func say(_ lost: [LostRange]?, of path: String) -> Bool {
        guard let lost, !lost.isEmpty else { return false }
        sayLost(lost, of: path, "could not be read, and are zeros in the hash")
        Failure.say("\(path): the hash is that of a disk with lost ranges")
        return true
    }

    /// The lines of `report`, as sha256sum(1) writes them.
    private func text(of report: HashReport) -> String {
        let (mark, name) = HashList.escaped(report.filename)
        // The digits of RIPEMD-160 are as many as those of SHA-1.
        guard algorithm.count > 1 || algorithm == [.ripemd160] else { return "\(mark)\(report.hash)  \(name)\n" }
        return algorithm.map {
            "\(mark)\($0.rawValue.uppercased()) (\(name)) = \(report.hashes[$0.rawValue] ?? "")\n"
        }.joined()
    }

    /// The hashes of the disk of the image at `path` by `algorithms`; `progress` hears how many bytes of how many are done.
    func hash(
        _ path: String, by algorithms: [HashAlgorithm], progress: (UInt64, UInt64) -> Void
    ) throws -> HashReport {
        var image = try options.image(path)
        try image.choose(snapshot: snapshot)
        under.apply(to: &image)
        let disk = try reading.disk(image)
        var stream = try DiskStream(of: disk.image, path: path)
        stream.ignoresReadErrors = ignoreReadErrors
        let (digests, lost) = try stream.digests(algorithms, path: path) { progress($0, stream.count) }
        try reading.checkUnchanged(disk)
        return HashReport(
            path: path, snapshot: snapshot, Array(zip(algorithms.map(\.rawValue), digests)), size: stream.count,
            lost: ignoreReadErrors ? lost.ranges : nil)
    }
}

/// What is printed of one image.
private enum HashDocument: Encodable {
    case hash(HashReport)
    case failure(FailureReport)

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .hash(let report): try report.encode(to: encoder)
        case .failure(let report): try report.encode(to: encoder)
        }
    }
}
