import BlockImage
import Glibc

extension ImageError {
    /// Whether it says nothing of the file: the same read may work later, or on another thread.
    var isTransient: Bool { isWouldBlock || isCancelled }

    /// Whether the host has lost what the file has there, so that reading it again would most likely fail as well, which a
    /// failing disk takes seconds for.
    var isLasting: Bool {
        switch code {
        case .system(EIO), .system(ENXIO), .system(ENODATA), .system(EBADMSG), .system(EREMOTEIO), .system(EUCLEAN):
            true
        default: false
        }
    }
}

/// What `read` answers. Where the host cannot read the bytes, its error says that they are `what`, which begins at `place`.
func naming<Result>(
    _ what: @autoclosure () -> String, at place: HostOffset, _ read: () throws(ImageError) -> Result
) throws(ImageError) -> Result {
    do throws(ImageError) {
        return try read()
    } catch {
        guard error.isLasting else { throw error }
        throw ImageError(
            error.code, about: error.subject, offset: error.offset ?? place,
            "\(what()) at \(place) cannot be read (\(error.detail))", hint: error.hint)
    }
}

/// What `search` answers. Where the host cannot read what it needs, its error also says what cannot be `known` then.
func needed<Result>(
    toKnow known: String, _ search: () throws(ImageError) -> Result
) throws(ImageError) -> Result {
    do throws(ImageError) {
        return try search()
    } catch {
        guard error.isLasting, error.hint == nil else { throw error }
        throw ImageError(
            error.code, about: error.subject, offset: error.offset,
            "\(error.detail), so that it cannot be known whether \(known)",
            hint: "--ignore-read-errors of convert, read, hash and diff reads on")
    }
}

/// What `read` answers; nil where what it reads is damaged or lies past the end of the file. Throws the host's errors, which
/// say nothing of what the file has there: what cannot be read must never be taken for zeros.
func unlessDamaged<Result>(_ read: () throws(ImageError) -> Result) throws(ImageError) -> Result? {
    do throws(ImageError) {
        return try read()
    } catch {
        if case .system = error.code { throw error }
        return nil
    }
}

/// What `read` answers; nil where it cannot be had: for copies that are read because of another error, which holds then.
/// Throws what is no answer at all.
func unlessTransient<Result>(_ read: () throws(ImageError) -> Result) throws(ImageError) -> Result? {
    do throws(ImageError) {
        return try read()
    } catch {
        if error.isTransient { throw error }
        return nil
    }
}

/// An error that is thrown again for a while, instead of reading again what the host most likely cannot read.
struct KeptError: Sendable {
    /// How long that is.
    static let time = Duration.seconds(10)

    private let error: ImageError
    private let end: ContinuousClock.Instant

    /// `error` as of `now`; nil for one that may pass.
    init?(_ error: ImageError, now: ContinuousClock.Instant = .now) {
        guard error.isLasting else { return nil }
        self.error = error
        end = now + Self.time
    }

    /// Throws the error until its time is over.
    func check(now: ContinuousClock.Instant = .now) throws(ImageError) {
        if now < end { throw error }
    }
}

/// What a search of a file found, which is done once. Other threads wait for the one that does it, unless they must not
/// block. A search that throws found nothing, and is done again; where the host cannot read the file, not before a while.
final class SearchedOnce<Found: Sendable>: Sendable {
    private let known = Guarded<Found?>(nil)
    private let failure = Guarded<KeptError?>(nil)
    private let searching = Guarded(())
    private let now: @Sendable () -> ContinuousClock.Instant

    /// A search that was not done yet. `now` is the clock.
    init(now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.now = now
    }

    /// What was found; nil where that is not known yet.
    var found: Found? { known.withLock { $0 } }

    /// What `search` of `file` finds, or found before. Throws where it reads much and must not block.
    func value(in file: any HostFile, _ search: () throws(ImageError) -> Found) throws(ImageError) -> Found {
        if let found { return found }
        try failure.withLock { $0 }?.check(now: now())
        guard ReadScope.mayBlock else { throw ReadScope.blocked(file.path) }
        return try searching.withLock { _ throws(ImageError) -> Found in
            if let found { return found }
            try failure.withLock { $0 }?.check(now: now())
            do throws(ImageError) {
                let found = try search()
                known.withLock { $0 = found }
                return found
            } catch {
                let kept = KeptError(error, now: now())
                failure.withLock { $0 = kept }
                throw error
            }
        }
    }
}
