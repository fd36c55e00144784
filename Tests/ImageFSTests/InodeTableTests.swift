import Catalog
import Dispatch
import Fuse
import Synchronization
import Testing

@testable import ImageFS

/// A file of the tests, which counts how often it exists.
private struct Named: Node {
    let name: String
    var kept: Kept?
    var kind: FileKind { .regularFile }
    var gate: RequestGate? { nil }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus { NodeStatus() }

    static func == (one: Named, other: Named) -> Bool { one.name == other.name }

    func hash(into hasher: inout Hasher) {
        hasher.combine(name)
    }
}

private final class Kept: Sendable {}

/// Another kind of file, with the same fields.
private struct Other: Node {
    let name: String
    var kind: FileKind { .symbolicLink }
    var gate: RequestGate? { nil }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus { NodeStatus() }
}

struct `The table of inodes` {
    private let root = Named(name: "")

    @Test func `gives a node the same number whenever it comes, and keeps it while the kernel refers to it`() {
        let table = InodeTable(root: root)
        #expect(table.number(of: root) == .root && table.refer(to: root) == .root && table[.root] != nil)
        weak var kept: Kept?
        let number: Inode
        do {
            let node = Named(name: "a", kept: Kept())
            kept = node.kept
            number = table.number(of: node)
            #expect(number.rawValue > 1 && table[number] == nil && table.count == 0)
            #expect(table.refer(to: node) == number && table.refer(to: Named(name: "a")) == number)
        }
        #expect(table.number(of: Other(name: "a")) != number && table.number(of: Named(name: "b")) != number)
        table.forget(number, count: 1)
        #expect((table[number] as? Named)?.name == "a" && kept != nil)
        table.forget(number, count: 1)
        #expect(table[number] == nil && table.count == 0 && kept == nil)
        // What the kernel does not refer to, and more than it has, is no harm.
        table.forget(number, count: 1)
        #expect(table.refer(to: Named(name: "a")) == number)
        table.forget(number, count: 9)
        #expect(table.count == 0)
        table.forget(.root, count: 1)
        #expect(table[.root] != nil)
    }

    @Test(arguments: [7, 0, 1, .max, (1 << 53) - 1] as [UInt64])
    func `gives nodes of one hash numbers of their own, which stay when others are forgotten`(hash: UInt64) {
        let table = InodeTable(root: root) { _ in hash }
        let nodes = "abcdef".map { Named(name: String($0)) }
        let numbers = nodes.map { table.refer(to: $0) }
        #expect(Set(numbers).count == nodes.count && numbers.allSatisfy { (2..<1 << 53).contains($0.rawValue) })
        for number in [numbers[0], numbers[2], numbers[5]] { table.forget(number, count: 1) }
        #expect(nodes.map { table.number(of: $0) } == numbers)
        let new = table.refer(to: Other(name: "a"))
        #expect(new == numbers[5], "Only the last one is really gone.")
        for index in [1, 3, 4] {
            #expect((table[numbers[index]] as? Named)?.name == nodes[index].name)
            #expect(table.refer(to: nodes[index]) == numbers[index])
        }
    }

    @Test
    func `has the node that was referred to, however many threads refer to others and forget them`() {
        let table = InodeTable(root: root) { UInt64(($0 as? Named)?.name.utf8.first ?? 0) }
        let nodes = ["a1", "a2", "b1", "b2", "c"].map { Named(name: $0) }
        let wrong = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: 8) { thread in
            for turn in 0..<2000 {
                let node = nodes[(turn + thread) % nodes.count]
                let number = table.refer(to: node)
                if (table[number] as? Named)?.name != node.name { wrong.add(1, ordering: .relaxed) }
                table.forget(number, count: 1)
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }
}
