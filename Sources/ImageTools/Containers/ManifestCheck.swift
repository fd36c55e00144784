import BlockImage
import Catalog
import Encryption
import FormatCore

/// Compares the files of a container, as an appliance is, with the digests in its manifest.
struct ManifestCheck {
    /// The holes of sparse members that are hashed, in bytes: 1 GiB, and 1024 times the container. A file of a few bytes
    /// can say that it has 2^63, nearly all of them zeros.
    private static let holeLimit: UInt64 = 1 << 30

    private struct Job: Hashable {
        var file: Int
        var algorithm: String
    }

    /// What comparing a file with all of its digests came to.
    private struct Verdict {
        /// What is wrong, by the first digest that says so.
        var fault: ErrorText?
        /// Whether it is as every digest says.
        var isSound = true
    }

    let container: any DigestedContainer
    private let open: OpenContainer

    /// Of the files of `open`; nil where it has no digests.
    init?(open: OpenContainer) {
        guard let container = open.container as? any DigestedContainer else { return nil }
        self.container = container
        self.open = open
    }

    /// Compares the files of `disk`, nil: all that the manifest has, and adds what is wrong to `result`. `progress` is
    /// told the part that is done, 0 to 1. Answers whether anything was there to compare. Throws where it was cancelled.
    func run(
        of disk: ContainedDisk? = nil, into result: inout CheckResult, progress: (Double) -> Void
    ) throws(ImageError) -> Bool {
        let indices = disk.map { container.files(of: $0) }
        if indices == nil { addUnread(to: &result) }
        let jobs = container.digests.filter {
            indices == nil || $0.index.map { indices?.contains($0) == true } == true
        }
        let total = jobs.reduce(1.0) { $0 + Double($1.index.map { container.containedFile($0).size } ?? 0) }
        var done = 0.0
        let (share, overflow) = container.file.size.multipliedReportingOverflow(by: 1024)
        var holesLeft = overflow ? .max : HostOffset(Self.holeLimit).advanced(by: share).rawValue
        var known: [Job: Result<[UInt8], ImageError>] = [:]
        var verdicts: [Int: Verdict] = [:]
        for (entry, index) in jobs {
            guard let index else {
                result.add(
                    finding(
                        .corruption, entry.name, at: nil,
                        "the manifest has its digest, and the archive has no such file")
                )
                continue
            }
            let job = Job(file: index, algorithm: entry.algorithm)
            let file = container.containedFile(index)
            let digest: Result<[UInt8], ImageError>
            if let earlier = known[job] {
                digest = earlier
            } else {
                digest = try self.digest(of: file, entry.algorithm, holesLeft: &holesLeft) {
                    progress((done + Double($0)) / total)
                }
            }
            known[job] = digest
            done += Double(file.size)
            progress(done / total)
            compare(digest, with: entry, of: file, &verdicts[index, default: Verdict()], &result)
        }
        for (index, verdict) in verdicts where verdict.isSound || verdict.fault != nil {
            open.note(verdict.fault, of: index)
        }
        return !jobs.isEmpty || !container.digestErrors.isEmpty
    }

    /// What of the manifest itself cannot be compared with anything.
    private func addUnread(to result: inout CheckResult) {
        for error in container.digestErrors {
            result.add(CheckFinding(.manifest, .error, path: error.path, at: error.offset, error.detail))
        }
    }

    private func compare(
        _ digest: Result<[UInt8], ImageError>, with entry: FileDigest, of file: ContainedFile,
        _ verdict: inout Verdict, _ result: inout CheckResult
    ) {
        if case .success(entry.digest) = digest { return }
        verdict.isSound = false
        switch digest {
        case .failure(let error):
            result.add(
                finding(.error, file.name, at: file.offset, "it cannot be compared with the manifest: \(error)"))
        case .success(let digest):
            var found = entry
            found.digest = digest
            let fault = finding(
                .corruption, file.name, at: file.offset,
                "its \(entry.algorithm) is \(found.text), but the manifest says \(entry.text)")
            verdict.fault = verdict.fault ?? fault.message
            result.add(fault)
        }
    }

    /// Throws where it was cancelled.
    private func digest(
        of member: ContainedFile, _ algorithm: String, holesLeft: inout UInt64, progress: (UInt64) -> Void
    ) throws(ImageError) -> Result<[UInt8], ImageError> {
        let path = nameText(member.name)
        do throws(ImageError) {
            guard let algorithm = HashAlgorithm(rawValue: algorithm.lowercased()), let file = member.file
            else { throw ImageError(.unsupported, path: path, "\(algorithm) is no hash function that is known") }
            let image = Image(layer: RawLayer(file: try file.get()))
            if case .success(let file) = file, member.isSparse {
                let holes = file.size - min(file.allocatedSize, file.size)
                guard holes <= holesLeft else {
                    throw ImageError(
                        .unsupported, path: path,
                        "has holes of \(holes) bytes, more than are hashed for an archive of \(container.file.size)")
                }
                holesLeft -= holes
            }
            do {
                return .success(
                    try DiskStream(of: image, path: path).digest(algorithm, path: path, progress: progress))
            } catch let error as ImageError {
                throw error
            } catch {
                throw ImageError(.unsupported, path: path, "\(error)")
            }
        } catch {
            guard !error.isCancelled else { throw error }
            return .failure(error)
        }
    }

    private func finding(
        _ severity: CheckFinding.Severity, _ name: [UInt8], at offset: HostOffset?, _ message: ErrorText
    ) -> CheckFinding {
        CheckFinding(
            .manifest, severity, path: container.file.path, at: offset,
            "\"\(nameText(name.prefix(200)))\": \(message)")
    }
}
