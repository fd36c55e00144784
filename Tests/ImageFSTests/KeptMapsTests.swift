import BlockImage
import Catalog
import Dispatch
import HostTools
import ImageFormats
import KernelMap
import Synchronization
import Testing

@testable import ImageFS

@Suite("The maps of an image")
struct KeptMapsTests {
    private static let failure = ImageError(.unsupported, about: .disk, "has no map")

    /// A map that is being made until `end`, on a thread of its own.
    private final class Making: Sendable {
        let maps = KeptMaps()
        let budget = MapBudget(limit: 2)
        let image = OpenedImage(failure: KeptMapsTests.failure)
        private let begins = DispatchSemaphore(value: 0)
        private let ends = DispatchSemaphore(value: 0)
        let isMade = Atomic(false)

        func start(_ view: DiskID) {
            DispatchQueue.global().async { [self] in
                _ = maps.map(of: view, in: image, within: budget) {
                    begins.signal()
                    ends.wait()
                    return .failure(KeptMapsTests.failure)
                }
                isMade.store(true, ordering: .relaxed)
            }
            begins.wait()
        }

        func end() -> Bool {
            ends.signal()
            return wait(seconds: 60) { isMade.load(ordering: .relaxed) }
        }
    }

    /// Whether `body` returns while something else goes on.
    private func returns(_ body: @escaping @Sendable () -> Void) -> Bool {
        let done = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            body()
            done.signal()
        }
        return done.wait(timeout: .now() + .seconds(60)) == .success
    }

    @Test("While one is made, others are made, and all are let go of")
    func apart() throws {
        let making = Making()
        let other = DiskID(part: .layer(1))
        making.start(.current)
        try #require(
            returns {
                _ = making.maps.map(of: other, in: making.image, within: making.budget) {
                    .failure(KeptMapsTests.failure)
                }
            })
        try #require(returns { _ = making.maps.known(.current, of: making.image) })
        #expect(making.maps.known(other, of: making.image) != nil)
        try #require(returns { making.maps.forget() })
        try #require(making.end())
        // What was let go of while it was made is not kept.
        #expect(making.maps.known(.current, of: making.image) == nil)
        #expect(making.maps.known(other, of: making.image) == nil)
    }

    @Test("One is made once for an image, and kept")
    func once() {
        let making = Making()
        making.start(.current)
        let (maps, image) = (making.maps, making.image)
        #expect(making.end())
        var isMadeTwice = false
        _ = maps.map(of: .current, in: image, within: making.budget) {
            isMadeTwice = true
            return .failure(KeptMapsTests.failure)
        }
        #expect(!isMadeTwice)
        #expect(maps.known(.current, of: image) != nil)
        // Another opening of the image may be another image.
        #expect(maps.known(.current, of: OpenedImage(failure: KeptMapsTests.failure)) == nil)
    }
}
