import BlockImage

/// A disk of an image: the one that it is, or the one that a snapshot keeps; or why it cannot be read.
/// Every method may be called from any thread.
public final class OpenedDisk: Sendable {
    /// The disk, or why it cannot be read.
    public let result: Result<Image, ImageError>
    private let measured = Guarded<MeasuredAllocation?>(nil)
    private let estimated = Guarded<UInt64?>(nil)
    private let flat = Guarded<Result<any HostFile, ImageError>?>(nil)
    /// The look-ups that are left for it and other disks of its image; nil: it has its own.
    private let shared: SharedLookUps?
    /// Held while the count is made: other counts wait here, and estimates do not.
    private let counting = Guarded(())

    /// The disk of `result`, or why there is none.
    public convenience init(_ result: Result<Image, ImageError>) {
        self.init(result, sharing: nil)
    }

    /// The same, of an image whose disks are counted within `shared` together.
    init(_ result: Result<Image, ImageError>, sharing shared: SharedLookUps?) {
        self.result = result
        self.shared = shared
    }

    /// The disk; nil where it cannot be read.
    public var image: Image? { try? result.get() }

    /// Why it cannot be read; nil where it can.
    public var error: ImageError? {
        if case .failure(let error) = result { return error }
        return nil
    }

    /// How the disk is stored, what of it is lost, and what ended the count early, if anything did. Walks the tables when
    /// first asked, and keeps the answer. Nil where there is no disk.
    public var allocation: MeasuredAllocation? {
        guard let image else { return nil }
        if let known = measured.withLock({ $0 }) { return known }
        return counting.withLock { _ in
            if let known = measured.withLock({ $0 }) { return known }
            let answer = measure(image, atMost: Image.walkLimit)
            if Self.isComplete(answer) { measured.withLock { $0 = answer } }
            return answer
        }
    }

    /// Whether `allocation` is being found now.
    var isBeingCounted: Bool { counting.withLockIfAvailable { _ in false } ?? true }

    private func measure(_ image: Image, atMost limit: Int) -> MeasuredAllocation {
        shared?.measure(image, atMost: limit) ?? image.measure(walkLimit: limit)
    }

    /// Whether no read for `answer` was cancelled or would have blocked: what such a read does not find is not lost.
    private static func isComplete(_ answer: MeasuredAllocation) -> Bool {
        ReadScope.mayBlock && answer.error?.isCancelled != true && (try? ReadScope.checkWanted()) != nil
    }

    /// How many look-ups an estimate takes at most: some 20 milliseconds.
    private static let quickWalk = 1 << 15

    /// How many bytes of the disk are stored, as `allocation` has it where that is known or quickly told; else at most as
    /// many as the disk has, and as its files take on the host. Nil where there is no disk.
    public var allocatedSize: UInt64? {
        guard let image else { return nil }
        if let known = measured.withLock({ $0 })?.whole { return known.allocated }
        if let known = estimated.withLock({ $0 }) { return known }
        let quick = measure(image, atMost: Self.quickWalk)
        let isKnown = Self.isComplete(quick)
        if isKnown, quick.error == nil { measured.withLock { $0 = $0 ?? quick } }
        let size = quick.whole?.allocated ?? min(image.virtualSize, max(image.hostSize, quick.sum.allocated))
        if isKnown { estimated.withLock { $0 = size } }
        return size
    }

    /// The file that has the disk byte for byte: see `Image.flatFile`. Found out when it is first asked for, and kept.
    public func flatFile() throws(ImageError) -> any HostFile {
        let image = try result.get()
        let answer = flat.withLock { flat in
            if let flat { return flat }
            let answer: Result<any HostFile, ImageError>
            do throws(ImageError) {
                answer = .success(try image.flatFile())
            } catch {
                answer = .failure(error)
            }
            flat = answer
            return answer
        }
        return try answer.get()
    }
}
