import BlockImage
import Dispatch
import Foundation
import GuestFiles
import HostTools
import Synchronization
import TestImages
import Testing

@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "python3")))
struct `Threads that read an ext4 at once` {
    @Test func `get the same files`() throws {
        let image = try ExtImage("mkfs.ext4 -b 1024", size: "64M")
        try image.mounted("noatime", "python3 -c \"$1\" $M 700 900", GuestTree.populate)
        let expected = try image.opened().guestLines()
        let system = try image.opened()
        let wrong = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 6) { _ in
            let lines = (try? system.guestLines()) ?? ["an error"]
            if lines != expected { wrong.withLock { $0 += differences(lines, expected) } }
        }
        #expect(wrong.withLock { $0 } == [])
    }
}
