import Testing

@testable import Fuse

struct `How many threads wait for requests` {
    private let look = Duration.milliseconds(10)

    private func pool(limit: Int = 16, processors: Int = 4) -> ThreadPoolSize {
        ThreadPoolSize(limit: limit, processors: processors)
    }

    @Test(arguments: [
        (limit: 16, processors: 1, least: 2), (16, 2, 2), (16, 3, 3), (16, 4, 4), (32, 64, 4), (1, 4, 1), (0, 4, 1),
    ])
    func `is as many as can compute, at first, and few`(limit: Int, processors: Int, least: Int) {
        #expect(pool(limit: limit, processors: processors).active == least)
    }

    @Test func `stays when requests are answered at once, however many come`() {
        var pool = pool()
        for _ in 0..<10 {
            pool.adapt(after: look, waiting: 0, blocked: 1, answered: 900)
            pool.adapt(after: look, waiting: 1, blocked: 0, answered: 900)
        }
        #expect(pool.active == 4)
    }

    @Test func `doubles while all wait for a disk, but not for a moment`() {
        var pool = pool()
        pool.adapt(after: look, waiting: 0, blocked: 4, answered: 0)
        #expect(pool.active == 4)
        pool.adapt(after: look, waiting: 0, blocked: 0, answered: 500)
        pool.adapt(after: look, waiting: 0, blocked: 4, answered: 3)
        #expect(pool.active == 4)
        pool.adapt(after: look, waiting: 0, blocked: 3, answered: 3)
        #expect(pool.active == 8)
        for _ in 0..<5 { pool.adapt(after: look, waiting: 0, blocked: 8, answered: 3) }
        #expect(pool.active == 16)
    }

    @Test func `falls again when half have nothing to do`() {
        var pool = pool()
        for _ in 0..<5 { pool.adapt(after: look, waiting: 0, blocked: 16, answered: 0) }
        pool.adapt(after: look, waiting: 7, blocked: 0, answered: 9)
        #expect(pool.active == 16)
        for _ in 0..<5 { pool.adapt(after: look, waiting: 8, blocked: 0, answered: 9) }
        #expect(pool.active == 4)
    }

    @Test func `falls at once when requests become quick`() {
        var pool = pool()
        for _ in 0..<5 { pool.adapt(after: look, waiting: 0, blocked: 16, answered: 0) }
        pool.adapt(after: look, waiting: 0, blocked: 2, answered: 2000)
        #expect(pool.active == 4)
    }

    @Test func `is that of the processors while all compute for long`() {
        var pool = pool(limit: 32, processors: 12)
        pool.adapt(after: look, waiting: 0, blocked: 1, answered: 30)
        #expect(pool.active == 12)
        for _ in 0..<5 { pool.adapt(after: look, waiting: 0, blocked: 30, answered: 0) }
        pool.adapt(after: look, waiting: 0, blocked: 0, answered: 30)
        #expect(pool.active == 12)
    }
}
