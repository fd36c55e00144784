import BlockImage
import Foundation
import GuestFiles
import GuestKernel
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: GuestVM.hasJudge))
struct `Files by way of a kernel in QEMU` {
    @Test func `of XFS are those that the kernel of the host shows`() throws {
        let image = try HostImage("mkfs.xfs -q -m reflink=1,bigtime=1 -L 'a label'", size: "320M")
        try image.mounted(
            "python3 -c \"$1\" $M 60000 3000; cp --reflink=always $M/sizes/300000 $M/clone", GuestTree.populate)
        let sum = try image.sum()
        let machine = try GuestVM.reading([image.path], ["xfs"])
        let system = try machine.mount(type: "xfs")
        let found = try system.guestLines()
        #expect(system.info.label == "a label")
        try machine.end()
        #expect(try image.sum() == sum)
        let expected = try image.kernelLines()
        #expect(differences(found, expected) == [])
        #expect(found.count == expected.count && found.count > 2500)
    }
}
