import BlockImage
import Dispatch
import Glibc

/// Work that threads do job by job, several at once, while the caller takes the results in the order of the jobs.
///
/// Bounded: no more than `limit` jobs are begun and not taken yet, however long one of them takes.
package struct OrderedWork<Job: Sendable, Output: Sendable>: Sendable {
    /// The most jobs under way.
    package let limit: Int
    private let work: @Sendable (Job) throws(ImageError) -> Output

    /// A job whose result is waited for.
    private final class Slot: Sendable {
        private let isDone = DispatchSemaphore(value: 0)
        private let result = Guarded<Result<Output, ImageError>?>(nil)

        func finish(_ found: Result<Output, ImageError>) {
            result.withLock { $0 = found }
            isDone.signal()
        }

        func wait() -> Result<Output, ImageError>? {
            isDone.wait()
            return result.withLock { $0 }
        }
    }

    /// Does `work`, at most `limit` jobs at once; by default enough to keep every processor busy while one result is
    /// late.
    package init(
        limit: Int = 4 * max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN))),
        work: @escaping @Sendable (Job) throws(ImageError) -> Output
    ) {
        self.limit = limit
        self.work = work
    }

    /// Asks `next` for jobs until there are no more, and hands their results to `take`; both on the caller's thread.
    ///
    /// Ends with the first error of the work, of `next` or of `take`, once the results before it have been taken.
    /// Nothing is under way any more when it returns.
    package func run(next: () throws(ImageError) -> Job?, take: (Output) throws -> Void) throws {
        let queue = DispatchQueue(label: "rblock.work", attributes: .concurrent)
        let group = DispatchGroup()
        defer { group.wait() }
        var ring = [Slot?](repeating: nil, count: limit)
        var begun = 0
        var taken = 0
        var isOver = false
        var failure: ImageError?
        while true {
            while !isOver, begun - taken < limit {
                do throws(ImageError) {
                    guard let job = try next() else {
                        isOver = true
                        continue
                    }
                    ring[begun % limit] = begin(job, on: queue, in: group)
                    begun += 1
                } catch {
                    failure = error
                    isOver = true
                }
            }
            guard taken < begun else { break }
            let slot = ring[taken % limit]
            ring[taken % limit] = nil
            taken += 1
            if let output = try slot?.wait()?.get() { try take(output) }
        }
        if let failure { throw failure }
    }

    private func begin(_ job: Job, on queue: DispatchQueue, in group: DispatchGroup) -> Slot {
        let slot = Slot()
        let work = work
        queue.async(group: group) {
            do throws(ImageError) {
                slot.finish(.success(try work(job)))
            } catch {
                slot.finish(.failure(error))
            }
        }
        return slot
    }
}
