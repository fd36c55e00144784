import BlockImage
import Dispatch
import Glibc

extension ExportCatalog {
    /// What `list` says of one export.
    package struct Entry: Sendable {
        /// The name.
        package var name: String
        /// What it is, for people; empty where that is not known.
        package var summary: String
        /// The size of the disk in bytes, or why it cannot be read.
        package var size: Result<UInt64, ImageError>
    }

    /// What one list has so far, and how long it may wait. Used by several threads.
    private final class Listing: Sendable {
        private struct State {
            var next = 0
            var entries: [Int: [Entry]] = [:]
            var lost = Duration.zero
        }

        let images: [(name: String, image: NamedImage)]
        private let state = Guarded(State())
        /// How long a list waits for one image, for all that do not answer, and for each after that.
        private static let patience = (
            each: Duration.seconds(1), all: Duration.seconds(3) * listedAtOnce, then: Duration.milliseconds(50)
        )

        init(_ images: [(name: String, image: NamedImage)]) { self.images = images }

        /// The place of the next image, and how long it is waited for.
        func next() -> (index: Int, patience: Duration)? {
            state.withLock { state in
                guard state.next < images.count else { return nil }
                defer { state.next += 1 }
                return (state.next, state.lost < Self.patience.all ? Self.patience.each : Self.patience.then)
            }
        }

        func add(_ entries: [Entry], at index: Int, lost: Duration) {
            state.withLock { state in
                state.entries[index] = entries
                state.lost += lost
            }
        }

        var entries: [Entry] {
            let entries = state.withLock { $0.entries }
            return images.indices.flatMap { entries[$0] ?? [] }
        }
    }

    /// Every export, in the order of the images' names: for each image its disk, its partitions, and those of its
    /// snapshots. Opens each image for it, several at a time; one that does not answer in time is listed with that as its
    /// error. Throws `system` with ETIMEDOUT where the folders do not answer.
    package func list() throws(ImageError) -> [Entry] {
        let listing = Listing(try images().sorted { $0.key < $1.key }.map { ($0.key.text, $0.value) })
        let group = DispatchGroup()
        for _ in 0..<min(Self.listedAtOnce, listing.images.count) {
            group.enter()
            let isTaken = listers.run(for: ObjectIdentifier(listing)) { [self] in
                ask(listing)
                group.leave()
            }
            if !isTaken { group.leave() }
        }
        group.wait()
        return listing.entries
    }

    private func ask(_ listing: Listing) {
        while let (index, patience) = listing.next() {
            let start = ContinuousClock.now
            let entries = entries(of: listing.images[index], within: patience)
            let isSlow = entries.contains(where: \.isSlow)
            listing.add(entries, at: index, lost: isSlow ? start.duration(to: .now) : .zero)
        }
    }

    private func entries(of image: (name: String, image: NamedImage), within patience: Duration) -> [Entry] {
        do throws(ImageError) {
            return try disks(of: image.image, called: image.name, within: patience).flatMap {
                entries($0.name, $0.image, within: patience)
            }
        } catch {
            return [Entry(name: image.name, summary: "", size: .failure(error))]
        }
    }

    /// The exports of one image.
    private func entries(_ name: String, _ image: NamedImage, within patience: Duration) -> [Entry] {
        do throws(ImageError) {
            let disks = try disks(name, of: image, within: patience)
            return try listed(name, of: image, disks, within: patience).map {
                Entry(name: name + $0.suffix, summary: $0.summary, size: .success($0.image.virtualSize))
            }
        } catch {
            return [Entry(name: name, summary: "", size: .failure(error))]
        }
    }
}

extension ExportCatalog.Entry {
    /// Whether the image did not answer in time, and may do so when it is asked for.
    package var isSlow: Bool {
        if case .failure(let error) = size { error.code == .system(errno: ETIMEDOUT) } else { false }
    }
}
