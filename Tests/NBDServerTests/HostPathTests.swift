import TestImages
import Testing

@testable import Catalog
@testable import ImageTools
@testable import NBDServer

struct `Errors that clients of NBD get` {
    @Test func `have neither paths of the host nor options`() {
        let paths = HostPaths(below: ["/images"])
        for error in HostErrors.all {
            let told = NBDError(error, paths: paths).message
            #expect(HostErrors.areHidden(in: told), "\(error): \(told)")
        }
    }
}
