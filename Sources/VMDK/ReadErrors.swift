import BlockImage

extension ImageError {
    /// Whether it says nothing of the file: the same read may work later, or on another thread.
    var isTransient: Bool { isWouldBlock || isCancelled }
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

/// What a search of a file found, which is done once. Other threads wait for the one that does it, unless they must not
/// block. A search that throws found nothing, and is done again.
final class SearchedOnce<Found: Sendable>: Sendable {
    private let known = Guarded<Found?>(nil)
    private let searching = Guarded(())

    /// What was found; nil where that is not known yet.
    var found: Found? { known.withLock { $0 } }

    /// What `search` of `file` finds, or found before. Throws where it reads much and must not block.
    func value(in file: any HostFile, _ search: () throws(ImageError) -> Found) throws(ImageError) -> Found {
        if let found { return found }
        guard ReadScope.mayBlock else { throw ReadScope.blocked(file.path) }
        return try searching.withLock { _ throws(ImageError) -> Found in
            if let found { return found }
            let found = try search()
            known.withLock { $0 = found }
            return found
        }
    }
}
