import BlockImage
import Catalog
import Encryption
import OVA

/// Compares the files of an appliance with the digests in its manifest.
struct ManifestCheck {
    /// The holes of sparse members that are hashed, in bytes: 1 GiB, and 1024 times the archive. A member of a few bytes
    /// can say that it has 2^63, nearly all of them zeros.
    private static let holeLimit: UInt64 = 1 << 30

    private struct Job: Hashable {
        var member: Int
        var algorithm: String
    }

    /// What comparing a member with all of its entries came to.
    private struct Verdict {
        /// What is wrong, by the first entry that says so.
        var fault: ErrorText?
        /// Whether it is as every entry says.
        var isSound = true
    }

    let open: OpenAppliance
    private var appliance: Appliance { open.appliance }

    /// Compares the members `indices`, nil: all that the manifest has, and adds what is wrong to `result`. `progress` is
    /// told the part that is done, 0 to 1. Answers whether anything was there to compare. Throws where it was cancelled.
    func run(
        of indices: Set<Int>? = nil, into result: inout CheckResult, progress: (Double) -> Void
    ) throws(ImageError) -> Bool {
        if indices == nil { addUnread(to: &result) }
        let jobs = appliance.digests.filter {
            indices == nil || $0.member.map { indices?.contains($0) == true } == true
        }
        let total = jobs.reduce(1.0) { $0 + Double($1.member.map { appliance.members[$0].size } ?? 0) }
        var done = 0.0
        let (share, overflow) = appliance.file.size.multipliedReportingOverflow(by: 1024)
        var holesLeft = overflow ? .max : HostOffset(Self.holeLimit).advanced(by: share).rawValue
        var known: [Job: Result<[UInt8], ImageError>] = [:]
        var verdicts: [Int: Verdict] = [:]
        for (entry, member) in jobs {
            guard let member else {
                result.add(
                    finding(
                        .corruption, entry.name, at: nil,
                        "the manifest has its digest, and the archive has no such file")
                )
                continue
            }
            let job = Job(member: member, algorithm: entry.algorithm)
            let digest: Result<[UInt8], ImageError>
            if let earlier = known[job] {
                digest = earlier
            } else {
                digest = try self.digest(of: member, entry.algorithm, holesLeft: &holesLeft) {
                    progress((done + Double($0)) / total)
                }
            }
            known[job] = digest
            done += Double(appliance.members[member].size)
            progress(done / total)
            compare(digest, with: entry, of: member, &verdicts[member, default: Verdict()], &result)
        }
        for (member, verdict) in verdicts where verdict.isSound || verdict.fault != nil {
            open.note(verdict.fault, of: member)
        }
        return !jobs.isEmpty || appliance.manifestError != nil || appliance.manifest?.unreadLines.isEmpty == false
    }

    /// What of the manifest itself cannot be compared with anything.
    private func addUnread(to result: inout CheckResult) {
        if let error = appliance.manifestError {
            result.add(CheckFinding(.manifest, .error, path: error.path, at: error.offset, error.detail))
        }
        for line in appliance.manifest?.unreadLines ?? [] {
            result.add(
                CheckFinding(
                    .manifest, .error, path: appliance.file.path, "manifest: line \(line) is no digest of a known kind")
            )
        }
    }

    private func compare(
        _ digest: Result<[UInt8], ImageError>, with entry: OVFManifest.Entry, of index: Int,
        _ verdict: inout Verdict, _ result: inout CheckResult
    ) {
        let member = appliance.members[index]
        if case .success(entry.digest) = digest { return }
        verdict.isSound = false
        switch digest {
        case .failure(let error):
            result.add(
                finding(.error, member.name, at: member.offset, "it cannot be compared with the manifest: \(error)"))
        case .success(let digest):
            var found = entry
            found.digest = digest
            let fault = finding(
                .corruption, member.name, at: member.offset,
                "its \(entry.algorithm) is \(found.text), but the manifest says \(entry.text)")
            verdict.fault = verdict.fault ?? fault.message
            result.add(fault)
        }
    }

    /// Throws where it was cancelled.
    private func digest(
        of index: Int, _ algorithm: String, holesLeft: inout UInt64, progress: (UInt64) -> Void
    ) throws(ImageError) -> Result<[UInt8], ImageError> {
        let path = appliance.members[index].entry.text
        do throws(ImageError) {
            guard let algorithm = HashAlgorithm(rawValue: algorithm.lowercased()), let file = appliance.file(index)
            else { throw ImageError(.unsupported, path: path, "\(algorithm) is no hash function that is known") }
            let image = Image(layer: RawLayer(file: try file.get()))
            if case .success(let file) = file, appliance.members[index].entry.kind == .sparse {
                let holes = file.size - min(file.allocatedSize, file.size)
                guard holes <= holesLeft else {
                    throw ImageError(
                        .unsupported, path: path,
                        "has holes of \(holes) bytes, more than are hashed for an archive of \(appliance.file.size)")
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
            .manifest, severity, path: appliance.file.path, at: offset,
            "\"\(nameText(name.prefix(200)))\": \(message)")
    }
}
